"""Everything that can break between a control plane and its sidecars breaks: nothing is allowed too late.

`tests.stale_watcher` counts stale allows by its own arithmetic.
"""

from __future__ import annotations

import contextlib
import errno
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.clock import FakeClock
from tests.integration.test_stream_relay import Relay
from tests.postgres import postgres_url
from tests.sidecar_support import CASE, NOTE, Client, Process, in_process, question, wait_for
from tests.stale_watcher import Watcher
from tests.stream_server import Plane, Site, free_port
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.replica_disk import ReplicaDisk
from zt_engine.adapters.store_sql import open_store
from zt_engine.bootstrap import sidecar as programs

HOUR = 3600.0


class Later(SystemClock):
    """What time it is after a long cut."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.now = lambda: time.time() + seconds


def test_invariant_08_a_cut_of_six_hours_ends_every_lease_in_its_time_whatever_the_clock_says(
    site: Site, plane: Plane
) -> None:
    clock = FakeClock(time.time())
    with in_process(site.sandbox, clock=clock) as sidecar:
        watcher = Watcher(site, sidecar, plane, clock)
        wait_for(lambda: watcher.ask() == "200", "the allow")
        watcher.cut = True
        plane.close()
        wait_for(lambda: not sidecar.program.control.connected, "the loss")  # type: ignore[union-attr]
        began, allowed = clock.running, {CASE: 0.0, NOTE: 0.0}
        watcher._now = lambda: watcher.last_mark + clock.running - began  # what passes; the host's clock is set below

        for minute in range(0, 360, 5):
            for url in (CASE, NOTE):
                if watcher.ask(url) == "200":
                    allowed[url] = clock.running - began
            clock.advance(300.0 if minute else 40.0)
            if minute == 180:
                clock.time -= 2 * HOUR  # somebody sets it back

        assert allowed[CASE] <= 60
        assert watcher.stale_allows == 0

        clock.time = time.time() + clock.running - began
        again = site.plane(clock=Later(clock.running - began))
        try:
            again.revoke("laptop-1")
            devices = sidecar.program.replica
            wait_for(lambda: devices.devices["laptop-1"].status == "revoked", "what was missed")
            assert site.asked(sidecar) != "200"
        finally:
            again.close()


def test_a_sidecar_that_is_suspended_past_its_lease_allows_nothing_when_it_wakes(site: Site, plane: Plane) -> None:
    clock = FakeClock(time.time())
    asked = question(site.sandbox, CASE, device=site.laptop, token=site.sandbox.token("tanaka", device=site.laptop))
    with in_process(site.sandbox, clock=clock) as sidecar:
        wait_for(lambda: site.asked(sidecar) == "200", "the allow")
        asleep, woken = threading.Event(), threading.Event()

        def sleep() -> None:
            asleep.set()
            woken.wait(60)

        sidecar.thread.loop.call_soon_threadsafe(sleep)
        assert asleep.wait(10)
        plane.lose("laptop-1")
        plane.close()  # and nobody tells it what it missed
        client = Client(sidecar.address)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.send, asked)
            clock.advance(65)
            woken.set()

            assert answer.result(20).status == 403
        client.close()


def test_a_process_that_was_stopped_denies_what_was_revoked_meanwhile_before_it_acknowledges(
    site: Site, plane: Plane
) -> None:
    process = Process(site.sandbox).started()
    client = Client(process.address)
    token = site.sandbox.token("tanaka", device=site.laptop)
    asked = question(site.sandbox, CASE, device=site.laptop, token=token)
    try:
        wait_for(lambda: client.send(asked).status == 200, "the allow")
        process.signal(signal.SIGSTOP)
        plane.lose("laptop-1")
        wait_for(lambda: plane.origin.hub.last >= 3, "its place in the order")
        lost_at = plane.origin.hub.last
        process.signal(signal.SIGCONT)

        stale, done = 0, False
        while not done:
            knows = plane.plane.extras["sidecars"].all()[0].applied_seq >= lost_at
            allowed = client.send(asked).status == 200
            stale += knows and allowed
            done = knows
        assert stale == 0
        assert client.send(asked).status == 403
    finally:
        client.close()
        process.signal(signal.SIGCONT)
        process.close()


def test_a_full_disk_that_loses_a_revocation_opens_nothing_after_the_next_start(
    site: Site, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(time.time())
    with in_process(site.sandbox, clock=clock) as sidecar:
        watcher = Watcher(site, sidecar, plane, clock)
        kept = site.sandbox.folder / "state/control-plane/replica"
        wait_for(lambda: watcher.ask() == "200" and (kept / "watermark.jws").exists(), "the allow")

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        for name in ("_append", "_replace", "_write_part"):
            monkeypatch.setattr(ReplicaDisk, name, full)
        watcher.lose()
        wait_for(lambda: watcher.acknowledged >= watcher.lost_at, "the acknowledgement")
        assert watcher.ask() == "DEVICE_REVOKED"
        assert "REPLICA_DISK" in str(sidecar.program.readiness()["problems"])
    watcher.cut = True
    plane.close()
    monkeypatch.setattr(programs, "REACH_SECONDS", 0.1)  # there is nobody to be reached

    with in_process(site.sandbox, clock=clock) as again:
        assert site.asked(again) == "STALE_POLICY"
    assert watcher.stale_allows == 0


class Jumbling(Relay):
    """Sends everything twice, and every second message before the first."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.jumbled = 0

    def jumble(self, data: bytes) -> bytes:
        chunks = re.findall(rb"[0-9a-f]+\r\nevent: (?:batch|watermark)\n(?:id: \d+\n)?data: [^\n]+\n\n\r\n", data)
        if not chunks or b"".join(chunks) != data:
            return data
        self.jumbled += 1
        chunks.reverse()
        return b"".join(chunk + chunk for chunk in (*chunks, *chunks))

    async def _pass(self, reader, writer, *, to_sidecar: bool) -> None:  # type: ignore[no-untyped-def]
        try:
            while data := await reader.read(1 << 16):
                writer.write(self.jumble(data) if to_sidecar else data)
                await writer.drain()
        except OSError:
            pass
        writer.close()


def test_events_that_come_twice_and_in_another_order_are_applied_once_and_in_theirs(tmp_path: Path, opa: str) -> None:
    port = free_port()
    relay = Jumbling(port)
    site = Site(tmp_path, opa, urls=(relay.url,))
    site.port = port
    with contextlib.closing(relay), site.followed() as plane, in_process(site.sandbox) as sidecar:
        control = sidecar.program.control
        assert control is not None
        watcher = Watcher(site, sidecar, plane)
        wait_for(lambda: control.connected, "the stream")
        for level in (1, 2, 1, 0):
            plane.announce("threat_level.changed", b'{"threat_level":%d}' % level)
        watcher.lose()
        wait_for(lambda: watcher.ask() == "DEVICE_REVOKED", "the denial")
        wait_for(lambda: watcher.acknowledged >= watcher.lost_at, "the acknowledgement")

        assert relay.jumbled
        assert control.sync.position.seq == plane.store.span("default")[1]
        assert sidecar.program.replica.situation.threat_level == 0  # type: ignore[union-attr]
        assert (watcher.ask(), watcher.stale_allows) == ("DEVICE_REVOKED", 0)


def test_of_two_control_planes_the_sequencer_falls_under_load_and_no_change_is_lost(tmp_path: Path, opa: str) -> None:
    ports = (free_port(), free_port())
    site = Site(tmp_path, opa, urls=tuple(f"http://127.0.0.1:{port}" for port in ports))
    site.port = ports[0]
    writers, each = 4, 30
    with postgres_url() as url:
        first = site.plane(shared=True, store=open_store(url))
        second = site.plane(shared=True, store=open_store(url), port=ports[1])
        beside = open_store(url)
        try:
            site.fill(first)
            site.join(first)
            fallen = threading.Event()

            def write(writer: int) -> None:
                for turn in range(each):
                    if turn == each // 2 and writer == 0:
                        fallen.set()
                    with beside.writing("default") as tx:
                        tx.outbox.announce("threat_level.changed", b'{"threat_level":%d}' % (turn % 2))

            with in_process(site.sandbox) as sidecar, ThreadPoolExecutor(writers) as pool:
                control = sidecar.program.control
                assert control is not None
                watcher = Watcher(site, sidecar, second)
                wait_for(lambda: control.connected and watcher.ask() == "200", "the allow")
                working = [pool.submit(write, number) for number in range(writers)]
                fallen.wait(30)
                assert first.origin.sequencing
                first.close()
                for one in working:
                    one.result(60)

                wait_for(lambda: second.origin.sequencing, "the other sequencer")
                before = second.origin.fence
                watcher.lose()
                wait_for(lambda: watcher.ask() == "DEVICE_REVOKED", "the denial")
                wait_for(lambda: watcher.acknowledged >= watcher.lost_at, "the acknowledgement")
                told = beside.events("default", after=0, limit=10_000)
                levels = [event for event in told if event.type == "threat_level.changed"]

                assert [event.seq for event in told] == list(range(1, len(told) + 1))
                assert len(levels) == writers * each
                assert (control.sync.position.seq, control.sync.position.fence) == (len(told), before)
                assert watcher.stale_allows == 0
        finally:
            for plane in (first, second):
                if not plane.closed:
                    plane.close()
            beside.close()
