"""A line of a configuration: a name, arguments, and for some a block of more lines."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from zt_engine.doctor.finding import Place


class Directive(msgspec.Struct):
    """A name with arguments; `block` is None where none was opened."""

    name: str
    args: tuple[str, ...]
    place: Place
    block: list[Directive] | None = None

    def inside(self, name: str) -> Iterator[Directive]:
        """Yield the lines of a name in the block."""
        return (item for item in self.block or () if item.name == name)

    @property
    def first(self) -> str:
        """The first argument, or nothing."""
        return self.args[0] if self.args else ""
