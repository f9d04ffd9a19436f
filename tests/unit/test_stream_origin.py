"""The origin: what is committed is put in order, signed and sent; who is slow is cut off, who is late catches up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from device_inventory.facts import CATALOGUE
from tests.control_support import TENANT, a_device
from tests.fakes.clock import FakeClock
from tests.stream_support import KEY, KEYS, Follower
from tests.world import subject
from zt_engine.adapters.store_sql import SqlStore, open_store
from zt_engine.adapters.stream_http import EventParser
from zt_engine.control_plane import hub as hubs
from zt_engine.control_plane.hub import Hub, Listener, Sent
from zt_engine.control_plane.ledger import Ledger
from zt_engine.control_plane.stream import Origin
from zt_engine.control_plane.stream_keys import KeyRing
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.stream import Watermark
from zt_engine.core.stream_signing import unseal

LEDGER = Ledger(CATALOGUE)


def origin_on(store: SqlStore, clock: FakeClock, *, shared: bool = False, connections: int = 10) -> Origin:
    store.migrate()
    return Origin(
        tenant=TENANT, store=store, changes=store, keys=KeyRing([KEY]), clock=clock,
        facts=sorted(CATALOGUE), shared=shared,
        connections=connections,
    )  # fmt: skip


class World:
    """A database, an origin on it that works when it is told to, and a clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = open_store("sqlite://")
        self.origin = origin_on(self.store, self.clock)
        self.sidecar = Follower()

    def turn(self) -> None:
        self.origin.turn()

    def put(self, name: str, version: int = 1, **members: object) -> None:
        with self.store.writing(TENANT) as tx:
            before = tx.devices.get(name)
            LEDGER(
                tx, a_device(name, version=version, **members), before=before, actor="system", action="device.changed",
                now=int(self.clock.now()),
            )  # fmt: skip

    async def sent(self, cursor: int, until: Callable[[Follower], bool], **how: int) -> Follower:
        """Let the sidecar follow from a cursor until something is so."""
        messages = self.origin.messages("edge-1", cursor=cursor, **how)
        try:
            async with asyncio.timeout(10):
                await follow(messages, self.sidecar, until)
        finally:
            await messages.aclose()  # type: ignore[attr-defined]
        return self.sidecar


async def follow(messages: AsyncIterator[bytes], sidecar: Follower, until: Callable[[Follower], bool]) -> None:
    parser = EventParser()
    async for data in messages:
        for kind, raw in parser.feed(data):
            sidecar.take(kind, raw)
        if until(sidecar):
            return


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.turn()
    yield world
    world.store.close()


class Two:
    """Two control planes on one database, and a way to change something."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder / 'inventory.db'}"
        self.world = World()
        self.world.store.close()
        self.clock = self.world.clock
        self.stores = [open_store(url) for _ in range(2)]
        self.one, self.two = (origin_on(store, self.clock, shared=True) for store in self.stores)
        self.world.store = self.stores[0]
        self.one.turn()
        self.two.turn()


@pytest.fixture
def planes(tmp_path: Path) -> Iterator[Two]:
    planes = Two(tmp_path)
    yield planes
    for store in planes.stores:
        store.close()


def run(work: Awaitable[object]) -> object:
    async def main() -> object:
        return await work

    return asyncio.run(main())


def test_a_sidecar_that_knows_nothing_gets_a_snapshot_then_the_watermark(world: World) -> None:
    world.put("laptop-1")
    with world.store.writing(TENANT) as tx:
        tx.situation.put_subject(subject())
    world.turn()

    sidecar = run(world.sent(0, lambda sidecar: sidecar.lease.issued_at is not None))

    assert isinstance(sidecar, Follower)
    assert (set(sidecar.replica.devices), len(sidecar.replica.subjects)) == ({"laptop-1"}, 1)
    assert sidecar.sync.position.seq == 1


def test_what_came_while_it_was_away_is_sent_from_its_cursor(world: World) -> None:
    world.put("laptop-1")
    world.turn()
    run(world.sent(0, lambda sidecar: sidecar.sync.position.seq == 1))
    for name in ("a", "b", "c"):
        world.put(name)
        world.turn()

    sidecar = run(world.sent(1, lambda sidecar: sidecar.sync.position.seq == 4))

    assert isinstance(sidecar, Follower)
    assert set(sidecar.replica.devices) == {"laptop-1", "a", "b", "c"}


def test_what_was_forgotten_is_not_sent_but_everything_again(world: World) -> None:
    for name in ("a", "b", "c"):
        world.put(name)
    world.turn()
    world.sidecar.begin()
    world.store.forget(TENANT, before=3)

    sidecar = run(world.sent(1, lambda sidecar: sidecar.sync.position.seq == 3))

    assert isinstance(sidecar, Follower)
    assert set(sidecar.replica.devices) == {"a", "b", "c"}


def test_a_cursor_from_the_future_gets_everything_again(world: World) -> None:
    world.put("a")
    world.turn()

    sidecar = run(world.sent(99, lambda sidecar: sidecar.sync.position.seq == 1))

    assert isinstance(sidecar, Follower)
    assert set(sidecar.replica.devices) == {"a"}


def test_one_snapshot_serves_many_and_one_that_is_too_old_is_made_anew(world: World) -> None:
    world.put("a")
    world.turn()
    first = world.origin._snapshot(0)
    world.put("b")
    world.turn()

    assert world.origin._snapshot(0) is first
    assert world.origin._snapshot(first.seq + 1) is not first


def test_each_watermark_is_signed_after_everything_committed_has_its_place(world: World) -> None:
    world.put("a")
    world.clock.advance(2)
    world.turn()

    mark = unseal(world.origin.hub.watermark, Watermark, KEYS, tenant=TENANT)

    assert (mark.seq, mark.issued_at) == (1, world.clock.now())


def test_no_watermark_is_signed_by_one_that_was_deposed_or_cannot_ask(world: World) -> None:
    before = world.origin.hub.watermark
    world.store.elect()  # somebody else was elected meanwhile
    world.clock.advance(5)

    with pytest.raises(UnavailableError, match="STORE_FENCED"):
        world.turn()
    assert world.origin.hub.watermark == before

    world.origin._step_back("STORE_FENCED")
    world.clock.advance(5)
    world.turn()
    old, new = (unseal(raw, Watermark, KEYS, tenant=TENANT) for raw in (before, world.origin.hub.watermark))
    assert new.fence > old.fence


def test_reports_that_changed_nothing_are_told_at_most_once_a_minute(world: World) -> None:
    world.put("laptop-1")

    def told() -> int:
        return sum(event.type == "device.seen" for event in world.store.events(TENANT, after=0, limit=100))

    for _ in range(130):
        with world.store.writing(TENANT) as tx:
            tx.outbox.seen("laptop-1", received_at=int(world.clock.now()), facts=["disk.encrypted"])
        world.clock.advance(1)
        world.turn()

    assert told() == 2


def test_a_revocation_goes_ahead_to_those_who_are_behind(world: World) -> None:
    async def work() -> tuple[list[bytes], list[bytes]]:
        behind, live = world.origin.hub.attach("edge-1"), world.origin.hub.attach("edge-2")
        live.live = True
        world.put("laptop-1")
        world.put("laptop-1", 2, status="revoked")
        world.turn()
        return behind.waiting(), live.waiting()

    behind, live = asyncio.run(work())

    assert [message.split(b"\n")[0] for message in behind] == [b"event: urgent"]
    assert [message.split(b"\n")[0] for message in live] == [b"event: batch"]


# -- two control planes on one database


def test_the_second_control_plane_serves_what_the_first_puts_in_order_and_takes_over(planes: Two) -> None:
    one, two = planes.one, planes.two
    planes.world.put("laptop-1")
    one.turn()
    two.turn()

    assert (one.sequencing, two.sequencing, two.hub.last, two.fence) == (True, False, 1, one.fence)
    assert two.hub.watermark == one.hub.watermark != b""

    planes.stores[0].resign()
    planes.clock.advance(2)
    two.turn()
    planes.world.put("laptop-2")
    two.turn()
    with pytest.raises(UnavailableError, match="STORE_FENCED"):
        one.turn()

    assert (two.sequencing, two.hub.last, two.fence > one.fence) == (True, 2, True)


def test_one_that_is_promoted_sends_what_it_had_not_sent_yet(planes: Two) -> None:
    listener = planes.two.hub.attach("edge-1")
    listener.live = True
    planes.world.put("laptop-1")
    planes.one.turn()
    planes.stores[0].resign()
    planes.clock.advance(2)

    planes.two.turn()

    assert next(message.split(b"\n")[0] for message in listener.waiting()) == b"event: batch"


# -- the hub


def sent(first: int, size: int = 10) -> Sent:
    return Sent(first, first, b"x" * size)


def test_a_reader_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "QUEUE_BYTES", 100)
    hub = Hub(connections=2)
    slow, quick = hub.attach("slow"), hub.attach("quick")
    slow.live = quick.live = True

    for first in range(1, 30):
        hub.batch(sent(first))
        quick.waiting()

    assert (slow.ended, quick.ended) == ("slow", "")
    assert asyncio.run(slow.next()) == []


def test_only_so_many_are_served_and_one_more_stream_of_a_sidecar_ends_its_oldest() -> None:
    hub = Hub(connections=2)
    first = hub.attach("a")
    hub.attach("b")

    with pytest.raises(UnavailableError, match="STREAM_FULL"):
        hub.attach("c")
    hub.attach("a")
    assert first.ended == "replaced"
    assert sorted(hub.connected) == ["a", "b"]


def test_a_watermark_that_was_not_sent_yet_is_replaced_by_the_next() -> None:
    listener = Listener("a")
    for number in range(5):
        listener.mark(b"mark %d" % number)

    assert listener.waiting() == [b"mark 4"]


def test_whoever_leaves_is_counted_no_more_and_leaves_once() -> None:
    hub = Hub(connections=2)
    one, two = hub.attach("a"), hub.attach("a")

    for listener in (one, one, two):
        hub.detach(listener)
    assert (len(hub), hub.connected) == (0, ())


def test_what_was_sent_lately_is_had_without_the_database() -> None:
    hub = Hub(connections=2)
    for first in range(1, 6):
        hub.batch(sent(first))

    assert [one.first for one in hub.recent(3)] == [4, 5]
    hub.batch(sent(9))  # something is missing between
    assert hub.recent(3) == []


class Line:
    """A connection that is written to directly, and takes nothing as long as `stuck`."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.waiting = 0
        self.stuck = False
        self.ended = ""

    def write(self, framed: bytes) -> None:
        self.got.append(framed)
        self.waiting += len(framed) if self.stuck else 0

    def end(self, *, at_once: bool = False) -> None:
        self.ended = "at once" if at_once else "in order"


def test_a_connection_is_written_what_was_queued_and_then_everything_as_it_comes() -> None:
    hub, line = Hub(connections=2), Line()
    listener = hub.attach("a")
    listener.live = True
    hub.batch(sent(1))
    hub.mark(b"signed", b"mark 1")

    listener.direct(line)
    hub.batch(sent(2))
    hub.mark(b"signed", b"mark 2")

    assert b"".join(line.got) == b"10\r\n" + b"x" * 10 + b"mark 1\r\n" + b"a\r\n" + b"x" * 10 + b"\r\n6\r\nmark 2\r\n"
    hub.cut("a")
    assert line.ended == "in order"


def test_a_connection_that_takes_nothing_is_sent_no_more_watermarks_and_then_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hubs, "QUEUE_BYTES", 100)
    monkeypatch.setattr(hubs, "MARK_BYTES", 20)
    hub, line = Hub(connections=2), Line()
    listener = hub.attach("a")
    listener.live = line.stuck = True
    listener.direct(line)

    for number in range(5):
        hub.mark(b"signed", b"mark %d" % number)
    assert len(line.got) == 2
    for first in range(1, 20):
        hub.batch(sent(first))
    assert (listener.ended, line.ended) == ("slow", "at once")


def test_a_reader_that_was_cut_off_before_its_connection_was_known_is_cut_off_then() -> None:
    listener, line = Listener("a"), Line()
    listener.end("revoked")

    listener.direct(line)
    assert line.ended == "in order"


# -- events as they are written


def test_events_are_read_however_they_are_cut() -> None:
    text = b": hello\n\nevent: batch\nid: 3\ndata: abc\n\nevent: watermark\ndata: def\n\n"
    for size in (1, 2, 7, 1000):
        parser = EventParser()
        found = [one for at in range(0, len(text), size) for one in parser.feed(text[at : at + size])]
        assert found == [("batch", b"abc"), ("watermark", b"def")]


def test_a_message_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zt_engine.adapters.stream_http.MAX_MESSAGE_BYTES", 1000)
    parser = EventParser()

    with pytest.raises(InputError, match="STREAM_TOO_LARGE"):
        for _ in range(100):
            parser.feed(b"x" * 100)


def test_a_snapshot_of_nothing_still_says_that_all_is_calm(world: World) -> None:
    sidecar = run(world.sent(0, lambda sidecar: sidecar.replica.ready))

    assert isinstance(sidecar, Follower)
    assert sidecar.replica.situation is not None
    assert sidecar.replica.situation.threat_level == 0
    assert msgspec.structs.asdict(sidecar.replica.situation)["overlays"] == ()
