"""`kill -9` of the real process under load, and a disk that is full: no answered decision is missing from the log."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from tests.sidecar_support import Load, ask, installation, laptop, logged, question, running, verified

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
