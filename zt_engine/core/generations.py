"""A bounded memory in two generations: what is asked for lives on, the rest goes half at a time.

One dictionary lookup for what was asked for lately, two for the rest, and no list to reorder. Holds between half and
all of its capacity. What is lost is never wrong, only work to be done again. It is freed a few entries at a time: ten
thousand at once would take milliseconds in which nobody is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

FREED = 4
"""Entries freed for each one that is put: more than come, so that nothing piles up."""


class Generations(Generic[Key, Value]):
    """Remembers values under keys. `capacity` counts entries, or what `size` says that each of them takes."""

    __slots__ = ("_gone", "_half", "_old", "_size", "_used", "_young")

    def __init__(self, capacity: int, size: Callable[[Key, Value], int] | None = None) -> None:
        self._half = max(1, capacity // 2)
        self._size = size
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}
        self._gone: dict[Key, Value] = {}
        self._used = 0

    def get(self, key: Key) -> Value | None:
        """Return what was kept under a key."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: Key, value: Value) -> None:
        """Keep a value, None excepted; what is larger than a generation is not kept."""
        size = 1 if self._size is None else self._size(key, value)
        if size > self._half:
            return
        old = self._young.pop(key, None)
        if old is not None:
            self._used -= 1 if self._size is None else self._size(key, old)
        if self._used + size > self._half:
            self._gone, self._old, self._young, self._used = self._old, self._young, {}, 0
        self._young[key] = value
        self._used += size
        if self._gone:
            for _ in range(min(FREED, len(self._gone))):
                self._gone.popitem()

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old, self._gone, self._used = {}, {}, {}, 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
