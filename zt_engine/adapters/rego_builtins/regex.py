"""The regex family through RE2, which never backtracks; `regex.match` and the like are inside the compiled policy.

OPA compiles with Go's `regexp`, whose syntax and leftmost-first matching RE2 shares; where they differ (the escape of a
single byte), the pattern is refused. Matching is linear in text times program, so that product is what is capped.
Compiled patterns are kept; the cache is bounded, and so is the memory of each.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Final

import re2

from zt_engine.adapters.rego_builtins.operands import (
    RefusedError,
    builtin,
    integer,
    limit,
    octets,
    string,
    text_of,
)
from zt_engine.adapters.rego_values import Value

_MAX_PATTERN: Final = 4_096
_MAX_WORK: Final = 4_000_000
_MAX_MEMORY: Final = 1 << 20
_MAX_OUTPUT: Final = 128 * 1024

Spans = list[tuple[int, int]]


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    return options


@functools.lru_cache(maxsize=256)
def compiled(pattern: bytes) -> Any:
    """A compiled pattern; raises `RefusedError` for one that is invalid or too large."""
    limit(len(pattern), _MAX_PATTERN, "bytes of pattern")
    # An even number of backslashes before it makes the C a letter.
    if re.search(rb"(?<!\\)(?:\\\\)*\\C", pattern):
        raise RefusedError("invalid escape sequence")
    try:
        return re2.compile(pattern, _options())
    except re2.error:
        raise RefusedError("error parsing regexp") from None


class Matcher:
    """All matches of one pattern in one text, as Go finds them, within a budget of work."""

    def __init__(self, pattern: bytes, text: bytes) -> None:
        self.regexp = compiled(pattern)
        self.text = text
        self.price = 1 + self.regexp.programsize // 16
        self.work = 0

    def find(self, count: int) -> list[Spans]:
        """Up to count matches (all when negative); an empty match right after a match is none."""
        found: list[Spans] = []
        at, previous = 0, -1
        while at <= len(self.text) and (count < 0 or len(found) < count):
            self.work += (len(self.text) - at + 16) * self.price
            limit(self.work, _MAX_WORK, "steps of matching")
            match = self.regexp.search(self.text, at)
            if match is None:
                break
            start, end = match.span()
            if start == end < len(self.text) and self.text[start] & 0xC0 == 0x80:
                at = start + 1  # RE2 sees a word boundary inside a character; Go has none there
                continue
            if end > at:
                at = end
            else:
                at += _width(self.text, at)
                if start == previous:
                    previous = end
                    continue
            previous = end
            found.append([match.span(group) for group in range(self.regexp.groups + 1)])
            limit(len(found) * len(found[-1]))
        return found


def _width(text: bytes, at: int) -> int:
    """How many bytes the character at a place has."""
    width = 1
    while at + width < len(text) and text[at + width] & 0xC0 == 0x80:
        width += 1
    return width


def _matcher(pattern: Value, text: Value, positions: tuple[int, int] = (1, 2)) -> Matcher:
    return Matcher(octets(pattern, positions[0]), octets(text, positions[1]))


@builtin("regex.find_n")
def find_n(pattern: Value, text: Value, count: Value) -> Value:
    """The first matches, all of them for a negative count."""
    wanted = integer(count, 3)
    matcher = _matcher(pattern, text)
    return [text_of(matcher.text[slice(*spans[0])]) for spans in matcher.find(wanted)]


@builtin("regex.split")
def split(pattern: Value, text: Value) -> Value:
    """What lies between the matches; an empty match at the start splits nothing off."""
    matcher = _matcher(pattern, text)
    if octets(pattern, 1) and not matcher.text:
        return [""]
    parts: list[Value] = []
    start = end = 0
    for spans in matcher.find(-1):
        end = spans[0][0]
        if spans[0][1] != 0:
            parts.append(text_of(matcher.text[start:end]))
        start = spans[0][1]
    if end != len(matcher.text):
        parts.append(text_of(matcher.text[start:]))
    return parts


_REFERENCE: Final = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))")


def _references(template: bytes, groups: dict[str, int], count: int) -> list[bytes | int]:
    """A replacement as literals and group numbers; a name or number that is not there stands for nothing."""
    parts: list[bytes | int] = []
    at = 0
    text = text_of(template)
    for match in _REFERENCE.finditer(text):
        parts.append(text[at : match.start()].encode("utf-8", "surrogateescape"))
        at = match.end()
        name = match.group(2) or match.group(3)
        if name is None:
            parts.append(b"$")
        elif name.isascii() and name.isdigit() and (name == "0" or name[0] != "0"):
            number = int(name[:9])
            parts.append(number if number <= count else b"")
        else:
            parts.append(groups.get(name, b""))
    parts.append(text[at:].encode("utf-8", "surrogateescape"))
    return parts


@builtin("regex.replace")
def replace(text: Value, pattern: Value, value: Value) -> Value:
    """Every match replaced; `$1`, `${name}` and `$$` as in Go."""
    matcher = _matcher(pattern, text, (2, 1))
    names = {text_of(name): index for name, index in matcher.regexp.groupindex.items()}
    template = _references(octets(value, 3), names, matcher.regexp.groups)
    out: list[bytes] = []
    size = at = 0
    for spans in matcher.find(-1):
        pieces = [matcher.text[at : spans[0][0]]]
        pieces += [
            part if isinstance(part, bytes) else matcher.text[slice(*_present(spans[part]))] for part in template
        ]
        at = spans[0][1]
        out += pieces
        size += sum(map(len, pieces))
        limit(size, _MAX_OUTPUT, "bytes")
    out.append(matcher.text[at:])
    return text_of(b"".join(out))


def _present(span: tuple[int, int]) -> tuple[int, int]:
    return span if span[0] >= 0 else (0, 0)


def _fields(template: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """The outermost delimited parts of a template."""
    found: list[tuple[int, int]] = []
    level = begin = 0
    for at, byte in enumerate(template):
        if byte == start:
            level += 1
            if level == 1:
                begin = at
        elif byte == end:
            level -= 1
            if level == 0:
                found.append((begin, at + 1))
            elif level < 0:
                break
    if level != 0:
        raise RefusedError("unbalanced braces")
    return found


def _delimiter(value: Value, position: int) -> int:
    raw = octets(value, position)
    if len(raw) != 1:
        raise RefusedError("a delimiter has to be exactly one character long")
    return raw[0]


@builtin("regex.template_match")
def template_match(template: Value, text: Value, start: Value, end: Value) -> Value:
    """Whether the whole text matches a template whose delimited parts are patterns."""
    raw = octets(template, 1)
    string(text, 2)
    limit(len(raw), _MAX_PATTERN, "bytes of pattern")
    pattern = [b"^"]
    at = 0
    for first, last in _fields(raw, _delimiter(start, 3), _delimiter(end, 4)):
        inner = raw[first + 1 : last - 1]
        compiled(b"^" + inner + b"$")
        pattern += [_quoted(raw[at:first]), b"(", inner, b")"]
        at = last
    matcher = Matcher(b"".join([*pattern, _quoted(raw[at:]), b"$"]), octets(text, 2))
    return bool(matcher.find(1))


def _quoted(raw: bytes) -> bytes:
    return re.sub(rb"[\\.+*?()|\[\]{}^$]", rb"\\\g<0>", raw)
