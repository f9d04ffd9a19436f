"""The decision log as files: starts, restarts, rotation, retention, permissions."""

from __future__ import annotations

import errno
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from tests.log_support import Clock, FailingFiles, audit, event, open_log
from zt_engine.adapters.log_archive import Archive
from zt_engine.adapters.log_files import LEAST_AHEAD
from zt_engine.adapters.log_reader import read_log
from zt_engine.adapters.log_recovery import segments
from zt_engine.adapters.log_segments import DecisionLog
from zt_engine.adapters.log_settings import LogSettings, check_settings
from zt_engine.core.errors import ConfigError, InputError, UnavailableError


def write(log: DecisionLog, *names: str) -> None:
    for name in names:
        log.append(event(name))
        log.flush()


def records(root: Path, kind: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for segment in read_log([root / "log"]) for line in segment.lines()]
    return [line for line in lines if line.get("record") == kind]


# --- starts ----------------------------------------------------------------------------------------------------------


def test_a_new_start_opens_a_chain_that_names_the_head_of_the_one_before(tmp_path: Path) -> None:
    clock = Clock()
    first = open_log(tmp_path, clock=clock)
    write(first, "a")
    first.close()
    clock.now += 5
    second = open_log(tmp_path, clock=clock)
    write(second, "b")
    second.close()

    opened = records(tmp_path, "chain.opened")

    assert opened[1]["predecessor"]["chain"] == opened[0]["chain"]  # type: ignore[index]
    assert opened[1]["prev_hash"] == opened[1]["predecessor"]["hash"]  # type: ignore[index]
    assert (audit(tmp_path).faults, audit(tmp_path).unanchored) == ((), 0)


def test_chains_stay_in_order_when_the_clock_is_set_back(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(3):
        open_log(tmp_path, clock=clock).close()
        clock.now -= 1000

    assert audit(tmp_path).faults == ()
    assert len(audit(tmp_path).chains) == 3


def test_a_process_that_takes_over_leaves_the_living_one_alone(tmp_path: Path) -> None:
    clock = Clock()
    old = open_log(tmp_path, clock=clock)
    write(old, "a")
    new = open_log(tmp_path, clock=clock)
    write(old, "b")
    write(new, "c")
    old.close()
    new.close()

    report = audit(tmp_path)

    assert (report.faults, report.unanchored) == ((), 0)
    assert records(tmp_path, "chain.opened")[1]["predecessor"]["live"] is True  # type: ignore[index]


@pytest.mark.parametrize("torn", [b'{"ts":"2026', b"\0\0\0\0", b"\n", b'{"ts":1}\n{"x"'])
def test_a_torn_end_is_set_aside_at_the_next_start(tmp_path: Path, torn: bytes) -> None:
    crash(tmp_path, torn)

    again = open_log(tmp_path, clock=Clock(1790000100.0))
    write(again, "b")
    again.close()

    report = audit(tmp_path)
    kept = list((tmp_path / "log/torn").iterdir())
    assert (report.faults, report.notes, report.unanchored) == ((), (), 0)
    assert [path.read_bytes() for path in kept] == [torn]
    assert records(tmp_path, "chain.opened")[1]["recovered"] == [
        {"segment": kept[0].name.rpartition(".")[0], "bytes": len(torn), "sha256": sha256(torn).hexdigest()}
    ]


def crash(root: Path, torn: bytes) -> None:
    """Leave the folder as a killed process does, with `torn` at its end."""
    log = open_log(root)
    write(log, "a")
    os.write(log._pair.segment.fd, torn)
    for file in (log._pair.segment, log._pair.inputs):
        os.close(file.fd)


def test_a_file_with_no_whole_line_counts_as_never_begun(tmp_path: Path) -> None:
    crash(tmp_path, b"")
    (path,) = segments(tmp_path / "log")
    path.write_bytes(path.read_bytes()[:40])

    again = open_log(tmp_path, clock=Clock(1790000100.0))
    again.close()

    assert records(tmp_path, "chain.opened")[0]["predecessor"] is None
    assert len(list((tmp_path / "log/torn").iterdir())) == 1


def test_drafts_that_a_crash_left_are_cleared_away(tmp_path: Path) -> None:
    open_log(tmp_path).close()
    (tmp_path / "log/.new-decisions-x").write_bytes(b"x")

    open_log(tmp_path).close()

    assert list((tmp_path / "log").glob(".new-*")) == []


# --- who may read it -------------------------------------------------------------------------------------------------


def test_only_the_owner_may_read_events_inputs_and_archive(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.store_input("0" * 64, b"{}")
    log.archive("trust", sha256(b"x").hexdigest(), b"x")
    write(log, "a")
    log.close()

    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "log").rglob("*")}

    assert modes == {0o700, 0o600}
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log").chmod(0o777)

    with pytest.raises(ConfigError, match="LOG_FOLDER_OPEN"):
        open_log(tmp_path)


def test_a_log_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    files = FailingFiles()
    files.error = 5

    with pytest.raises(UnavailableError, match="LOG_UNAVAILABLE"):
        open_log(tmp_path, files=files)

    assert segments(tmp_path / "log") == []


def test_settings_that_cannot_work_are_refused_together() -> None:
    settings = LogSettings(folder=Path("x"), sidecar="s", segment_bytes=1, reserve_bytes=-1, quota_bytes=1)

    with pytest.raises(ConfigError) as caught:
        check_settings(settings)

    assert [p.where for p in caught.value.problems] == ["log.segment_bytes", "log.reserve_bytes", "log.quota_bytes"]


# --- rotation --------------------------------------------------------------------------------------------------------


def test_files_rotate_by_size_and_the_chain_goes_on(tmp_path: Path) -> None:
    log = open_log(tmp_path, segment_bytes=4096)
    write(log, *(f"d{number}" for number in range(60)))
    log.close()

    report = audit(tmp_path)

    assert report.chains[0].segments == len(segments(tmp_path / "log")) > 2
    assert (report.faults, report.unanchored) == ((), 0)
    assert log.generation == report.chains[0].segments - 1


def test_files_rotate_by_age(tmp_path: Path) -> None:
    clock = Clock()
    log = open_log(tmp_path, clock=clock, segment_seconds=60)
    write(log, "a")
    clock.now += 60
    write(log, "b", "c")
    log.close()

    assert len(segments(tmp_path / "log")) == 2


def test_every_file_has_the_inputs_of_its_own_events(tmp_path: Path) -> None:
    log = open_log(tmp_path, segment_bytes=4096)
    digest = sha256(b"{}").hexdigest()
    for number in range(60):
        log.append(event(f"d{number}", digest=digest))
        log.store_input(digest, b"{}")
        log.flush()
    log.close()

    found = [segment.find_input(digest) for segment in read_log([tmp_path / "log"])]

    assert log.inputs_written == len([one for one in found if one is not None]) > 2
    for segment in read_log([tmp_path / "log"]):
        refers = any(b'"input_digest"' in line for line in segment.lines())
        assert (segment.find_input(digest) == b"{}") is refers


def test_remembering_inputs_is_bounded(tmp_path: Path) -> None:
    log = open_log(tmp_path, remembered_inputs=10)
    for number in range(100):
        log.store_input(sha256(b"%d" % number).hexdigest(), b"%d" % number)
        log.flush()

    assert len(log._stored) <= 10
    log.close()


def test_a_rotation_that_fails_is_tried_again_later(tmp_path: Path) -> None:
    clock, files = Clock(), FailingFiles()
    log = open_log(tmp_path, clock=clock, files=files, segment_bytes=4096)
    write(log, *(f"d{number}" for number in range(15)))
    files.space = 300
    write(log, "e0")  # fits, and the file is due for rotation, but the new file's first line no longer does
    for number in range(1, 20):
        files.space = 300
        write(log, f"e{number}")
    files.space = None
    clock.now += 2
    write(log, "f")
    log.close()

    assert len(segments(tmp_path / "log")) == 2
    assert audit(tmp_path).faults == ()


# --- retention -------------------------------------------------------------------------------------------------------


def fill(root: Path, log: DecisionLog, clock: Clock, rounds: int) -> None:
    for number in range(rounds):
        log.store_input(sha256(b"%d" % number).hexdigest(), b'"%d"' % number)
        write(log, *(f"d{number}-{one}" for one in range(10)))
        clock.now += 1
        log.tick()


def test_the_quota_is_kept_and_the_audit_still_agrees(tmp_path: Path) -> None:
    clock = Clock()
    log = open_log(tmp_path, clock=clock, segment_bytes=4096, quota_bytes=16384)
    fill(tmp_path, log, clock, 60)
    log.close()

    report = audit(tmp_path)

    size = sum(path.stat().st_size for path in (tmp_path / "log").rglob("*-*.jsonl"))
    assert size < 16384 + 2 * 4096 + 4096
    assert report.chains[0].first > 0
    assert (report.faults, report.unanchored) == ((), 0)
    assert len(list((tmp_path / "log/inputs").iterdir())) == len(segments(tmp_path / "log"))


def test_retention_reaches_over_older_runs(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(4):
        log = open_log(tmp_path, clock=clock, segment_bytes=4096, quota_bytes=12000)
        fill(tmp_path, log, clock, 12)
        log.close()

    report = audit(tmp_path)

    assert report.faults == ()
    assert len(report.chains) < 4


def test_more_than_the_quota_allows_to_remove_is_found(tmp_path: Path) -> None:
    clock = Clock()
    log = open_log(tmp_path, clock=clock, segment_bytes=4096, quota_bytes=16384)
    fill(tmp_path, log, clock, 60)
    log.close()

    segments(tmp_path / "log")[0].unlink()

    assert {fault.code for fault in audit(tmp_path).faults} == {"LOG_SEGMENT_MISSING"}


def test_nothing_is_removed_while_no_checkpoint_leaves(tmp_path: Path) -> None:
    clock = Clock()
    log = open_log(tmp_path, clock=clock, segment_bytes=4096, quota_bytes=8192, sinks=[])
    fill(tmp_path, log, clock, 40)

    assert segments(tmp_path / "log")[0].name.endswith("-000000000000.jsonl")
    assert log.checkpoint_lag == log.records
    log.close()


def test_removed_files_can_be_moved_away_and_audited_together(tmp_path: Path) -> None:
    clock, away = Clock(), tmp_path / "away"
    log = open_log(tmp_path, clock=clock, segment_bytes=4096, quota_bytes=12000, moved_to=away)
    fill(tmp_path, log, clock, 40)
    log.close()

    whole = audit(tmp_path, away)

    assert whole.faults == ()
    assert whole.chains[0].first == 0
    assert records(tmp_path, "segments.removed")[-1]["action"] == "archived"
    assert all(segment.find_input(sha256(b"0").hexdigest()) for segment in read_log([away])[:1])


def test_files_older_than_the_limit_go_even_below_the_quota(tmp_path: Path) -> None:
    clock = Clock()
    log = open_log(tmp_path, clock=clock, segment_bytes=4096, keep_seconds=1000)
    fill(tmp_path, log, clock, 12)
    os.utime(segments(tmp_path / "log")[0], (clock.now - 2000, clock.now - 2000))
    fill(tmp_path, log, clock, 3)
    log.close()

    report = audit(tmp_path)

    assert report.chains[0].first > 0
    assert report.faults == ()


# --- archive and notes -----------------------------------------------------------------------------------------------


def test_the_archive_keeps_a_file_once_and_proves_it_when_read(tmp_path: Path) -> None:
    archive, digest = Archive(tmp_path / "archive"), sha256(b"policy").hexdigest()
    archive.store("bundle", digest, b"policy")
    archive.store("bundle", digest, b"policy")

    (path,) = (tmp_path / "archive/bundle").iterdir()
    read = archive.read("bundle", digest)
    path.write_bytes(b"policX")

    assert read == b"policy"
    with pytest.raises(InputError, match="LOG_ARCHIVE_DIGEST"):
        archive.read("bundle", digest)


def test_the_archive_refuses_a_wrong_digest_and_names_that_are_paths(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    wrong = [("bundle", "0" * 64), ("../x", sha256(b"").hexdigest()), ("bundle", "../../etc/passwd")]

    for kind, digest in wrong:
        with pytest.raises(InputError, match="LOG_ARCHIVE_DIGEST"):
            archive.store(kind, digest, b"")
    with pytest.raises(InputError, match="LOG_ARCHIVE_MISSING"):
        archive.read("bundle", "0" * 64)


def test_a_change_of_policy_is_noted_in_the_chain(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.note("bundle", "ab" * 32, "r42")
    log.close()

    assert [(note["kind"], note["text"]) for note in records(tmp_path, "noted")] == [("bundle", "r42")]


# -- blocks that are there before they are needed ---------------------------------------------------------------------


def blocks(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_an_open_file_has_blocks_behind_its_end_and_a_closed_one_has_not(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    write(log, "a")
    files = (log._pair.segment.path, log._pair.inputs.path)
    before = [path.stat().st_size for path in files]

    assert all(blocks(path) >= LEAST_AHEAD for path in files)
    log.close()

    assert all(blocks(path) < LEAST_AHEAD // 2 for path in files)
    assert before[0] < files[0].stat().st_size < 4096


def test_more_is_ready_the_faster_a_file_grows(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    file = log._pair.inputs
    file.write(b"x" * (3 * LEAST_AHEAD))
    file.keep_ahead()

    assert blocks(file.path) >= 3 * LEAST_AHEAD + 9 * LEAST_AHEAD
    log.close()


def test_the_next_start_frees_what_a_killed_process_had_ready(tmp_path: Path) -> None:
    crash(tmp_path, b"")
    left = [*(tmp_path / "log").glob("*.jsonl"), *(tmp_path / "log/inputs").glob("*.jsonl")]
    times = [path.stat().st_mtime_ns for path in left]
    assert [blocks(path) >= LEAST_AHEAD for path in left] == [True, True]

    open_log(tmp_path, clock=Clock(1790000100.0)).close()

    assert [blocks(path) >= LEAST_AHEAD // 2 for path in left] == [False, False]
    assert [path.stat().st_mtime_ns for path in left] == times


def test_where_no_blocks_are_to_be_had_ahead_everything_is_written_all_the_same(tmp_path: Path) -> None:
    class Plain(FailingFiles):
        def allocate_ahead(self, fd: int, start: int, size: int) -> None:
            raise OSError(errno.EOPNOTSUPP, "not on this file system")

    log = open_log(tmp_path, files=Plain())
    write(log, "a")
    log.close()

    assert audit(tmp_path).faults == ()
