"""The decision log on a disk that is full, failing, or slow to take everything at once."""

from __future__ import annotations

import errno
import inspect
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.log_support import Clock, FailingFiles, audit, event, open_log
from zt_engine.adapters.log_reader import read_log
from zt_engine.adapters.log_segments import DecisionLog
from zt_engine.core.errors import UnavailableError


class NearlyFull(FailingFiles):
    """A disk with `space` bytes left, to which an unlinked reserve gives its own."""

    def __init__(self, reserve: Path, space: int) -> None:
        super().__init__()
        self.space = space
        self._reserve = reserve
        self._held = 0

    def allocate(self, fd: int, size: int) -> None:
        if self.space is not None and size > self.space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().allocate(fd, size)

    def truncate(self, fd: int, size: int) -> None:
        if self.space is not None:
            self.space += os.fstat(fd).st_size - size
        super().truncate(fd, size)

    def free(self, folder: Path) -> int:
        assert self.space is not None
        return self.space

    def write(self, fd: int, data: bytes | memoryview) -> int:
        held = self._reserve.stat().st_size if self._reserve.exists() else 0
        if self.space is not None:
            self.space += self._held - held
        self._held = held
        return super().write(fd, data)


def write(log: DecisionLog, name: str) -> bool:
    log.append(event(name))
    try:
        log.flush()
    except UnavailableError as error:
        assert error.code == "LOG_UNAVAILABLE"
        return False
    return True


def written(root: Path) -> list[str]:
    lines = [json.loads(line) for segment in read_log([root / "log"]) for line in segment.lines()]
    return [line["decision_id"] for line in lines if "decision_id" in line]


def fill(log: DecisionLog, *, until: str, limit: int = 100_000) -> list[str]:
    """Write until the state is `until`; the names that were acknowledged."""
    done: list[str] = []
    for number in range(limit):
        if log.state == until:
            return done
        if write(log, f"d{number}"):
            done.append(f"d{number}")
    raise AssertionError(f"never became {until}")


# --- with a file layer of our own ------------------------------------------------------------------------------------


def test_a_full_disk_is_bridged_by_the_reserve_and_then_nothing_is_accepted(tmp_path: Path) -> None:
    files = NearlyFull(tmp_path / "log/reserve", 3 << 20)
    log = open_log(tmp_path, files=files, reserve_bytes=1 << 20, segment_bytes=1 << 30)

    first = fill(log, until="reserve")
    second = fill(log, until="unavailable")

    assert not write(log, "more")
    assert len(second) * len(event("d0000")) > 1 << 18
    assert written(tmp_path) == first + [f"d{number}" for number in range(len(second))]


def test_the_state_does_not_swing_back_on_the_space_the_reserve_gave(tmp_path: Path) -> None:
    files = NearlyFull(tmp_path / "log/reserve", 3 << 20)
    log = open_log(tmp_path, files=files, reserve_bytes=1 << 20, segment_bytes=1 << 30)
    fill(log, until="reserve")

    log.tick()

    assert log.state == "reserve"


def test_when_space_is_back_the_reserve_is_taken_again(tmp_path: Path) -> None:
    files = NearlyFull(tmp_path / "log/reserve", 3 << 20)
    log = open_log(tmp_path, files=files, reserve_bytes=1 << 20, segment_bytes=1 << 30)
    fill(log, until="unavailable")

    files.space = 8 << 20
    log.tick()

    assert (log.state, (tmp_path / "log/reserve").stat().st_size) == ("ok", 1 << 20)
    assert write(log, "after")
    log.close()
    assert (audit(tmp_path).faults, audit(tmp_path).notes) == ((), ())


def test_a_start_without_room_for_the_reserve_is_not_ok(tmp_path: Path) -> None:
    log = open_log(tmp_path, files=NearlyFull(tmp_path / "log/reserve", 1 << 19), reserve_bytes=1 << 20)

    assert log.state == "reserve"
    assert write(log, "a")


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_a_write_taken_in_pieces_is_still_one_write(tmp_path: Path, piece: int) -> None:
    files = FailingFiles()
    log = open_log(tmp_path, files=files)
    files.short = piece

    assert write(log, "a")
    assert write(log, "b")
    log.close()
    assert written(tmp_path) == ["a", "b"]
    assert audit(tmp_path).faults == ()


@pytest.mark.parametrize("space", [1, 50, 120])
def test_a_write_that_fails_in_the_middle_leaves_nothing(tmp_path: Path, space: int) -> None:
    files = FailingFiles()
    log = open_log(tmp_path, files=files, reserve_bytes=0)
    write(log, "a")
    files.space = space
    assert not write(log, "b")
    files.space = None

    assert write(log, "c")
    log.close()
    assert written(tmp_path) == ["a", "c"]
    assert (audit(tmp_path).faults, audit(tmp_path).notes) == ((), ())


def test_a_half_line_that_cannot_be_cut_off_stops_the_log_until_it_can(tmp_path: Path) -> None:
    files = FailingFiles()
    log = open_log(tmp_path, files=files, reserve_bytes=0)
    write(log, "a")
    files.space, files.truncate_error = 50, errno.EIO
    assert not write(log, "b")
    files.space = None
    assert not write(log, "c")
    files.truncate_error = 0

    assert write(log, "d")
    log.close()
    assert written(tmp_path) == ["a", "d"]
    assert (audit(tmp_path).faults, audit(tmp_path).notes) == ((), ())


def test_an_event_that_must_be_on_the_disk_is_taken_back_when_the_sync_fails(tmp_path: Path) -> None:
    files = FailingFiles()
    log = open_log(tmp_path, files=files)
    files.sync_error = errno.EIO
    log.append(event("secret"), sync=True)
    with pytest.raises(UnavailableError):
        log.flush()
    files.sync_error = 0

    log.tick()

    assert log.state == "ok"
    assert write(log, "next")
    log.close()
    assert written(tmp_path) == ["next"]


def test_only_events_that_ask_for_it_wait_for_the_disk(tmp_path: Path) -> None:
    files = FailingFiles()
    log = open_log(tmp_path, files=files)
    before = files.syncs
    write(log, "plain")
    plain = files.syncs - before
    log.append(event("secret"), sync=True)
    log.flush()
    secret = files.syncs - before
    write(log, "plain again")

    assert (plain, secret, files.syncs - before) == (0, 2, 2)
    log.close()


def test_a_power_cut_takes_no_more_than_the_last_second(tmp_path: Path) -> None:
    """What need not wait for the disk is there with the next round, which comes every second."""
    files, clock = FailingFiles(), Clock()
    log = open_log(tmp_path, files=files, clock=clock)
    write(log, "plain")
    before = files.syncs

    log.tick()

    assert (files.syncs - before >= 2, log.synced_at) == (True, clock())
    assert inspect.signature(DecisionLog.start).parameters["every"].default == 1.0
    log.close()


def test_a_turn_is_one_write_a_file(tmp_path: Path) -> None:
    files = FailingFiles()
    log = open_log(tmp_path, files=files)
    before = files.writes
    for number in range(50):
        log.append(event(f"d{number}"))
        log.store_input(f"{number:064x}", b"{}")

    log.flush()

    assert files.writes - before == 2
    log.close()


def test_a_checkpoint_never_covers_what_is_not_on_the_disk(tmp_path: Path) -> None:
    files = FailingFiles()
    log = open_log(tmp_path, files=files)
    write(log, "a")
    files.sync_error = errno.EIO

    log.tick()

    assert (log.anchored, log.state) == (0, "unavailable")


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.EFBIG])
def test_any_other_error_denies_at_once_and_ends_by_itself(tmp_path: Path, error: int) -> None:
    files, clock = FailingFiles(), Clock()
    log = open_log(tmp_path, files=files, clock=clock)
    files.error = error
    refused = write(log, "a")
    state = log.state
    files.error = 0

    log.tick()

    assert (refused, state, log.state) == (False, "unavailable", "ok")
    assert write(log, "b")
    log.close()


# --- with a real file system that is really full ---------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(reason="mounting a small file system needs root and CAP_SYS_ADMIN")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_really_full_disk_loses_no_acknowledged_decision(small_disk: Path) -> None:
    log = open_log(small_disk, reserve_bytes=1 << 20, segment_bytes=1 << 30)
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        file.write(bytes(5 << 20))

    done = fill(log, until="reserve")
    bridged = fill(log, until="unavailable")
    log.tick()
    still = log.state
    ballast.unlink()
    log.tick()
    recovered = log.state
    after = write(log, "after")
    log.close()

    names = written(small_disk)
    assert (still, recovered, after) == ("unavailable", "ok", True)
    assert names == done + [f"d{number}" for number in range(len(bridged))] + ["after"]
    assert len(bridged) > 3000
    assert (audit(small_disk).faults, audit(small_disk).notes, audit(small_disk).unanchored) == ((), (), 0)


def test_a_start_on_a_full_disk_is_refused_and_leaves_nothing_behind(small_disk: Path) -> None:
    (small_disk / "log").mkdir(mode=0o700)
    (small_disk / "checkpoints").mkdir()
    (small_disk / "log/inputs").mkdir(mode=0o700)
    with (small_disk / "ballast").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC

    with pytest.raises(UnavailableError, match="LOG_UNAVAILABLE"):
        open_log(small_disk)

    assert [path.name for path in (small_disk / "log").rglob("*") if path.is_file()] == [".lock"]
