"""Recorded decisions, decided again under a candidate: whom it changes, and in which direction."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bundles import compiled
from tests.sidecar_support import CASE, NOTE, PUBLIC, in_process, installation, laptop
from zt_engine.adapters.log_reader import read_log
from zt_engine.bootstrap.impact import Impact, impact
from zt_engine.bootstrap.sandbox import Sandbox
from zt_engine.core.bundle import open_bundle


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[Sandbox]:
    """A log of a few decisions, allowed and refused."""
    sandbox = installation(tmp_path_factory.mktemp("impact") / "zt", opa)
    device = laptop(sandbox)
    with in_process(sandbox) as program:
        for claims in ({}, {"acr": "pwd", "amr": ["pwd"]}):
            token = sandbox.token("tanaka", device=device, **claims)
            for url in (PUBLIC, CASE, NOTE):
                program.ask(url, token=token, device=device)
        program.ask(CASE)
    yield sandbox


def under(ran: Sandbox, opa: str, *edits: tuple[str, str]) -> Impact:
    raw = compiled(opa, edits=edits)
    return impact(open_bundle(raw, keys={}, require_signature=False), read_log([ran.folder / "log"]))


def test_the_same_policy_changes_nobody(ran: Sandbox, opa: str) -> None:
    found = under(ran, opa)

    assert found.replayed > 3
    assert (found.changes, found.weakens, found.lost) == ((), (), 0)


def test_a_stricter_policy_names_whom_it_refuses_and_weakens_nothing(ran: Sandbox, opa: str) -> None:
    found = under(ran, opa, ("_threshold := 60", "_threshold := 100"))

    assert {direction for direction, _, _, _ in found.counted} == {"stricter"}
    assert "tanaka" in {subject for _, subject, _, _ in found.counted}
    assert found.weakens == ()


def test_a_looser_policy_weakens_decision_by_decision(ran: Sandbox, opa: str) -> None:
    found = under(ran, opa, ('{"phr", "hwk", "otp"}', '{"phr", "hwk", "otp", "pwd"}'))

    assert {one.code for one in found.weakens} == {"WEAKENS_DECISION"}
    assert {(one.direction, one.subject) for one in found.changes} == {("weaker", "tanaka")}
