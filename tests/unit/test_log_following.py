"""Whoever follows a log reads each input once, a little at a time; and knows for how long others had the processor."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from zt_engine.adapters import priority
from zt_engine.adapters.log_following import CHUNK_BYTES, LogFollower
from zt_engine.adapters.priority import Crowd


def line(number: int, size: int) -> bytes:
    return b'{"input_digest":"%064x","input":"%b"}\n' % (number, b"a" * size)


@pytest.mark.parametrize("size", [10, CHUNK_BYTES // 3, CHUNK_BYTES, 3 * CHUNK_BYTES])
def test_every_input_is_read_once_in_order_however_long_it_is(tmp_path: Path, size: int) -> None:
    path = tmp_path / "inputs-1.jsonl"
    path.touch()
    follower = LogFollower(tmp_path, inputs=tmp_path)
    path.write_bytes(b"".join(line(number, size) for number in range(7)) + line(7, size)[:-1])
    found, reads = follower.new_inputs(), 1
    while follower.waiting:
        found += follower.new_inputs()
        reads += 1

    assert [int(one.digest, 16) for one in found] == list(range(7))
    assert follower.new_inputs() == []
    with path.open("ab") as file:
        file.write(b"\n")
    assert [int(one.digest, 16) for one in follower.new_inputs()] == [7]


def test_what_is_read_at_once_is_a_little_of_what_waits(tmp_path: Path) -> None:
    path = tmp_path / "inputs-1.jsonl"
    path.touch()
    follower = LogFollower(tmp_path, inputs=tmp_path)
    path.write_bytes(b"".join(line(number, 2000) for number in range(500)))

    assert 0 < len(follower.new_inputs()) <= CHUNK_BYTES // 2000
    assert follower.waiting


def test_others_had_the_processor_for_what_passed_and_was_not_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    passed, worked = iter([10.0, 12.0, 15.0, 16.0]), iter([1.0, 1.5, 4.5, 5.0625])
    clocks = SimpleNamespace(monotonic=lambda: next(passed), process_time=lambda: next(worked))
    monkeypatch.setattr(priority, "time", clocks)
    crowd = Crowd()

    assert [crowd.waited() for _ in range(3)] == [1.5, 0.0, 0.0]  # the last time for less than half of it
