"""httpd's configuration: lines of words, sections in angle brackets, files that are included."""

from __future__ import annotations

import os
import re

from zt_engine.core.errors import ConfigError
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Place
from zt_engine.doctor.sources import Sources, fault

MAX_DEPTH = 24
MAX_DIRECTIVES = 100_000
MAX_EXPANDED = 16_384
"""Characters that variables may add to a line: one may stand in itself."""

TRANSPARENT = frozenset({"ifmodule", "ifdefine", "ifversion", "ifdirective", "iffile", "ifsection"})
"""Sections whose lines belong to what is around them; both cases of a condition are looked at."""

_WORD = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*+)"|'((?:[^'\\]|\\.)*+)'|([^\s"'][^\s]*+))""")
_VARIABLE = re.compile(r"\$\{(\w{1,64})\}")
_OPEN = re.compile(r"<\s*([A-Za-z]+)\s*(.*?)\s*>\s*", re.DOTALL)
_CLOSE = re.compile(r"</\s*([A-Za-z]+)\s*>\s*")


class Parser:
    """Reads one configuration with everything it includes. Names are lower-case, as httpd compares them."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._defined: dict[str, str] = {}
        self._root = ""
        self._count = 0

    def parse(self, path: str) -> list[Directive]:
        """Return the lines of a main file; ConfigError DOCTOR_SYNTAX with the line."""
        self._root = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
        with self._sources.inside(path, where=path):
            return self._file(path, where=path)

    def _file(self, path: str, *, where: str) -> list[Directive]:
        root: list[Directive] = []
        stack: list[tuple[str, list[Directive]]] = [("", root)]
        for number, written in _rows(self._sources.read(path, where=where)):
            place = Place(path, number)
            self._count += 1
            if self._count > MAX_DIRECTIVES or len(stack) > MAX_DEPTH:
                raise fault("DOCTOR_TOO_LARGE", "nested too deeply, or too many lines", str(place))
            row = (
                _VARIABLE.sub(lambda found: self._defined.get(found[1], found[0]), written)
                if "${" in written
                else written
            )
            if len(row) > len(written) + MAX_EXPANDED:
                raise fault("DOCTOR_TOO_LARGE", "a line grows without end by `Define`", str(place))
            if row.startswith("</"):
                closed = _CLOSE.fullmatch(row)
                if closed is None or stack[-1][0] != closed[1].lower():
                    raise fault("DOCTOR_SYNTAX", f"`{row[:60]}` closes nothing", str(place))
                stack.pop()
            elif row.startswith("<"):
                opened = _OPEN.fullmatch(row)
                if opened is None:
                    raise fault("DOCTOR_SYNTAX", f"`{row[:60]}` is no section", str(place))
                section = Directive(opened[1].lower(), tuple(_words(opened[2])), place, [])
                inside = stack[-1][1] if section.name in TRANSPARENT else section.block or []
                if section.name not in TRANSPARENT:
                    section.block = inside
                    stack[-1][1].append(section)
                stack.append((section.name, inside))
            else:
                words = _words(row)
                self._line(Directive(words[0].lower(), tuple(words[1:]), place), stack[-1][1])
        if len(stack) > 1:
            raise fault("DOCTOR_SYNTAX", f"`<{stack[-1][0]}>` is not closed", path)
        return root

    def _line(self, line: Directive, into: list[Directive]) -> None:
        if line.name in {"include", "includeoptional"} and line.args:
            into.extend(self._include(line))
        elif line.name == "define" and line.args:
            self._defined[line.first] = " ".join(line.args[1:])
        else:
            if line.name == "serverroot" and line.args:
                self._root = os.path.join(self._root, line.first)  # noqa: PTH118
            into.append(line)

    def _include(self, line: Directive) -> list[Directive]:
        where = str(line.place)
        found: list[Directive] = []
        try:
            for path in self._sources.included(line.first, base=self._root, where=where):
                try:
                    with self._sources.inside(path, where=where):
                        found.extend(self._file(path, where=where))
                except ConfigError as error:
                    self._sources.note(error)
        except ConfigError as error:
            if line.name == "include":
                self._sources.note(error)
        return found


def _rows(text: str) -> list[tuple[int, str]]:
    """Return the lines that say something, continued ones put together, with the line where each begins."""
    found: list[tuple[int, str]] = []
    held: list[str] = []
    begun = 0
    for number, row in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        begun = begun if held else number
        if row.endswith("\\"):
            held.append(row[:-1])
            continue
        whole = "".join([*held, row]).strip()
        held = []
        if whole and not whole.startswith("#"):
            found.append((begun, whole))
    return found


def _words(row: str) -> list[str]:
    words = [found[1] if found[1] is not None else found[2] or found[3] or "" for found in _WORD.finditer(row)]
    return words or [row]
