"""TOML with lines: values from the standard library, lines from the headers and keys of the text."""

from __future__ import annotations

import re
import tomllib
from typing import Any, TypeAlias

from zt_engine.doctor.finding import Place
from zt_engine.doctor.sources import fault
from zt_engine.doctor.trees.node import MAX_DEPTH, Node

MAX_CHARACTERS = 1 << 20

Path: TypeAlias = "tuple[str | int, ...]"

_HEADER = re.compile(r"[ \t]*(\[{1,2})([^\[\]\n]{1,400})\]{1,2}[ \t]*(?:#.*)?")
_KEY = re.compile(r"""[ \t]*((?:[A-Za-z0-9_.\-]|"[^"\n]*"|'[^'\n]*'){1,400}?)[ \t]*=""")
_PART = re.compile(r"""[A-Za-z0-9_\-]+|"[^"]*"|'[^']*'""")
_LINE_OF_ERROR = re.compile(r"at line (\d+)")


def read(text: str, file: str) -> Node:
    """Return the table; ConfigError DOCTOR_SYNTAX, DOCTOR_TOO_LARGE."""
    if len(text) > MAX_CHARACTERS:
        raise fault("DOCTOR_TOO_LARGE", f"TOML of more than {MAX_CHARACTERS} characters", file)
    try:
        value = tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        line = _LINE_OF_ERROR.search(str(error))
        raise fault("DOCTOR_SYNTAX", str(error), f"{file}:{line[1]}" if line else file) from None
    except (RecursionError, ValueError):
        raise fault("DOCTOR_TOO_LARGE", "nested too deeply, or a number too long", file) from None
    return _node(value, (), Place(file, 1), _lines(text))


def _lines(text: str) -> dict[Path, int]:
    """Return where tables and keys begin. A key inside a text may mislead; then a line is wrong and nothing else."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.split("\n"), 1):
        header = _HEADER.fullmatch(line)
        if header is not None:
            table = ()
            parts = _PART.findall(header[2])
            for index, part in enumerate(parts):
                table = (*table, part.strip("\"'"))
                last = index == len(parts) - 1
                if last and header[1] == "[[":
                    counts[table] = counts.get(table, -1) + 1
                    found.setdefault(table, number)
                if table in counts:
                    table = (*table, counts[table])
            found[table] = number
            continue
        key = _KEY.match(line)
        if key is not None:
            path = table
            for part in _PART.findall(key[1]):
                path = (*path, part.strip("\"'"))
                found.setdefault(path, number)
    return found


def _node(value: Any, path: Path, around: Place, lines: dict[Path, int]) -> Node:
    place = Place(around.file, lines.get(path, around.line))
    if len(path) > MAX_DEPTH:
        raise fault("DOCTOR_TOO_LARGE", "nested too deeply", str(place))
    node = Node(place)
    if isinstance(value, dict):
        node.pairs.extend((key, _node(item, (*path, key), place, lines)) for key, item in value.items())
    elif isinstance(value, list):
        node.elements.extend(_node(item, (*path, index), place, lines) for index, item in enumerate(value))
    else:
        node.scalar = value if isinstance(value, str | bool | int | float) else str(value)
    return node
