"""The origin of the change stream: it puts changes in order, signs them, and serves them to sidecars.

Of all control planes on one database one is the sequencer. It alone gives events their place and signs watermarks; a
watermark is signed only after the database has just agreed that this is still the sequencer and that nothing waits.
The others follow the order by polling, serve it, and pass on the sequencer's watermarks: one that is cut off from the
database renews nobody's lease.

The work is done in one thread of its own; what there is to send is handed to the event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Protocol

import msgspec
import structlog

from zt_engine.control_plane.hub import Hub, Listener, Sent, wire
from zt_engine.control_plane.snapshot import Snapshot, Snapshots
from zt_engine.control_plane.stream_keys import KeyRing
from zt_engine.control_plane.watermark import KIND, NEWEST, Ledger
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.stream import Batch, Event, Urgent
from zt_engine.core.stream_signing import Signed, seal
from zt_engine.ports import Clock
from zt_engine.ports.inventory import ChangeLog, InventoryStore, SequencedEvent

log = structlog.get_logger()

POLL_SECONDS = 0.15
"""The floor: a wake-up may be lost, or come from another process."""
WATERMARK_SECONDS = 1.0
SEEN_SECONDS = 60.0
ELECT_SECONDS = 1.0
RETRY_SECONDS = 0.5
BATCH_EVENTS = 256
BATCH_BYTES = 1 << 20
PAGE = 1024
KEPT_EVENTS = 200_000
"""Who is further behind than this begins with a snapshot."""
FORGET_SECONDS = 600.0
TIMES = 10_000


class Floor(Protocol):
    """Where the sequencer's messages lie for those who reach nobody that serves them. Nothing here is waited for."""

    def begin(self) -> None:
        """Begin anew: this process has become the sequencer."""
        ...

    def batch(self, first: int, last: int, raw: bytes) -> None:
        """Add a batch."""
        ...

    def watermark(self, raw: bytes) -> None:
        """Replace the watermark."""
        ...

    def close(self) -> None:
        """Write what waits, and end."""
        ...


class Origin:
    """The stream of one tenant in one process."""

    def __init__(
        self,
        *,
        tenant: str,
        store: InventoryStore,
        changes: ChangeLog,
        keys: KeyRing,
        clock: Clock,
        facts: Sequence[str],
        shared: bool,
        connections: int = 1000,
        min_bundle_seq: Callable[[], int] = lambda: 0,
        housekeeping: Callable[[float], None] = lambda _now: None,
    ) -> None:
        """`shared`: other control planes on this database have to find the watermark there."""
        self.hub = Hub(connections=connections)
        self.tenant = tenant
        self.fence = 0
        """Under which this process serves; 0 before anything is known."""
        self.sequencing = False
        self.times: deque[tuple[int, float]] = deque(maxlen=TIMES)
        """When the stream had come so far: `(seq, at)`."""
        self.floor: Floor | None = None
        self._store = store
        self._changes = changes
        self.keys = keys
        self._clock = clock
        self._shared = shared
        self._min_bundle_seq = min_bundle_seq
        self._housekeeping = housekeeping
        self._snapshots = Snapshots(store, tenant=tenant, names=facts)
        self._ledger = Ledger(tenant)
        self._last = 0
        self._due = {"mark": 0.0, "seen": 0.0, "elect": 0.0, "forget": 0.0}
        self._marked = b""
        self._woken = threading.Event()
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # -- for everybody

    def wake(self) -> None:
        """Say that something was committed."""
        self._woken.set()

    def cut(self, sidecar: str) -> None:
        """End the streams of a sidecar. From any thread."""
        self._send(self.hub.cut, sidecar)

    def offer(self, record: str) -> None:
        """Show those who listen here the signed record of a release that is being examined. From any thread."""
        self._send(self.hub.offer, wire("offer", record.encode("ascii")))

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; what there is to send is sent on this loop."""
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="sequencer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End every stream, and resign. Called on the loop; waits for the thread in the middle of a turn."""
        self.hub.close()
        self._stopping = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
        floor, self.floor = self.floor, None
        if floor is not None:
            floor.close()
        self._changes.resign()

    def rekey(self, keys: KeyRing) -> None:
        """Sign with the first of these from now on, and have sidecars believe them; InputError as `KeyRing.follow`."""
        keys.follow(self.keys.ids)
        self.keys = keys
        # What was signed before is signed anew for whoever asks for it, since the key it was signed with may go.
        self._snapshots.forget()
        self._send(self.hub.begin, self._last)
        if self.floor is not None:
            self.floor.begin()

    def sign(self, message: Signed) -> bytes:
        """Sign a message of the stream."""
        return seal(message, self.keys.signing)

    def sign_for(self, known: Collection[str], message: Signed) -> bytes:
        """Sign something for one who believes these keys, so that whoever knows any of ours hears of the others."""
        return seal(message, self.keys.known_to(known))

    # -- the thread

    def _run(self) -> None:
        while not self._stopping:
            self._woken.wait(POLL_SECONDS)
            self._woken.clear()
            try:
                self.turn()
            except UnavailableError as error:
                self._step_back(error.code)
            except Exception as error:  # INVARIANT: nothing ends this thread; without it no revocation is heard of.
                log.exception("stream.failed", error=type(error).__name__)
                self._step_back("CONTROL_FAILED")

    def _step_back(self, why: str) -> None:
        """Be elected again, under another fence, before anything more is signed."""
        log.warning("stream.stepped_back", why=why, tenant=self.tenant)
        self.sequencing = False
        self._due["elect"] = self._clock.elapsed() + RETRY_SECONDS
        if not self._stopping:
            self._woken.wait(RETRY_SECONDS / 2)

    def turn(self) -> None:
        """Do once whatever is due: put in order, sign, send."""
        elapsed = self._clock.elapsed()
        if not self.sequencing and elapsed >= self._due["elect"]:
            self._due["elect"] = elapsed + ELECT_SECONDS
            self._try_to_be_elected()
        if self.sequencing:
            self._sequence(elapsed)
        else:
            self._follow()
        try:
            self._housekeeping(self._clock.now())
        except UnavailableError as error:  # it is tried again, and the office does not depend on it
            log.warning("stream.housekeeping_failed", code=error.code)

    def _try_to_be_elected(self) -> None:
        fence = self._changes.elect()
        if fence is None:
            return
        self._under(fence)
        self.sequencing = True
        self._catch_up()
        self._ledger.load(self._store)
        self._due["mark"] = 0.0
        if self.floor is not None:
            self.floor.begin()
        log.info("stream.elected", fence=fence, last=self._last, tenant=self.tenant)

    def _under(self, fence: int) -> None:
        """Serve under another fence: what was signed under the one before is not sent any more."""
        if not self.fence:
            self._last = self._changes.span(self.tenant)[1]
        self.fence = fence
        self._send(self.hub.begin, self._last)

    def _catch_up(self) -> None:
        """Send what another control plane put in order; who listens here must not miss it."""
        while placed := self._changes.events(self.tenant, after=self._last, limit=PAGE):
            self._publish(placed)

    def _sequence(self, elapsed: float) -> None:
        now = self._clock.now()
        if elapsed >= self._due["seen"]:
            self._due["seen"] = elapsed + SEEN_SECONDS
            self._changes.gather_seen(self.tenant, now=int(now))
        while True:
            placed = self._changes.sequence(self.tenant, fence=self.fence, limit=PAGE)
            if placed and placed[0].seq != self._last + 1:
                placed = self._changes.events(self.tenant, after=self._last, limit=10 * PAGE)
            self._publish(placed)
            if len(placed) < PAGE:
                break
        if elapsed >= self._due["mark"]:
            self._due["mark"] = elapsed + WATERMARK_SECONDS
            self._mark(now)
        if elapsed >= self._due["forget"]:
            self._due["forget"] = elapsed + FORGET_SECONDS
            self._changes.forget(self.tenant, before=self._last - KEPT_EVENTS)

    def _mark(self, now: float) -> None:
        """Sign a watermark. INVARIANT: the database has just said that this is the sequencer, and nothing waits."""
        watermark = self._ledger.watermark(
            fence=self.fence, seq=self._last, min_bundle_seq=self._min_bundle_seq(), now=now
        )
        signed = self.sign(watermark)
        if self._shared:
            body = msgspec.json.encode({"fence": self.fence, "signed": signed.decode("ascii")})
            with self._store.writing(self.tenant) as tx:
                tx.situation.put(KIND, NEWEST, body)
        if not self.times or self.times[-1][0] != self._last:
            self.times.append((self._last, now))
        self._send(self.hub.mark, signed, wire("watermark", signed))
        if self.floor is not None:
            self.floor.watermark(signed)

    def _follow(self) -> None:
        """Serve what another control plane puts in order."""
        with self._store.reading(self.tenant) as tx:
            body = tx.situation.all(KIND).get(NEWEST)
        if body is None:
            return
        found = msgspec.json.decode(body, type=_Shared)
        if found.fence != self.fence:
            self._under(found.fence)
        self._catch_up()
        signed = found.signed.encode("ascii")
        if signed != self._marked:
            self._marked = signed
            self._send(self.hub.mark, signed, wire("watermark", signed))

    def _publish(self, events: Sequence[SequencedEvent]) -> None:
        if not events:
            return
        self._ledger.follow(events)
        # Those who have reached the end get the batch itself at once, unless it is a large one.
        urge = partial(self.hub.urgent, everybody=len(events) > BATCH_EVENTS)
        for event in (event for event in events if event.type == "revocation.added"):
            urgent = Urgent(tenant=self.tenant, fence=self.fence, seq=event.seq, data=msgspec.Raw(event.data))
            self._send(urge, wire("urgent", self.sign(urgent)))
        for sent in self._batches(events):
            self._send(self.hub.batch, sent)
        self._last = events[-1].seq
        self.times.append((self._last, self._clock.now()))

    def _batches(self, events: Sequence[SequencedEvent]) -> list[Sent]:
        """Sign events in batches that are neither too many nor too large."""
        groups: list[list[SequencedEvent]] = []
        size = BATCH_BYTES
        for event in events:
            size += len(event.data)
            if size > BATCH_BYTES or len(groups[-1]) >= BATCH_EVENTS:
                groups.append([])
                size = len(event.data)
            groups[-1].append(event)
        return [self._signed(group) for group in groups]

    def _signed(self, events: Sequence[SequencedEvent]) -> Sent:
        first, last = events[0].seq, events[-1].seq
        batch = Batch(
            tenant=self.tenant, fence=self.fence, first=first, last=last,
            events=tuple(Event(seq=event.seq, type=event.type, data=msgspec.Raw(event.data)) for event in events),
        )  # fmt: skip
        signed = self.sign(batch)
        if self.floor is not None and self.sequencing and first > self._last:
            self.floor.batch(first, last, signed)
        return Sent(first, last, wire("batch", signed, id_=last))

    def _send(self, act: Callable[..., object], *arguments: object) -> None:
        if self._loop is None:
            act(*arguments)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act, *arguments)

    # -- on the event loop

    def admit(self, sidecar: str) -> None:
        """Raise UnavailableError STREAM_NOT_READY or STREAM_FULL unless this sidecar can be served now."""
        if not self.fence:
            raise UnavailableError("STREAM_NOT_READY", "no sequencer has been heard of yet")
        self.hub.admit(sidecar)

    async def messages(self, sidecar: str, *, cursor: int, least: int = 0) -> AsyncIterator[bytes]:
        """Yield what follows a cursor, for ever; a snapshot first when the cursor is too old, unknown or 0.

        `least` is what a snapshot must have come to: a sidecar never goes back.
        """
        listener = self.hub.attach(sidecar)
        try:
            async for data in self.backlog(listener, cursor=cursor, least=least):
                yield data
            while found := await listener.next():
                yield b"".join(found)
        finally:
            self.leave(listener)

    def leave(self, listener: Listener) -> None:
        """Send a reader nothing more."""
        self.hub.detach(listener)
        if listener.ended:
            log.info("stream.cut", sidecar=listener.sidecar, why=listener.ended)

    async def backlog(self, listener: Listener, *, cursor: int, least: int = 0) -> AsyncIterator[bytes]:
        """Yield what follows a cursor until the end is reached; the listener is `live` then, unless it was cut off."""
        position = cursor
        # Most of those who come back at once lack nothing, or only what was sent lately.
        if cursor == 0 or not (cursor == self.hub.last or self.hub.recent(cursor)):
            first, last = await asyncio.to_thread(self._changes.span, self.tenant)
            if cursor == 0 or cursor < first - 1 or cursor > last:
                snapshot = await asyncio.to_thread(self._snapshot, least)
                for number in range(len(snapshot)):
                    part = await asyncio.to_thread(snapshot.part, number)
                    yield b"".join(listener.waiting()) + wire("snapshot", part)
                position = snapshot.seq
        while position < self.hub.last and not listener.ended:
            recent = self.hub.recent(position) or await asyncio.to_thread(self._read, position)
            for sent in recent:
                yield b"".join(listener.waiting()) + sent.wire
                position = sent.last
        # INVARIANT: nothing is awaited between the last comparison and this, so nothing is missed.
        listener.live = True
        if self.hub.watermark:
            listener.mark(wire("watermark", self.hub.watermark))

    async def parts(self, least: int) -> AsyncIterator[bytes]:
        """Yield the signed parts of a snapshot."""
        snapshot = await asyncio.to_thread(self._snapshot, least)
        for number in range(len(snapshot)):
            yield await asyncio.to_thread(snapshot.part, number)

    def whole(self) -> tuple[int, Iterator[bytes]]:
        """Return everything that is true now and the `seq` it is of, as signed parts. From any thread."""
        snapshot = self._snapshot(self._last)
        return snapshot.seq, (snapshot.part(number) for number in range(len(snapshot)))

    def _snapshot(self, least: int) -> Snapshot:
        seq = self._changes.span(self.tenant)[1]
        return self._snapshots.of(
            seq=seq, fence=self.fence, least=min(least, seq), sign=self.sign, now=self._clock.now()
        )

    def _read(self, after: int) -> list[Sent]:
        events = self._changes.events(self.tenant, after=after, limit=PAGE)
        if not events or events[0].seq != after + 1:
            raise InputError("STREAM_GAP", "the events behind this cursor are gone")
        return self._batches(events)


class _Shared(msgspec.Struct):
    fence: int
    signed: str
