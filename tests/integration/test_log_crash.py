"""`kill -9` at any moment loses no decision that was answered, and the next start goes on cleanly."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from pathlib import Path

from tests.forked import Forked
from tests.log_support import audit, event, open_log
from zt_engine.adapters.log_reader import read_log
from zt_engine.adapters.log_recovery import segments

KILLS = 12


def answering_child(root: Path, run: int) -> Forked:
    """A process that decides without end and reports each decision only after its flush, as the listener does."""
    words, target = [str(root), str(run)], "tests.integration.log_child:main"
    return Forked(words, env=os.environ, stdout=subprocess.PIPE, target=target)


def kill_after(child: Forked, answers: int) -> list[str]:
    """Everything that the child had answered when it died; it dies at or soon after the given number of answers."""
    assert child.stdout is not None
    reader = child.stdout.fileno()
    received = b""
    while received.count(b"\n") < answers:
        piece = os.read(reader, 4096)
        assert piece, "the child ended by itself"
        received += piece
    child.kill()
    while piece := os.read(reader, 65536):
        received += piece
    child.stdout.close()
    child.wait()
    return received.decode().split("\n")[:-1]


def test_kill_minus_nine_loses_no_answered_decision(tmp_path: Path) -> None:
    chance = random.Random(20261122)
    answered: list[str] = []

    for run in range(KILLS):
        answered += kill_after(answering_child(tmp_path, run), chance.randint(1, 1500))
    open_log(tmp_path, clock=time.time).close()

    lines = [json.loads(line) for segment in read_log([tmp_path / "log"]) for line in segment.lines()]
    logged = [line["decision_id"] for line in lines if "decision_id" in line]
    report = audit(tmp_path)
    assert set(answered) <= set(logged)
    assert len(logged) == len(set(logged))
    assert (report.faults, report.notes, report.unanchored) == ((), (), 0)
    assert len(report.chains) == KILLS + 1


def test_every_event_that_survived_a_kill_has_its_input(tmp_path: Path) -> None:
    kill_after(answering_child(tmp_path, 0), 2000)

    found = 0
    for segment in read_log([tmp_path / "log"]):
        for line in segment.lines():
            digest = json.loads(line).get("input_digest")
            if digest is not None:
                assert segment.find_input(digest) == b'{"turn":%d}' % int(digest, 16)
                found += 1
    assert found >= 2000
    assert len(segments(tmp_path / "log")) > 2


def test_a_kill_between_every_two_bytes_of_a_write_is_recovered(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    log = open_log(whole)
    log.append(event("a"))
    log.flush()
    (path,) = segments(whole / "log")
    before = path.read_bytes()
    log.append(event("b"))
    log.flush()
    after = path.read_bytes()
    log.close()

    for size in range(len(before), len(after)):
        root = tmp_path / str(size)
        (root / "log/inputs").mkdir(parents=True)
        (root / "log").chmod(0o700)
        (root / "log" / path.name).write_bytes(after[:size])
        again = open_log(root)
        again.close()

        lines = [line for segment in read_log([root / "log"]) for line in segment.lines()]
        assert b"".join(lines[:2]) == before
        assert audit(root).faults == ()
