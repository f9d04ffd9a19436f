"""`kill -9` of the real process under load, and a disk that is full: no answered decision is missing from the log."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sidecar_support import (
    CASE,
    NOTE,
    PUBLIC,
    Load,
    ask,
    edit,
    in_process,
    installation,
    laptop,
    logged,
    question,
    running,
    verified,
    wait_for,
)

KILLS = 4


def test_kill_minus_nine_under_load_loses_no_answered_decision_and_restarts_cleanly(tmp_path: Path, opa: str) -> None:
    chance = random.Random(20261122)
    sandbox = installation(tmp_path / "zt", opa)
    device = laptop(sandbox)
    asked = question(sandbox, token=sandbox.token("tanaka", device=device), device=device)
    answered: list[str] = []

    for run in range(KILLS):
        with running(sandbox, name=f"run-{run}") as process:
            load = Load(process.address, asked, clients=4, expect=None)
            load.more(chance.randint(1, 400))
            process.signal(signal.SIGKILL)
            assert process.ended() == -signal.SIGKILL
            answered += [reply.decision for reply in load.stop()]
    with running(sandbox, name="last") as process:
        assert ask(sandbox, process.address, token=sandbox.token("tanaka", device=device), device=device).status == 200
        process.signal(signal.SIGTERM)
        assert process.ended() == 0

    known = [event["decision_id"] for event in logged(sandbox)]
    report = verified(sandbox)
    assert all(answered)
    assert set(answered) <= set(known)
    assert len(known) == len(set(known))
    assert (report.faults, len(report.chains)) == ((), KILLS + 1)


# -- a disk that is really full ---------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB for the log."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(reason="mounting a small file system needs root and CAP_SYS_ADMIN")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_on_a_full_disk_c0_and_c1_go_on_from_the_reserve_then_nothing_and_room_heals_it(
    small_disk: Path, tmp_path: Path, opa: str
) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    device = laptop(sandbox)
    (small_disk / "log").mkdir(mode=0o700)
    edit(sandbox, "zt.toml", ('dir = "log"', f'dir = "{small_disk}/log"\nreserve_mib = 1'))
    who = {"token": sandbox.token("tanaka", device=device), "device": device}
    with in_process(sandbox) as program:
        asked = [question(sandbox, url, **who) for url in (PUBLIC, NOTE, CASE)]
        # Decided once, a case stays decided for a tick: what is remembered is refused as well.
        assert [program.ask(url, **who).status for url in (PUBLIC, NOTE, CASE)] == [200, 200, 200]
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(1 << 14))

        load = Load(program.address, asked[0], clients=2, expect=None)
        wait_for(lambda: program.program.log.state == "reserve", "the reserve")
        before = load.stop()
        bridged = {url: program.ask(url, **who) for url in (PUBLIC, NOTE, CASE)}
        assert program.program.log.state == "reserve"
        load = Load(program.address, asked[0], clients=2, expect=None)
        wait_for(lambda: program.program.log.state == "unavailable", "the end of the reserve", seconds=60)
        load.more(20)
        nothing = {url: program.ask(url, **who) for url in (PUBLIC, NOTE, CASE)}
        load.stop()
        unready = program.program.readiness()
        ballast.unlink()
        wait_for(lambda: program.program.log.state == "ok", "the way back")
        again = {url: program.ask(url, **who).status for url in (PUBLIC, NOTE, CASE)}

    assert [bridged[url].status for url in (PUBLIC, NOTE)] == [200, 200]
    assert (bridged[CASE].status, bridged[CASE].reason) == (403, "LOG_UNAVAILABLE")
    assert {(reply.status, reply.reason) for reply in nothing.values()} == {(403, "LOG_UNAVAILABLE")}
    assert unready["ready"] is False
    assert set(again.values()) == {200}
    replies = [*before, *load.replies]
    assert {reply.reason for reply in replies} == {None, "LOG_UNAVAILABLE"}
    events = {event["decision_id"]: event for event in logged(sandbox, small_disk / "log")}
    assert all(reply.decision in events for reply in replies if reply.status == 200)
    report = verified(sandbox, small_disk / "log")
    assert report.faults == ()
