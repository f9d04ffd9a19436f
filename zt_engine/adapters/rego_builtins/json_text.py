"""`json.marshal_with_options`: JSON text as Go's `encoding/json` writes it, indented on request."""

from __future__ import annotations

import re
from typing import Final

from zt_engine.adapters.rego_builtins.operands import (
    MAX_RESULT_BYTES,
    RefusedError,
    builtin,
    limit,
    refuse_operand,
    string,
)
from zt_engine.adapters.rego_values import MAX_DEPTH, RegoSet, Value, number_text, sorted_pairs

_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
# Go escapes what could end a script element, and the two line separators of Unicode that JavaScript used to refuse.
_ESCAPED: Final = re.compile('[\\x00-\\x1f"\\\\<>&\u2028\u2029\ud800-\udfff]')


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    if "\ud800" <= char <= "\udfff":
        return "\\ufffd"  # a byte that is no UTF-8
    return _SHORT.get(char) or f"\\u{ord(char):04x}"


def _quoted(text: str) -> str:
    return '"' + _ESCAPED.sub(_escape, text) + '"'


class _Writer:
    def __init__(self, prefix: str, indent: str, *, pretty: bool) -> None:
        self.prefix, self.indent, self.pretty = prefix, indent, pretty
        self.out: list[str] = []
        self.size = 0

    def write(self, text: str) -> None:
        self.size += len(text)
        limit(self.size, MAX_RESULT_BYTES, "characters")
        self.out.append(text)

    def line(self, depth: int) -> None:
        if self.pretty:
            self.write("\n" + self.prefix + self.indent * depth)

    def value(self, value: Value, depth: int) -> None:
        limit(depth, MAX_DEPTH, "levels")
        match value:
            case None:
                self.write("null")
            case bool():
                self.write("true" if value else "false")
            case int() | float():
                self.write(number_text(value))
            case str():
                self.write(_quoted(value))
            case list() | RegoSet():
                self.members([("", item) for item in value], "[]", depth)
            case dict():
                named = {json_key(key): item for key, item in sorted_pairs(value)}
                colon = ": " if self.pretty else ":"
                pairs = sorted(named.items(), key=_name)
                self.members([(_quoted(name) + colon, item) for name, item in pairs], "{}", depth)

    def members(self, named: list[tuple[str, Value]], brackets: str, depth: int) -> None:
        self.write(brackets[0])
        for index, (name, item) in enumerate(named):
            if index:
                self.write(",")
            self.line(depth + 1)
            self.write(name)
            self.value(item, depth + 1)
        if named:
            self.line(depth)
        self.write(brackets[1])


def json_key(key: Value) -> str:
    """An object key as a JSON key: what is no string is its own JSON text, in which sets are arrays."""
    if isinstance(key, str):
        return key
    writer = _Writer("", "", pretty=False)
    writer.value(key, 0)
    return "".join(writer.out)


def _name(pair: tuple[str, Value]) -> str:
    return pair[0]


@builtin("json.marshal_with_options")
def marshal_with_options(value: Value, options: Value) -> Value:
    """JSON text; `indent` or `prefix` alone ask for lines, `pretty` decides when it is given."""
    if not isinstance(options, dict):
        raise refuse_operand(2, "object", options)
    unknown = [key for key in options if key not in {"indent", "prefix", "pretty"}]
    if unknown:
        raise RefusedError("operand 2 object contained an unknown key")
    pretty = options.get("pretty", "indent" in options or "prefix" in options)
    if not isinstance(pretty, bool):
        raise RefusedError("operand 2 key pretty failed cast to bool")
    prefix, indent = string(options.get("prefix", ""), 2), string(options.get("indent", "\t"), 2)
    writer = _Writer(prefix, indent, pretty=pretty)
    writer.value(value, 0)
    return (prefix if pretty else "") + "".join(writer.out)
