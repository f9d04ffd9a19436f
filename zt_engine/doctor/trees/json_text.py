"""JSON with lines: the standard library says whether it is JSON, and the tokens say where each value stands."""

from __future__ import annotations

import json
import re

from zt_engine.doctor.finding import Place
from zt_engine.doctor.sources import fault
from zt_engine.doctor.trees.node import MAX_DEPTH, Node

MAX_VALUES = 400_000

_TOKEN = re.compile(r'([{}\[\]])|"(?:[^"\\]|\\.)*+"|[-+.0-9A-Za-z]++')


def read(text: str, file: str) -> Node:
    """Return the value; ConfigError DOCTOR_SYNTAX with the line, DOCTOR_TOO_LARGE."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise fault("DOCTOR_SYNTAX", error.msg, f"{file}:{error.lineno}") from None
    except (RecursionError, ValueError):
        raise fault("DOCTOR_TOO_LARGE", "nested too deeply, or a number too long", file) from None
    return _tree(text, file)


def _tree(text: str, file: str) -> Node:
    """Build the tree of a text that is known to be JSON."""
    root = Node(Place(file, 1))
    stack: list[tuple[Node, bool]] = [(root, False)]
    key: str | None = None
    at, line, count = 0, 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", at, match.start())
        at = match.start()
        token, (around, is_map) = match[0], stack[-1]
        if token in {"}", "]"}:
            stack.pop()
            continue
        if is_map and key is None:
            key = str(json.loads(token))
            continue
        count += 1
        if count > MAX_VALUES or len(stack) > MAX_DEPTH:
            raise fault("DOCTOR_TOO_LARGE", "nested too deeply, or too many values", f"{file}:{line}")
        node = Node(Place(file, line), None if match[1] else json.loads(token))
        if is_map:
            around.pairs.append((key or "", node))
            key = None
        else:
            around.elements.append(node)
        if match[1]:
            stack.append((node, match[1] == "{"))
    return root.elements[0]
