"""The watermark: what the sequencer signs every second, and what is revoked by then."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from zt_engine.core.instants import parse_instant
from zt_engine.core.revocations import Revocations
from zt_engine.core.stream import Watermark
from zt_engine.ports.inventory import InventoryStore, SequencedEvent

KIND = "watermark"
NEWEST = "newest"
"""Where control planes that are not the sequencer find it: beside the situation, as one record."""


class _Revocation(msgspec.Struct):
    kind: str
    key: str
    until: int | str | None = None


class Ledger:
    """What is revoked at the last event of the stream."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._revocations = Revocations()

    def load(self, store: InventoryStore) -> None:
        """Begin with what the inventory holds."""
        self._revocations = Revocations()
        with store.reading(self._tenant) as tx:
            for body in tx.situation.all("revocation").values():
                self._add(body)

    def follow(self, events: Iterable[SequencedEvent]) -> None:
        """Take up what became of it."""
        for event in events:
            if event.type == "revocation.added":
                self._add(event.data)

    def _add(self, body: bytes) -> None:
        found = msgspec.json.decode(body, type=_Revocation)
        until = parse_instant(found.until) if isinstance(found.until, str) else found.until
        if until is not None or found.until is None:
            self._revocations.add(found.kind, found.key, until)

    def watermark(self, *, fence: int, seq: int, min_bundle_seq: int, now: float) -> Watermark:
        """Return the watermark of this moment."""
        return Watermark(
            tenant=self._tenant,
            fence=fence,
            seq=seq,
            min_bundle_seq=min_bundle_seq,
            revocations_digest=self._revocations.digest(now),
            issued_at=now,
        )
