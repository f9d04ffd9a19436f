"""Follow the floor while no control plane is heard: the same messages from a folder, taken up by the same code.

The lease runs from the watermark that lies there, by the rules of the stream, so a floor nobody writes any more renews
nothing. What lies there is as old as its reader is slow; revocations come with the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from zt_engine.adapters.floor_folder import FloorSource, Index
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.lease import Reading
from zt_engine.sidecar.sync import Sync

log = structlog.get_logger()

LOOK_SECONDS = 2.0
"""Between two looks: a secret may be decided for ten seconds by a watermark."""
THREAD_BYTES = 48 << 10
HARMLESS = frozenset({"STREAM_REPEATED", "STREAM_REPLAYED"})


class FloorFollower:
    """Looks at a floor as long as the stream is not followed."""

    def __init__(
        self, url: str, *, sync: Sync, clocks: Callable[[], Reading], heard: Callable[[], bool], told: asyncio.Event
    ) -> None:
        """`heard` says whether the stream is followed now; `told` is set when something was applied."""
        self.source = FloorSource(url)
        self.fault = ""
        self._sync = sync
        self._clocks = clocks
        self._heard = heard
        self._told = told

    async def follow(self) -> None:
        """Look until cancelled. Nothing that goes wrong ends this."""
        try:
            while True:
                if not self._heard():
                    await self._try()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self.source.close()

    async def _try(self) -> None:
        try:
            await self.look()
            self._say("")
        except (UnavailableError, InputError) as error:
            self._say(error.code)
        except Exception as error:  # INVARIANT: a revocation that lies there must not find nobody looking.
            log.exception("floor.failed", error=type(error).__name__)

    def _say(self, fault: str) -> None:
        if fault != self.fault:
            self.fault = fault
            if fault:
                log.warning("floor.refused", code=fault, where=self.source.url)
            else:
                log.info("floor.followed", where=self.source.url, seq=self._sync.position.seq)

    async def look(self) -> None:
        """Take up what is new, then the watermark; raises UnavailableError or InputError."""
        # Read first: everything up to it is in the index that is read behind it.
        watermark, index = await self.source.watermark(), await self.source.index()
        before = self._sync.position.seq
        if self._sync.snapshot_wanted or before == 0 or not await self._batches(index):
            await self._snapshot(index)
            await self._batches(index)
        await self._take("watermark", watermark)
        if self._sync.position.seq != before:
            self._told.set()

    async def _batches(self, index: Index) -> bool:
        """Take what follows; whether there was nothing missing between."""
        for segment in index.segments:
            if segment.last <= self._sync.position.seq:
                continue
            if segment.first > self._sync.position.seq + 1:
                return False
            raw = await self.source.batch(segment)
            try:
                await self._take("batch", raw)
            except InputError as error:
                if error.code not in ("STREAM_FENCE", "STREAM_GAP"):
                    raise
                return False
        last = index.segments[-1].last if index.segments else index.snapshot
        return self._sync.position.seq >= last

    async def _snapshot(self, index: Index) -> None:
        async for raw in self.source.parts(index):
            await self._take("snapshot", raw)

    async def _take(self, kind: str, raw: bytes) -> None:
        try:
            if len(raw) <= THREAD_BYTES:
                self._sync.take(kind, raw, self._clocks())
                return
            position = self._sync.position.seq
            prepared = await asyncio.to_thread(self._sync.prepare, kind, raw)
            if kind == "batch" and self._sync.position.seq != position:
                raise InputError("STREAM_GAP", "the stream came in between")
            self._sync.commit(prepared, self._clocks())
        except InputError as error:
            if error.code not in HARMLESS:
                raise


def floor_tasks(
    url: str, *, sync: Sync, clocks: Callable[[], Reading], heard: Callable[[], bool], told: asyncio.Event
) -> tuple[Coroutine[Any, Any, None], ...]:
    """Return what has to run for as long as the sidecar does; nothing where no floor is configured."""
    return (FloorFollower(url, sync=sync, clocks=clocks, heard=heard, told=told).follow(),) if url else ()
