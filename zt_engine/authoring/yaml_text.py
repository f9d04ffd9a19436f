"""YAML that a person wrote, with the line of every value: what an error message needs.

Only what JSON knows, by the core schema of YAML 1.2: `no` and a date are text. Tags construct nothing, merge keys are
refused, and aliases are expanded within a bound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from zt_engine.core.bundle_hash import Json, Number
from zt_engine.core.errors import ConfigError, Problem

MAX_CHARACTERS = 8 << 20
MAX_VALUES = 500_000
MAX_DEPTH = 64

Plain: TypeAlias = "bool | int | float | str | Sequence[Plain] | Mapping[str, Plain] | None"
Path: TypeAlias = "tuple[str | int, ...]"

_TAGS = frozenset({"null", "bool", "int", "float", "timestamp", "merge", "value", "str", "seq", "map"})
"""What the parser itself puts on values; their meaning is decided here, by their text."""

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?", re.ASCII)
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class YamlText(msgspec.Struct, frozen=True):
    """A parsed document: plain values, and the line on which each of them stands."""

    where: str
    value: Plain
    lines: Mapping[Path, int]

    def at(self, *path: str | int) -> str:
        """Return `file:line` of a value, or of the nearest thing around it that has a line."""
        for end in range(len(path), -1, -1):
            line = self.lines.get(path[:end])
            if line is not None:
                return f"{self.where}:{line}"
        return self.where


def read_yaml(text: str, *, where: str, code: str) -> YamlText:
    """Parse one document; syntax errors, repeated keys and odd values are ConfigError `code`."""
    lines: dict[Path, int] = {}
    try:
        if len(text) > MAX_CHARACTERS:
            raise _Odd(f"larger than {MAX_CHARACTERS} characters", 1)
        root = YAML(typ="rt", pure=True).compose(text)
        value = None if root is None else _plain(root, (), lines)
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise ConfigError((Problem(code=code, message=str(error.problem), where=f"{where}{line}"),)) from None
    except _Odd as odd:
        raise ConfigError((Problem(code=code, message=str(odd), where=f"{where}:{odd.line}"),)) from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise ConfigError((Problem(code=code, message=f"not YAML ({type(error).__name__})", where=where),)) from None
    return YamlText(where=where, value=value, lines=lines)


def as_json(value: Plain) -> Json:
    """The same value with numbers by their text, as bundles hold them."""
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, float):
        return Number(repr(value))
    if isinstance(value, str) or value is None or isinstance(value, bool | int):
        return value
    return [as_json(item) for item in value]


class _Odd(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _plain(node: Node, path: Path, lines: dict[Path, int]) -> Plain:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if len(lines) > MAX_VALUES or len(path) > MAX_DEPTH:
        raise _Odd("nested too deeply, or too large once aliases are expanded", line)
    if str(node.tag).removeprefix("tag:yaml.org,2002:") not in _TAGS:
        raise _Odd(f"the tag `{node.tag}` has no meaning here", line)
    if isinstance(node, MappingNode):
        found: dict[str, Plain] = {}
        for key, item in node.value:
            name = _key(key)
            if name in found:
                raise _Odd(f"the key `{name}` appears twice", key.start_mark.line + 1)
            lines[(*path, name)] = key.start_mark.line + 1
            found[name] = _plain(item, (*path, name), lines)
        return found
    if isinstance(node, SequenceNode):
        return [_plain(item, (*path, index), lines) for index, item in enumerate(node.value)]
    if not isinstance(node, ScalarNode):
        raise _Odd("an odd value", line)
    return _scalar(node, line)


def _key(node: Node) -> str:
    """A key is its text, also where it looks like a number or a truth value: JSON knows no others."""
    line = node.start_mark.line + 1
    if not isinstance(node, ScalarNode):
        raise _Odd("a key that is not text", line)
    if node.value == "<<" and node.style is None:
        raise _Odd("merge keys are not read: write the values out", line)
    return str(node.value)


def _scalar(node: ScalarNode, line: int) -> Plain:
    text = str(node.value)
    if node.style is not None:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise _Odd(f"`{text}` is no finite number", line)
        return number
    return text
