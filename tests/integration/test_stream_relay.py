"""Whoever stands between sidecar and control plane: can cut, hold back, repeat and change, and gains nothing by it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import compiled
from tests.fakes.clock import FakeClock
from tests.hook_support import LoopThread
from tests.release_support import published, seq_of, tell
from tests.sidecar_support import CASE, NOTE, SECRET, InProcess, in_process, wait_for
from tests.stale_watcher import BOUNDS, Watcher
from tests.stream_server import Plane, Site, free_port
from zt_engine.bootstrap import following_control

SILENCE = 3.0
"""After how many seconds without anything new an address is left here, instead of eight."""
BATCH = re.compile(rb"event: batch\nid: \d+\ndata: ([^\n]+)\n\n")


class Relay:
    """Passes bytes on, unless it is told otherwise."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.held = False
        """Whether nothing goes to the sidecar any more; connections stay open."""
        self.changing = False
        """Whether a byte of every batch becomes another one."""
        self.seen = bytearray()
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self.thread = LoopThread()
        self._server = self.thread.run(asyncio.start_server(self._serve, "127.0.0.1", self.port))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        await asyncio.gather(self._pass(reader, back, to_sidecar=False), self._pass(there, writer, to_sidecar=True))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_sidecar: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if to_sidecar:
                    self.seen += data
                    if self.held:
                        continue
                    if self.changing:
                        data = BATCH.sub(changed, data)
                writer.write(data)
                await writer.drain()
        writer.close()

    def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            self.thread.call(writer.close)
        self.thread.run(asyncio.sleep(0.01))
        self.thread.close()


def changed(found: re.Match[bytes]) -> bytes:
    """Return a batch with another letter in the middle of its signature."""
    whole = found[0]
    return whole[:-40] + (b"B" if whole[-40:-39] == b"A" else b"A") + whole[-39:]


@pytest.fixture
def lab(tmp_path: Path, opa: str) -> Iterator[tuple[Site, Plane, Relay]]:
    port = free_port()
    relay = Relay(port)
    site = Site(tmp_path, opa, urls=(relay.url,))
    site.port = port
    with contextlib.closing(relay), site.followed() as plane:
        yield site, plane, relay


def fault(sidecar: InProcess) -> str:
    control = sidecar.program.control
    assert control is not None
    return control.fault.code if control.fault is not None else ""


def leases_end_in_time(watcher: Watcher, clock: FakeClock) -> None:
    """From now on nothing is to be renewed: what is C3 ends within ten seconds, what is C2 within sixty.

    The control plane's clock goes on meanwhile and the sidecar is told of it, so on a busy machine leases end earlier
    by as much as has really passed; never later.
    """
    watcher.cut = True
    began = clock.running
    for passed in (0, 5, 9, 11, 30, 58, 61, 65):
        clock.advance(began + passed - clock.running)
        told = {url: watcher.ask(url) for url in (SECRET, CASE, NOTE)}
        really = time.time() - watcher.heard_at
        stale = {url for url, said in told.items() if said == "STALE_POLICY"}

        assert stale >= {url for url, bound in BOUNDS.items() if passed > bound}, passed
        assert stale <= {url for url, bound in BOUNDS.items() if passed + really > bound}, passed
    assert watcher.stale_allows == 0


def test_a_relay_that_is_cut_off_from_its_origin_renews_no_lease(lab: tuple[Site, Plane, Relay]) -> None:
    site, plane, relay = lab
    clock = FakeClock(time.time())
    with in_process(site.sandbox, clock=clock) as sidecar:
        watcher = Watcher(site, sidecar, plane, clock)
        wait_for(lambda: watcher.ask() == "200", "the allow")
        watcher.hears()
        relay.held = True
        plane.lose("laptop-1")

        leases_end_in_time(watcher, clock)


def test_an_origin_that_stands_still_renews_no_lease_and_is_left(
    lab: tuple[Site, Plane, Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following_control, "SILENCE_SECONDS", SILENCE)
    site, plane, _ = lab
    clock = FakeClock(time.time())
    with in_process(site.sandbox, clock=clock) as sidecar:
        watcher = Watcher(site, sidecar, plane, clock)
        wait_for(lambda: watcher.ask() == "200", "the allow")
        watcher.hears()
        plane.origin._stopping = True  # it serves on, and its sequencer does nothing
        plane.origin.wake()
        assert plane.origin._thread is not None
        plane.origin._thread.join()
        plane.thread.call(lambda: None)  # what it had for the listeners was sent
        plane.lose("laptop-1")

        leases_end_in_time(watcher, clock)
        wait_for(lambda: fault(sidecar) == "STREAM_SILENT", "the silence to be noticed", seconds=60.0)


def test_a_sidecar_without_the_release_that_everybody_is_to_have_renews_no_lease_until_it_has_it(
    lab: tuple[Site, Plane, Relay], opa: str
) -> None:
    site, plane, _ = lab
    clock = FakeClock(time.time())
    with in_process(site.sandbox, clock=clock) as sidecar:
        control = sidecar.program.control
        assert control is not None
        watcher = Watcher(site, sidecar, plane, clock)
        wait_for(lambda: watcher.ask() == "200", "the allow")
        watcher.hears()
        plane.origin._min_bundle_seq = lambda: 4
        wait_for(lambda: control.sync.minimum_release == 4, "the watermark")

        leases_end_in_time(watcher, clock)
        assert control.connected

        tell(plane, *published(compiled(opa), site.sandbox.bundle_key, seq=4))
        wait_for(lambda: seq_of(sidecar) == 4, "the release")
        wait_for(lambda: site.asked(sidecar, NOTE) == "200", "the lease")


def test_what_is_changed_on_the_way_is_refused_and_said(lab: tuple[Site, Plane, Relay]) -> None:
    site, plane, relay = lab
    with in_process(site.sandbox) as sidecar:
        control = sidecar.program.control
        assert control is not None
        wait_for(lambda: control.connected, "the stream")
        before = control.sync.position.seq
        relay.changing = True
        plane.lose("laptop-1")

        wait_for(lambda: fault(sidecar).startswith("STREAM_"), "the refusal")
        assert fault(sidecar) in ("STREAM_SIGNATURE", "STREAM_MALFORMED")
        assert control.sync.position.seq == before

        relay.changing = False
        wait_for(lambda: site.asked(sidecar) == "DEVICE_REVOKED", "the denial, by what was not changed")


def test_a_stream_that_is_replayed_is_believed_nothing_new(lab: tuple[Site, Plane, Relay]) -> None:
    site, plane, relay = lab
    clock = FakeClock(time.time())
    with in_process(site.sandbox, clock=clock) as sidecar:
        control = sidecar.program.control
        assert control is not None
        wait_for(lambda: control.connected, "the stream")
        plane.announce("threat_level.changed", b'{"threat_level":1}')
        wait_for(lambda: control.sync.position.seq >= 3, "the change")
        recorded = bytes(relay.seen)
        relay.held = True
        position, issued_at = control.sync.position, control.lease.issued_at
        clock.advance(65)

        for kind in (b"batch", b"watermark"):
            for found in re.finditer(rb"event: " + kind + rb"\n(?:id: \d+\n)?data: ([^\n]+)\n\n", recorded):
                sidecar.thread.call(lambda raw=found[1], kind=kind: control._commit(kind.decode(), raw))  # type: ignore[misc]

        assert (control.sync.position, control.lease.issued_at) == (position, issued_at)
        assert site.asked(sidecar) == "STALE_POLICY"


def test_the_next_address_is_asked_when_one_holds_back(
    tmp_path: Path, opa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following_control, "SILENCE_SECONDS", SILENCE)
    port = free_port()
    one, two = Relay(port), Relay(port)
    site = Site(tmp_path, opa, urls=(one.url, two.url))
    site.port = port
    relays = contextlib.closing(one), contextlib.closing(two)
    with relays[0], relays[1], site.followed() as plane, in_process(site.sandbox) as sidecar:
        control = sidecar.program.control
        assert control is not None
        wait_for(lambda: control.connected, "the stream")
        used = one if control.client.url == one.url else two
        used.held = True

        wait_for(lambda: control.client.url != used.url, "the other address")
        plane.lose("laptop-1")
        wait_for(lambda: site.asked(sidecar) != "200", "the denial")
