"""nginx's configuration language: directives with arguments, and blocks; includes are read where they stand.

Written here and not taken from a library: it has to survive hostile files, which means no recursion and bounds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from zt_engine.core.errors import ConfigError
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Place
from zt_engine.doctor.sources import Sources, fault

MAX_DEPTH = 24
MAX_DIRECTIVES = 100_000

_TOKEN = re.compile(
    r"""(?P<skip>[ \t\r\n]+|\#[^\n]*)
      | (?P<mark>[;{}])
      | "(?P<double>(?:[^"\\]|\\.)*+)"
      | '(?P<single>(?:[^'\\]|\\.)*+)'
      | (?P<word>(?:\\.|\$\{[^}\s]{0,99}+\}|[^\s;{\\"'\#}])(?:\\.|\$\{[^}\s]{0,99}+\}|[^\s;{\\])*+)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\([\"'\\ ;{}])")
_HARMLESS = ("mime.types",)
"""A file of types that often is not there when a configuration is looked at on another machine."""


class Parser:
    """Reads one configuration with everything it includes."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._count = 0
        self._base = ""

    def parse(self, path: str) -> list[Directive]:
        """Return the directives of a main file; ConfigError DOCTOR_SYNTAX with the line."""
        # nginx looks for relative includes beside its main file, also from within other files.
        self._base = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
        with self._sources.inside(path, where=path):
            return self._file(path, where=path)

    def _file(self, path: str, *, where: str) -> list[Directive]:
        text = self._sources.read(path, where=where)
        root: list[Directive] = []
        stack = [root]
        words: list[str] = []
        started = 0
        for kind, word, line in _tokens(text, path):
            if kind == "word":
                started = started if words else line
                words.append(word)
            elif kind == "}":
                if words or len(stack) == 1:
                    raise fault("DOCTOR_SYNTAX", "unexpected `}`", f"{path}:{line}")
                stack.pop()
            elif not words:
                raise fault("DOCTOR_SYNTAX", f"unexpected `{kind}`", f"{path}:{line}")
            else:
                self._count += 1
                if self._count > MAX_DIRECTIVES or len(stack) > MAX_DEPTH:
                    raise fault("DOCTOR_TOO_LARGE", "nested too deeply, or too many directives", f"{path}:{line}")
                found = Directive(words[0], tuple(words[1:]), Place(path, started))
                words = []
                if kind == "{":
                    found.block = []
                    stack[-1].append(found)
                    stack.append(found.block)
                elif found.name == "include" and found.args:
                    stack[-1].extend(self._include(found))
                else:
                    stack[-1].append(found)
        if words or len(stack) > 1:
            raise fault("DOCTOR_SYNTAX", "the file ends inside a block or a directive", path)
        return root

    def _include(self, directive: Directive) -> Iterator[Directive]:
        """Yield what an include stands for; what cannot be read is noted, and the rest is still looked at."""
        where = str(directive.place)
        try:
            paths = self._sources.included(directive.args[0], base=self._base, where=where)
        except ConfigError as error:
            if os.path.basename(directive.args[0]) not in _HARMLESS:  # noqa: PTH119
                self._sources.note(error)
            return
        for path in paths:
            try:
                with self._sources.inside(path, where=where):
                    yield from self._file(path, where=where)
            except ConfigError as error:
                self._sources.note(error)


def _tokens(text: str, path: str) -> Iterator[tuple[str, str, int]]:
    """Yield (`word` or the mark, the word, line). A `..._by_lua_block` is skipped: another language."""
    at, line, size = 0, 1, len(text)
    previous = ""
    while at < size:
        match = _TOKEN.match(text, at)
        if match is None:
            raise fault("DOCTOR_SYNTAX", "a quotation that does not end", f"{path}:{line}")
        kind = match.lastgroup or ""
        piece = match[kind]
        if kind == "mark":
            if piece == "{" and previous.endswith("_by_lua_block"):
                end = _lua_end(text, match.end(), f"{path}:{line}")
                yield ";", "", line
                line += text.count("\n", at, end)
                at, previous = end, ""
                continue
            yield piece, "", line
            previous = ""
        elif kind != "skip":
            previous = piece
            yield "word", _ESCAPE.sub(r"\1", piece) if "\\" in piece else piece, line
        line += text.count("\n", at, match.end())
        at = match.end()


_LUA = re.compile(r"""--\[\[|--|\[\[|["'{}]""")
_LUA_ENDS = {"--[[": "]]", "[[": "]]", "--": "\n"}


def _lua_end(text: str, at: int, where: str) -> int:
    """Return where a Lua block ends: braces inside texts and comments do not count."""
    depth = 1
    while (match := _LUA.search(text, at)) is not None:
        mark, at = match[0], match.end()
        if mark in "{}":
            depth += 1 if mark == "{" else -1
            if depth == 0:
                return at
        elif mark in _LUA_ENDS:
            end = text.find(_LUA_ENDS[mark], at)
            at = len(text) if end < 0 else end + len(_LUA_ENDS[mark])
        else:
            while at < len(text) and text[at] not in (mark, "\n"):
                at += 2 if text[at] == "\\" else 1
            at += 1
    raise fault("DOCTOR_SYNTAX", "a Lua block that does not end", where)
