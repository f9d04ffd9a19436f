"""Everything that is revoked, with a digest that tells whether two parties hold the same.

The digest is a sum, so adding one of two hundred thousand costs one hash, and neither order nor history shows in it.
What has ended is not counted, and both parties take the watermark's own time for that, so their clocks do not matter.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator

from zt_engine.core.situation import FOREVER

_BITS = 256
_MODULUS = 1 << _BITS


class Revocations:
    """Kinds and keys, each until the last instant that was ever said.

    INVARIANT: the order in which they are told does not matter. A stream tells them as they came, a snapshot and the
    inventory by their names, and all three have the same digest.
    """

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], int] = {}
        self._sum = 0
        self._ends: list[tuple[int, str, str]] = []

    def __len__(self) -> int:
        return len(self._until)

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        return ((kind, key, until) for (kind, key), until in self._until.items())

    def add(self, kind: str, key: str, until: int | None) -> bool:
        """Add a revocation (None: for ever); whether anything is another than before: one that ends sooner is not."""
        end = FOREVER if until is None else until
        before = self._until.get((kind, key))
        if before is not None and end <= before:
            return False
        if before is not None:
            self._sum -= _hash(kind, key, before)
        self._until[kind, key] = end
        self._sum = (self._sum + _hash(kind, key, end)) % _MODULUS
        if end < FOREVER:
            heapq.heappush(self._ends, (end, kind, key))
        return True

    def digest(self, at: float) -> str:
        """Return the digest of what is revoked at an instant; what has ended by then is forgotten."""
        while self._ends and self._ends[0][0] < at:
            end, kind, key = heapq.heappop(self._ends)
            if self._until.get((kind, key)) == end:
                del self._until[kind, key]
                self._sum = (self._sum - _hash(kind, key, end)) % _MODULUS
        return f"{self._sum % _MODULUS:064x}"


def _hash(kind: str, key: str, until: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{kind}\n{until}\n{key}".encode()).digest())
