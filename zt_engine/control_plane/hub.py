"""Who listens to the stream, and what was sent last. One event loop; nothing here waits for a slow reader.

A reader that is behind is not sent batches: it fetches them itself, from what was sent lately or from the database,
until it has reached the end, and only then are they queued for it. So a queue holds what came since, and one that
grows past its bound belongs to a reader that does not read: it is cut off, and resumes from its cursor.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

from zt_engine.control_plane.sink import Sink, framed
from zt_engine.core.errors import UnavailableError

QUEUE_BYTES = 4 << 20
RECENT_BYTES = 16 << 20
RECENT_BATCHES = 4096
MARK_BYTES = 64 << 10
"""Whoever has not taken so much is sent no watermark behind it, but a newer one later."""
STREAMS_EACH = 3
"""Of one sidecar at a time: while a new process takes over from an old one there are two."""


class Sent(msgspec.Struct, frozen=True):
    """A signed batch as it goes over the wire."""

    first: int
    last: int
    wire: bytes


class Listener:
    """One reader of the stream."""

    def __init__(self, sidecar: str) -> None:
        self.sidecar = sidecar
        self.live = False
        """Whether it has reached the end, so that batches are queued for it."""
        self.ended = ""
        """Why it is cut off; empty while it is not."""
        self._sink: Sink | None = None
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._watermark = b""
        self._woken = asyncio.Event()

    def put(self, wire: bytes, chunk: bytes = b"") -> None:
        """Queue or write a message, or cut the reader off when too much waits; `chunk` is the message framed."""
        if self._sink is not None:
            self._sink.write(chunk or framed(wire))
            if self._sink.waiting > QUEUE_BYTES + len(wire):
                self.end("slow")
            return
        self._queue.append(wire)
        self._bytes += len(wire)
        if self._bytes > QUEUE_BYTES and len(self._queue) > 1:
            self.end("slow")
        self._woken.set()

    def mark(self, wire: bytes, chunk: bytes = b"") -> None:
        """Have the newest watermark sent behind what is queued; one that was not sent yet is replaced."""
        if self._sink is not None:
            if self._sink.waiting <= MARK_BYTES:
                self._sink.write(chunk or framed(wire))
            return
        self._watermark = wire
        self._woken.set()

    def direct(self, sink: Sink) -> None:
        """Have everything from now on written to a connection; what is queued goes first."""
        self._sink = sink
        if self.ended:
            sink.end(at_once=self.ended == "slow")
        elif found := b"".join(self.waiting()):
            self.put(found)

    def end(self, why: str) -> None:
        """Cut the reader off."""
        self.ended = self.ended or why
        self._queue.clear()
        self._woken.set()
        if self._sink is not None:
            self._sink.end(at_once=why == "slow")

    def waiting(self) -> list[bytes]:
        """Take what is queued, without waiting."""
        found, self._bytes = list(self._queue), 0
        self._queue.clear()
        if self._watermark:
            found.append(self._watermark)
            self._watermark = b""
        return found

    async def next(self) -> list[bytes]:
        """Wait for something to send; nothing when the reader is cut off."""
        while not self.ended:
            self._woken.clear()
            found = self.waiting()
            if found:
                return found
            await self._woken.wait()
        return []


class Hub:
    """All readers of one tenant in this process."""

    def __init__(self, *, connections: int) -> None:
        self.last = 0
        """The last event that was sent."""
        self.watermark = b""
        """The newest watermark, signed."""
        self._connections = connections
        self._listeners: dict[Listener, None] = {}
        self._by_sidecar: dict[str, list[Listener]] = {}
        self._recent: deque[Sent] = deque()
        self._recent_bytes = 0

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def connected(self) -> Sequence[str]:
        """The ids of the sidecars that listen."""
        return tuple(self._by_sidecar)

    def _of(self, sidecar: str) -> Sequence[Listener]:
        return tuple(self._by_sidecar.get(sidecar, ()))

    def admit(self, sidecar: str) -> None:
        """Raise UnavailableError STREAM_FULL unless there is room for this sidecar."""
        if len(self._listeners) >= self._connections and not self._of(sidecar):
            raise UnavailableError("STREAM_FULL", f"{self._connections} streams are served here already")

    def attach(self, sidecar: str) -> Listener:
        """Begin to listen; of too many streams of one sidecar the oldest ends. UnavailableError STREAM_FULL."""
        self.admit(sidecar)
        before = self._of(sidecar)
        if len(before) >= STREAMS_EACH or (before and len(self._listeners) >= self._connections):
            before[0].end("replaced")
            self.detach(before[0])
        listener = Listener(sidecar)
        self._listeners[listener] = None
        self._by_sidecar.setdefault(sidecar, []).append(listener)
        return listener

    def detach(self, listener: Listener) -> None:
        """Stop listening."""
        if listener not in self._listeners:
            return
        del self._listeners[listener]
        rest = self._by_sidecar[listener.sidecar]
        rest.remove(listener)
        if not rest:
            del self._by_sidecar[listener.sidecar]

    def cut(self, sidecar: str) -> None:
        """End the streams of a sidecar."""
        for listener in self._of(sidecar):
            listener.end("revoked")
            self.detach(listener)

    def close(self) -> None:
        """End every stream."""
        for sidecar in self.connected:
            self.cut(sidecar)

    def begin(self, last: int) -> None:
        """Forget what was sent under an earlier sequencer, whose fence is in it."""
        self.last = max(self.last, last)
        self._recent.clear()
        self._recent_bytes = 0

    def batch(self, sent: Sent) -> None:
        """Send a batch to everybody who has reached the end."""
        if sent.first != self.last + 1:
            # What is missing between is read from the database by whoever needs it.
            self._recent.clear()
            self._recent_bytes = 0
            for listener in self._listeners:
                if listener.live:
                    listener.end("gap")
        self.last = sent.last
        self._recent.append(sent)
        self._recent_bytes += len(sent.wire)
        while self._recent_bytes > RECENT_BYTES or len(self._recent) > RECENT_BATCHES:
            self._recent_bytes -= len(self._recent.popleft().wire)
        chunk = framed(sent.wire)
        for listener in self._listeners:
            if listener.live:
                listener.put(sent.wire, chunk)

    def urgent(self, wire: bytes, *, everybody: bool) -> None:
        """Send a revocation ahead of its turn to those who are behind, or to everybody."""
        chunk = framed(wire)
        for listener in self._listeners:
            if everybody or not listener.live:
                listener.put(wire, chunk)

    def offer(self, wire: bytes) -> None:
        """Send what may come next to everybody who has reached the end."""
        chunk = framed(wire)
        for listener in self._listeners:
            if listener.live:
                listener.put(wire, chunk)

    def mark(self, signed: bytes, wire: bytes) -> None:
        """Send a watermark to everybody."""
        self.watermark = signed
        chunk = framed(wire)
        for listener in self._listeners:
            listener.mark(wire, chunk)

    def recent(self, after: int) -> list[Sent]:
        """Return the batches that follow a cursor, if they were sent lately; else nothing."""
        if not self._recent or after < self._recent[0].first - 1:
            return []
        return [sent for sent in self._recent if sent.last > after]


def wire(event: str, data: bytes, *, id_: int | None = None) -> bytes:
    """Return a message as Server-Sent Events write it."""
    name = b"event: %b\n" % event.encode()
    return name + (b"" if id_ is None else b"id: %d\n" % id_) + b"data: %b\n\n" % data
