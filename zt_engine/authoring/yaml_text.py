"""YAML that a person wrote, with the line of every key: what an error message needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from zt_engine.core.bundle_hash import Json, Number
from zt_engine.core.errors import ConfigError, Problem

MAX_BYTES = 8 << 20

Plain: TypeAlias = "bool | int | float | str | Sequence[Plain] | Mapping[str, Plain] | None"
Path: TypeAlias = "tuple[str | int, ...]"


class YamlText(msgspec.Struct, frozen=True):
    """A parsed document: plain values, and the line on which each of them stands."""

    where: str
    value: Plain
    lines: Mapping[tuple[str | int, ...], int]

    def at(self, *path: str | int) -> str:
        """Return `file:line` of a value, or of the nearest thing around it that has a line."""
        for end in range(len(path), -1, -1):
            line = self.lines.get(path[:end])
            if line is not None:
                return f"{self.where}:{line}"
        return self.where


def read_yaml(text: str, *, where: str, code: str) -> YamlText:
    """Parse one document; syntax errors, repeated keys and odd values are ConfigError `code`."""
    if len(text) > MAX_BYTES:
        raise ConfigError((Problem(code=code, message=f"larger than {MAX_BYTES} bytes", where=where),))
    try:
        tree = YAML(typ="rt", pure=True).load(text)
    except YAMLError as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        line = f":{mark.line + 1}" if mark is not None else ""
        message = (error.problem if isinstance(error, MarkedYAMLError) else None) or "not YAML"
        raise ConfigError((Problem(code=code, message=str(message), where=f"{where}{line}"),)) from None
    except (RecursionError, ValueError) as error:
        raise ConfigError((Problem(code=code, message=f"not YAML: {error}", where=where),)) from None
    lines: dict[tuple[str | int, ...], int] = {(): 1}
    try:
        value = _plain(tree, (), lines)
    except _Odd as odd:
        raise ConfigError((Problem(code=code, message=str(odd), where=f"{where}:{odd.line}"),)) from None
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


def _plain(node: object, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> Plain:
    """Turn ruamel's decorated values into plain ones, noting lines on the way. Aliases are expanded within a bound."""
    line = lines.get(path, 1)
    if len(lines) > 500_000 or len(path) > 64:
        raise _Odd("nested too deeply, or too large once aliases are expanded", line)
    if isinstance(node, Mapping):
        found: dict[str, Plain] = {}
        for key, item in node.items():
            below = _line(node, key, line)
            if isinstance(key, bool):  # `{true: 1000}` in a trust file: a table by the value of a fact
                key = "true" if key else "false"  # noqa: PLW2901
            if not isinstance(key, str):
                raise _Odd(f"the key `{key}` is not text: quote it", below)
            lines[(*path, str(key))] = below
            found[str(key)] = _plain(item, (*path, str(key)), lines)
        return found
    if isinstance(node, list | tuple):
        for index in range(len(node)):
            lines[(*path, index)] = _line(node, index, line)
        return [_plain(item, (*path, index), lines) for index, item in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, str):
        return str(node)
    if isinstance(node, int):
        return int(node)
    if isinstance(node, float) and math.isfinite(node):
        return float(node)
    if hasattr(node, "isoformat"):
        return str(node.isoformat())
    raise _Odd(f"a {type(node).__name__} has no place here", line)


def _line(node: object, key: object, default: int) -> int:
    """Line numbers as ruamel keeps them; aliased and merged parts have none of their own."""
    position = getattr(getattr(node, "lc", None), "data", None)
    entry = position.get(key) if isinstance(position, dict) else None
    return entry[0] + 1 if entry else default
