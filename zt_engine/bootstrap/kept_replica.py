"""What a sidecar keeps of the stream for its next start: taken up then, and replaced by a new snapshot in time.

It is time when so many batches lie behind the snapshot that they take long to read, and when a key was taken out of
the stream's that may have signed what is kept. Until then such a key is believed for what is kept alone: otherwise a
sidecar that starts while no control plane answers would know nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from zt_engine.adapters.replica_disk import ReplicaDisk
from zt_engine.adapters.stream_http import StreamClient
from zt_engine.adapters.stream_keys import public_keys
from zt_engine.bootstrap.control_link import HARMLESS
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.lease import Reading
from zt_engine.core.stream import SnapshotPart
from zt_engine.core.stream_signing import Position, unseal
from zt_engine.sidecar.sync import Sync

log = structlog.get_logger()

AGAIN_SECONDS = 600.0
"""From one snapshot for the disk to the next, whatever became of the first."""
LEAST_SECONDS = 15.0
"""By then a watermark of the next key is on the disk as well."""
SPREAD_SECONDS = 300.0
"""Over how long the snapshots that all sidecars need after one change of keys are asked for: a control plane makes one
in that time, and sends it to each."""


class KeptReplica:
    """The disk of a replica that follows a control plane."""

    def __init__(
        self,
        disk: ReplicaDisk,
        client: StreamClient,
        sync: Sync,
        *,
        tenant: str,
        draw: Callable[[], float],
        elapsed: Callable[[], float],
    ) -> None:
        """`draw` gives numbers between 0 and 1."""
        self._disk = disk
        self._client = client
        self._sync = sync
        self._tenant = tenant
        self._draw = draw
        self._elapsed = elapsed
        self._due = 0.0
        self._former: frozenset[str] = frozenset()
        """Keys that a snapshot is planned for."""
        self._left_at: Position | None = None
        """Where the stream was when the last of them had left; None once that was made use of."""

    def load(self, clocks: Callable[[], Reading]) -> None:
        """Take up what is kept, verified again; what does not hold is dropped, with what comes behind it.

        INVARIANT: the keys that were taken out count in here only. What comes from elsewhere is not verified by them.
        """
        believed = self._sync.keys
        self._sync.keys = {**public_keys(self._disk.read_former()), **believed}
        try:
            self._take(clocks)
        finally:
            self._sync.keys = believed

    def _take(self, clocks: Callable[[], Reading]) -> None:
        for stored in self._disk.stored():
            try:
                self._sync.take(stored.kind, stored.raw, clocks())
            except InputError as error:
                if error.code in HARMLESS:
                    continue
                log.warning("replica.dropped", code=error.code, problem=error.message, kind=stored.kind)
                if stored.kind == "batch":
                    self._disk.cut(stored.start)
                if stored.kind != "watermark":
                    break

    async def turn(self) -> None:
        """Fetch a snapshot for the disk if one is due. Call it every second while the stream is followed."""
        former, now = self._left(), self._elapsed()
        if former - self._former:
            self._due = now + LEAST_SECONDS + SPREAD_SECONDS * self._draw()
            self._left_at = self._sync.position
            self._disk.mark()
        self._former = former
        if (former or self._disk.long) and now >= self._due:
            self._due = now + AGAIN_SECONDS
            left_at, self._left_at = self._left_at, None
            # Behind another election's snapshot the batches of the one before do not hold.
            await self.renew(left_at if left_at is not None and left_at.fence == self._sync.position.fence else None)

    def _left(self) -> frozenset[str]:
        """Return the keys that may have signed what is kept, and sign nothing that comes."""
        return frozenset(self._disk.former) - self._sync.keys.keys()

    async def renew(self, left_at: Position | None = None) -> None:
        """Fetch a snapshot for the disk alone, in place of everything that is kept now.

        With `left_at` in place of what was kept when it was marked: the batches since are signed by keys that stay, so
        a snapshot will do that was made for others meanwhile. None has to be made for each sidecar because of changes.
        """
        self._disk.begin_fresh(without=self._left(), marked=left_at is not None)
        least, whole, told = (left_at or self._sync.position).seq, None, 0
        try:
            async for raw in self._client.snapshot(least=least):
                part = await asyncio.to_thread(unseal, raw, SnapshotPart, self._sync.keys, tenant=self._tenant)
                told += 1
                whole = whole or (part.fence, part.seq, part.of)
                if (part.fence, part.seq, part.of) != whole or part.part != told or part.seq < least:
                    raise InputError("STREAM_SNAPSHOT", "not the parts of one snapshot, or an old one")
                self._disk.fresh(raw, first=told == 1, last=told == part.of)
        except (UnavailableError, InputError) as error:
            log.warning("replica.not_renewed", code=error.code, problem=error.message)
