"""The Caddyfile: lines of words, blocks in braces, snippets and files that are imported."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from zt_engine.core.errors import ConfigError
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Place
from zt_engine.doctor.sources import Sources, fault

MAX_DEPTH = 24
MAX_DIRECTIVES = 50_000
MAX_IMPORTS = 12

_TOKEN = re.compile(
    r"""(?P<skip>[ \t\r]+|\\\r?\n|\#[^\n]*)
      | (?P<end>\n)
      | <<(?P<heredoc>[A-Za-z0-9_-]{1,64})\n
      | "(?P<double>(?:[^"\\]|\\.)*+)"
      | `(?P<raw>[^`]*+)`
      | (?P<word>[^ \t\r\n"`][^ \t\r\n]*+)""",
    re.VERBOSE | re.DOTALL,
)
_ARGUMENT = re.compile(r"\{args(?:\[(\d{0,3})(:)?(\d{0,3})\]|\.(\d{1,3}|\*))\}")


def parse(path: str, sources: Sources) -> list[Directive]:
    """Return what stands at the top of a Caddyfile, imports done; ConfigError DOCTOR_SYNTAX with the line."""
    with sources.inside(path, where=path):
        top = lines(sources.read(path), path)
        if top and not top[0].name and top[0].block is not None and len(top) > 1:
            options, rest = top[:1], top[1:]
        else:
            options, rest = [], top
        if rest and rest[0].block is None and rest[0].name != "import":
            # One site may do without braces: its addresses, and below them what belongs to it.
            rest = [Directive(rest[0].name, rest[0].args, rest[0].place, rest[1:])]
        return _Imports(sources).done([*options, *rest], path, 0)


def lines(text: str, path: str) -> list[Directive]:
    """Return the lines of a text as a tree."""
    root: list[Directive] = []
    stack = [root]
    words: list[str] = []
    place, count = Place(path, 1), 0
    for word, line, quoted in [*_tokens(text, path), ("\n", 0, False)]:
        if word == "\n" and not quoted:
            if words:
                stack[-1].append(Directive(words[0], tuple(words[1:]), place))
                words = []
            continue
        if word == "}" and not quoted and not words:
            if len(stack) == 1:
                raise fault("DOCTOR_SYNTAX", "unexpected `}`", f"{path}:{line}")
            stack.pop()
            continue
        count += 1
        if count > MAX_DIRECTIVES * 4 or len(stack) > MAX_DEPTH:
            raise fault("DOCTOR_TOO_LARGE", "nested too deeply, or too many words", f"{path}:{line}")
        place = place if words else Place(path, line)
        if word == "{" and not quoted:
            opened = Directive(words[0] if words else "", tuple(words[1:]), place, [])
            stack[-1].append(opened)
            stack.append(opened.block or [])
            opened.block = stack[-1]
            words = []
        else:
            words.append(word)
    if len(stack) > 1:
        raise fault("DOCTOR_SYNTAX", "the file ends inside a block", path)
    return root


def _tokens(text: str, path: str) -> Iterator[tuple[str, int, bool]]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise fault("DOCTOR_SYNTAX", "a quotation that does not end", f"{path}:{line}")
        kind, end = match.lastgroup, match.end()
        if kind == "heredoc":
            closing = re.compile(rf"^[ \t]*{match['heredoc']}\b", re.MULTILINE).search(text, end)
            if closing is None:
                raise fault("DOCTOR_SYNTAX", "a text that does not end", f"{path}:{line}")
            yield text[end : closing.start()], line, True
            end = closing.end()
        elif kind == "double":
            yield match["double"].replace('\\"', '"'), line, True
        elif kind == "raw":
            yield match["raw"], line, True
        elif kind == "end":
            yield "\n", line, False
        elif kind == "word":
            yield match["word"], line, False
        line += text.count("\n", at, end)
        at = end


class _Imports:
    """Puts snippets and files where they are imported."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._snippets: dict[str, list[Directive]] = {}
        self._count = 0

    def done(self, items: list[Directive], path: str, depth: int) -> list[Directive]:
        """Return the lines without imports and without snippets."""
        found: list[Directive] = []
        for item in items:
            self._count += 1
            if self._count > MAX_DIRECTIVES:
                raise fault(
                    "DOCTOR_TOO_LARGE", f"more than {MAX_DIRECTIVES} lines once imports are done", str(item.place)
                )
            if item.name.startswith("(") and item.name.endswith(")") and item.block is not None:
                self._snippets[item.name[1:-1]] = item.block
            elif item.name == "import" and item.args:
                found.extend(self._import(item, path, depth))
            else:
                block = None if item.block is None else self.done(item.block, path, depth)
                found.append(Directive(item.name, item.args, item.place, block))
        return found

    def _import(self, item: Directive, path: str, depth: int) -> list[Directive]:
        if depth >= MAX_IMPORTS:
            raise fault("DOCTOR_SYNTAX", "imports inside imports without end", str(item.place))
        values = {str(number): value for number, value in enumerate(item.args[1:])}
        if item.first in self._snippets:
            block = [_filled(line, values) for line in self._snippets[item.first]]
            return self.done(block, path, depth + 1)
        found: list[Directive] = []
        try:
            base = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
            for file in self._sources.included(item.first, base=base, where=str(item.place)):
                with self._sources.inside(file, where=str(item.place)):
                    text = lines(self._sources.read(file, where=str(item.place)), file)
                    found.extend(self.done([_filled(line, values) for line in text], file, depth + 1))
        except ConfigError as error:
            self._sources.note(error)
        return found


def _filled(item: Directive, values: Mapping[str, str]) -> Directive:
    """Return a line with `{args[0]}` and `{args[:]}` filled in."""
    if not values:
        return item

    def value(match: re.Match[str]) -> str:
        if match[2] or match[4] == "*":
            return " ".join(values.values())
        return values.get(match[1] or match[4] or "", match[0])

    args: list[str] = []
    for word in item.args:
        filled = _ARGUMENT.sub(value, word)
        args.extend(filled.split(" ") if filled != word and word.startswith("{args") else [filled])
    block = None if item.block is None else [_filled(line, values) for line in item.block]
    return Directive(_ARGUMENT.sub(value, item.name), tuple(args), item.place, block)
