"""What a sidecar keeps of the stream: as it was signed, whole or not at all, written by one process at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.stream_support import Follower, batch, changed, level, person, snapshot, watermark
from zt_engine.adapters import replica_disk
from zt_engine.adapters.replica_disk import ReplicaDisk
from zt_engine.core.errors import InputError


def kept(folder: Path, *, batches: int = 3) -> Follower:
    """A sidecar that took a snapshot in two parts and some batches, and kept them."""
    disk = ReplicaDisk(folder)
    assert list(disk.stored()) == []
    assert disk.acquire()
    sidecar = Follower(keep=disk)
    for part in snapshot(5, [level(0), changed()], [person()]):
        sidecar.take("snapshot", part)
    for number in range(batches):
        sidecar.take("batch", batch(6 + number, level(number)))
    sidecar.take("watermark", watermark(5 + batches))
    disk.close()
    assert disk.problem is None
    return sidecar


def loaded(folder: Path) -> tuple[Follower, list[str]]:
    """A sidecar that begins with what is kept, and the codes of what was refused."""
    sidecar, refused = Follower(), []
    disk = ReplicaDisk(folder)
    for stored in disk.stored():
        try:
            sidecar.take(stored.kind, stored.raw)
        except InputError as error:
            refused.append(error.code)
            if stored.kind == "batch":
                disk.cut(stored.start)
            break
    disk.close()
    return sidecar, refused


def test_what_was_kept_is_what_is_known_at_the_next_start(tmp_path: Path) -> None:
    before = kept(tmp_path)

    after, refused = loaded(tmp_path)

    assert (after.known, after.lease.issued_at, refused) == (before.known, before.lease.issued_at, [])


def test_a_second_snapshot_replaces_everything(tmp_path: Path) -> None:
    kept(tmp_path)
    disk = ReplicaDisk(tmp_path)
    sidecar = Follower(keep=disk)
    assert disk.acquire()
    for part in snapshot(20, [level(3)]):
        sidecar.take("snapshot", part)
    sidecar.take("batch", batch(21, level(4)))
    disk.close()

    after, refused = loaded(tmp_path)

    assert (after.sync.position.seq, dict(after.replica.devices), refused) == (21, {}, [])


def test_a_snapshot_fetched_for_the_disk_replaces_what_it_has_and_nothing_else(tmp_path: Path) -> None:
    kept(tmp_path)
    disk = ReplicaDisk(tmp_path)
    before = Follower()
    for stored in disk.stored():
        before.take(stored.kind, stored.raw)
    before.sync.keep = disk  # as a sidecar does: nothing is kept before everything was read
    disk.begin_fresh()
    before.take("batch", batch(9, level(4)))  # while it is fetched
    parts = snapshot(8, [level(2), changed()], [person()])
    for number, raw in enumerate(parts, 1):
        disk.fresh(raw, first=number == 1, last=number == len(parts))
    disk.close()

    after, refused = loaded(tmp_path)

    assert (after.known, refused) == (before.known, [])
    assert len((tmp_path / "batches.jws").read_bytes().splitlines()) == 1


def test_half_a_snapshot_leaves_the_one_before(tmp_path: Path) -> None:
    before = kept(tmp_path)
    disk = ReplicaDisk(tmp_path)
    sidecar = Follower(keep=disk)
    sidecar.take("snapshot", snapshot(20, [level(3)], [person()])[0])
    disk.close()

    assert loaded(tmp_path)[0].known == before.known


def test_a_write_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    kept(tmp_path)
    file = tmp_path / "batches.jws"
    os.truncate(file, file.stat().st_size - 10)

    after, refused = loaded(tmp_path)

    assert (after.sync.position.seq, refused) == (7, [])


@pytest.mark.parametrize("line", [0, 1, 2])
def test_what_was_changed_is_dropped_with_all_behind_it(tmp_path: Path, line: int) -> None:
    kept(tmp_path)
    file = tmp_path / "batches.jws"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b".", b".A", 1)
    file.write_bytes(b"".join(lines))

    after, refused = loaded(tmp_path)

    assert (after.sync.position.seq, len(refused)) == (5 + line, 1)
    assert loaded(tmp_path)[1] == []  # it was cut out of the file


def test_a_file_somebody_else_could_have_written_is_not_read(tmp_path: Path) -> None:
    kept(tmp_path)
    (tmp_path / "snapshot.jws").chmod(0o666)
    disk = ReplicaDisk(tmp_path)

    assert list(disk.stored()) == []
    assert disk.problem is not None
    assert disk.problem.code == "REPLICA_DISK"


def test_a_full_disk_is_said_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = ReplicaDisk(tmp_path / "replica")
    assert list(disk.stored()) == []
    sidecar = Follower(keep=disk).begin()
    monkeypatch.setattr(disk, "_append", lambda _raw: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    sidecar.take("batch", batch(1, level(1)))
    disk.close()

    assert sidecar.sync.position.seq == 1
    assert disk.problem is not None
    assert "No space left" in disk.problem.message


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    one, two = ReplicaDisk(tmp_path), ReplicaDisk(tmp_path)

    assert (one.acquire(), two.acquire()) == (True, False)
    one.release()
    one.close()
    assert two.acquire()
    two.close()


def test_what_is_known_of_the_time_counts_in_the_same_boot_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_disk, "boot_id", lambda: "boot-1")
    disk = ReplicaDisk(tmp_path)
    disk.clock(123.5)
    disk.close()
    assert ReplicaDisk(tmp_path).anchor() == 123.5

    for other in ("boot-2", ""):
        monkeypatch.setattr(replica_disk, "boot_id", lambda other=other: other)
        assert ReplicaDisk(tmp_path).anchor() is None
