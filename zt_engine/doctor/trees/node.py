"""A value of a configuration with its line. Keys are found as Go and protobuf find them: case and `_` do not matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from zt_engine.doctor.finding import Place

Scalar: TypeAlias = "str | int | float | bool | None"

MAX_DEPTH = 64


class Node:
    """A scalar, a list or a mapping. What is not there is a node without value, at the line of what it belongs to."""

    __slots__ = ("_index", "elements", "pairs", "place", "scalar")

    def __init__(self, place: Place, scalar: Scalar = None) -> None:
        self.place = place
        self.scalar = scalar
        self.elements: list[Node] = []
        self.pairs: list[tuple[str, Node]] = []
        self._index: dict[str, Node] | None = None

    def get(self, *path: str) -> Node:
        """Follow keys; of a key that is there twice the first one counts."""
        node = self
        for key in path:
            if node._index is None:
                node._index = {}
                for name, value in node.pairs:
                    node._index.setdefault(_folded(name), value)
            node = node._index.get(_folded(key)) or Node(node.place)
        return node

    @property
    def present(self) -> bool:
        """Whether there is anything, `null` excepted."""
        return self.scalar is not None or bool(self.elements) or bool(self.pairs)

    @property
    def text(self) -> str:
        """A scalar as text; nothing for everything else."""
        return str(self.scalar) if self.scalar is not None and not isinstance(self.scalar, bool) else ""

    @property
    def true(self) -> bool:
        """Whether it says yes, also as a text."""
        return self.scalar is True or self.text.lower() == "true"

    @property
    def texts(self) -> list[str]:
        """A list of texts, or a single one, which may be separated by commas."""
        if self.elements:
            return [item.text for item in self.elements]
        return [part.strip() for part in self.text.split(",") if part.strip()]

    def below(self) -> Iterator[Node]:
        """Yield this node and all inside, each once: aliases make no tree larger than its file."""
        seen: set[int] = set()
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            waiting.extend(reversed([*node.elements, *(value for _, value in node.pairs)]))


def _folded(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()
