"""YAML that a person writes and a machine must not misread: a strict subset, every node with its line.

ruamel.yaml scans (YAML 1.2); the nodes are composed here, since its own composer takes three times as long for a
catalogue of 10,000 routes and C scanners crash the process on deep nesting. Refused, because two readers could
disagree or a small file could become a large one: anchors, aliases, tags, directives, several documents, duplicate
keys, keys that are no scalars. Plain `true`, `false`, `null` and decimal integers have their type; all other plain
scalars are text, so `yes`, `1.0` and `012` mean what they look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NoReturn

from ruamel.yaml import YAML
from ruamel.yaml import tokens as t
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from zt_engine.core.errors import ConfigError, Problem

MAX_BYTES = 3_000_000
MAX_NODES = 1_000_000
MAX_DEPTH = 12

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_HALF = re.compile(r"[\ud800-\udfff]")
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_EMPTY_BEFORE = (t.KeyToken, t.ValueToken, t.BlockEntryToken, t.BlockEndToken, t.FlowEntryToken)
_FLOW_ENDS = (t.FlowSequenceEndToken, t.FlowMappingEndToken)
_UNEXPECTED: dict[type, str] = {
    t.TagToken: "tags are not accepted; quote a text, write a number plainly",
    t.DirectiveToken: "directives are not accepted",
    t.DocumentStartToken: "one file is one document",
    t.StreamEndToken: "the file ends where a value is expected",
    t.KeyToken: "a mapping inside `[ ]` needs its own `{ }`",
}
_ALIASES = (t.AnchorToken, t.AliasToken)


class YamlScalar:
    """A scalar by the rules above, with its text as it was written."""

    __slots__ = ("line", "text", "value")

    def __init__(self, value: str | int | bool | None, text: str, line: int) -> None:
        self.value = value
        self.text = text
        self.line = line


class YamlList:
    __slots__ = ("items", "line")

    def __init__(self, line: int) -> None:
        self.items: list[YamlNode] = []
        self.line = line


class YamlMap:
    """A mapping; keys are the text of their scalars, `lines` says where each stands."""

    __slots__ = ("items", "line", "lines")

    def __init__(self, line: int) -> None:
        self.items: dict[str, YamlNode] = {}
        self.lines: dict[str, int] = {}
        self.line = line


YamlNode = YamlScalar | YamlList | YamlMap


def read_yaml(text: str | bytes, *, where: str) -> YamlMap:
    """Read one document whose top is a mapping, or raise ConfigError with file and line of every fault."""
    if len(text) > MAX_BYTES:
        raise _refused("YAML_TOO_LARGE", f"over {MAX_BYTES} bytes", where, 1)
    text = _decoded(text, where) if isinstance(text, bytes) else text
    try:
        composer = _Composer(YAML(typ="safe", pure=True).scan(text), where)
        root = composer.document()
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise _refused("YAML_ENCODING", "a control character", where, line) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise _refused("YAML_SYNTAX", str(error.problem or error.context), where, line) from None
    except YAMLError as error:
        raise _refused("YAML_SYNTAX", str(error).split("\n", 1)[0], where, 1) from None
    except ValueError:  # an escape such as `\U00110000` reaches `chr`
        raise _refused("YAML_SYNTAX", "an escape that is no character", where, 1) from None
    if composer.problems:
        raise ConfigError(tuple(composer.problems[:100]))
    if not isinstance(root, YamlMap):
        raise _refused("YAML_SYNTAX", "the file is no mapping", where, root.line)
    return root


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused("YAML_ENCODING", "not UTF-8", where, raw.count(b"\n", 0, error.start) + 1) from None


def _refused(code: str, message: str, where: str, line: int) -> ConfigError:
    return ConfigError((Problem(code=code, message=message, where=f"{where}:{line}"),))


class _Composer:
    """Recursive descent over the scanner's tokens: the grammar of `ruamel.yaml.parser` less what is refused."""

    def __init__(self, tokens: Iterator[t.Token], where: str) -> None:
        self._tokens = tokens
        self._where = where
        self._nodes = 0
        self.problems: list[Problem] = []
        self._next: t.Token = next(tokens)

    def document(self) -> YamlNode:
        self._advance()
        if isinstance(self._next, t.DocumentStartToken):
            self._advance()
        root = self._node(0)
        if isinstance(self._next, t.DocumentEndToken):
            self._advance()
        if not isinstance(self._next, t.StreamEndToken):
            self._fail("one file is one document")
        return root

    def _advance(self) -> t.Token:
        token = self._next
        self._next = next(self._tokens, token)
        return token

    def _fail(self, message: str, code: str = "YAML_SYNTAX") -> NoReturn:
        raise _refused(code, message, self._where, self._line())

    def _line(self) -> int:
        return int(self._next.start_mark.line) + 1

    def _node(self, depth: int) -> YamlNode:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            self._fail(f"nested deeper than {MAX_DEPTH} or over {MAX_NODES} values", "YAML_TOO_LARGE")
        kind = type(self._next)
        if kind is t.ScalarToken:
            return self._scalar()
        if kind is t.BlockMappingStartToken:
            return self._block_map(depth)
        if kind is t.BlockSequenceStartToken:
            return self._block_list(depth)
        if kind is t.FlowSequenceStartToken:
            return self._flow_list(depth)
        if kind is t.FlowMappingStartToken:
            return self._flow_map(depth)
        if kind in _ALIASES:
            self._fail("anchors and aliases are not accepted; write the value out")
        return self._fail(_UNEXPECTED.get(kind, "expected a value"))

    def _scalar(self) -> YamlScalar:
        token = self._advance()
        assert isinstance(token, t.ScalarToken)
        text = str(token.value)
        if _HALF.search(text) is not None:
            self._fail("an escape that is half a character")
        value: str | int | bool | None = text
        if token.plain:
            if text in _CONSTANTS:
                value = _CONSTANTS[text]
            elif _INTEGER.fullmatch(text) is not None:
                value = int(text)
        return YamlScalar(value, text, int(token.start_mark.line) + 1)

    def _value(self, depth: int) -> YamlNode:
        """Read what follows a `:` or `-`; nothing there is null."""
        if isinstance(self._next, (*_EMPTY_BEFORE, *_FLOW_ENDS)):
            return YamlScalar(None, "", self._line())
        return self._node(depth)

    def _pair(self, into: YamlMap, depth: int) -> None:
        line = self._line()
        if not isinstance(self._next, t.KeyToken):
            self._fail("expected `key: value`")
        self._advance()
        if not isinstance(self._next, t.ScalarToken):
            self._fail("a key is a plain name")
        key = self._scalar().text
        if not isinstance(self._next, t.ValueToken):
            self._fail(f"`{key}` has no value")
        self._advance()
        if isinstance(self._next, t.BlockEntryToken):  # a list that is not indented below its key
            value: YamlNode = self._entries(YamlList(self._line()), depth + 1)
        else:
            value = self._value(depth + 1)
        if key in into.items:
            text = f"`{key}` stands twice, first in line {into.lines[key]}"
            self.problems.append(Problem(code="YAML_DUPLICATE_KEY", message=text, where=f"{self._where}:{line}"))
        into.items[key] = value
        into.lines[key] = line

    def _block_map(self, depth: int) -> YamlMap:
        node = YamlMap(self._line())
        self._advance()
        while not isinstance(self._next, t.BlockEndToken):
            self._pair(node, depth)
        self._advance()
        return node

    def _block_list(self, depth: int) -> YamlList:
        node = YamlList(self._line())
        self._advance()
        self._entries(node, depth + 1)
        if not isinstance(self._next, t.BlockEndToken):
            self._fail("expected `-`")
        self._advance()
        return node

    def _entries(self, node: YamlList, depth: int) -> YamlList:
        while isinstance(self._next, t.BlockEntryToken):
            self._advance()
            node.items.append(self._value(depth))
        return node

    def _flow_list(self, depth: int) -> YamlList:
        node = YamlList(self._line())
        self._advance()
        while not isinstance(self._next, t.FlowSequenceEndToken):
            node.items.append(self._node(depth + 1))
            self._comma(t.FlowSequenceEndToken)
        self._advance()
        return node

    def _flow_map(self, depth: int) -> YamlMap:
        node = YamlMap(self._line())
        self._advance()
        while not isinstance(self._next, t.FlowMappingEndToken):
            self._pair(node, depth)
            self._comma(t.FlowMappingEndToken)
        self._advance()
        return node

    def _comma(self, end: type[t.Token]) -> None:
        if isinstance(self._next, t.FlowEntryToken):
            self._advance()
        elif not isinstance(self._next, end):
            self._fail("expected `,` or a closing bracket")
