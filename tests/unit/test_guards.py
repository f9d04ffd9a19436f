"""Guards take back what hurts people who proved who they are, and nothing because strangers are denied."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from zt_engine.core.guards import Case, Change, Guards, ShadowReport, breaches, concerns, seen_enough

GOOD = ShadowReport(ref_seq=1, began_at=0, keys=1000, decided=1000, subjects=100, p99_us=900)
LOST = Change(service="portal", before="allow", after="deny", reason="MFA", verified=True, count=4, samples=("d1",))


@pytest.mark.parametrize(
    ("report", "guard"),
    [
        (replace(GOOD, newly_denied=3, changes=(LOST,)), "newly_denied"),
        (replace(GOOD, newly_allowed=21), "newly_allowed"),
        (replace(GOOD, errors=6), "errors"),
        (replace(GOOD, p99_us=50_001), "p99"),
        (replace(GOOD, must_allow=(LOST,)), "must_allow"),
    ],
)
def test_each_guard_is_breached_by_its_own_figure(report: ShadowReport, guard: str) -> None:
    guards = Guards(newly_denied=10, newly_allowed=100, errors=2)

    assert [breach.guard for breach in breaches([GOOD, report], guards)] == [guard]


def test_a_breach_names_decisions_to_look_at() -> None:
    found = breaches([replace(GOOD, newly_denied=10, changes=(LOST,))], Guards())

    assert found[0].samples == ("d1",)
    assert (found[0].seen, found[0].of) == (10, 100)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_no_flood_of_strangers_forces_a_rollback(flood: int, changed: int) -> None:
    strangers = Change(service="portal", before="step_up", after="deny", verified=False, count=changed)
    flooded = replace(GOOD, keys=GOOD.keys + flood, decided=GOOD.decided + flood, changes=(strangers,))

    assert breaches([flooded], Guards()) == ()


def test_a_few_people_are_no_share() -> None:
    assert breaches([replace(GOOD, subjects=3, newly_denied=3)], Guards()) == ()


def test_it_goes_on_by_itself_only_when_nearly_every_new_key_was_decided() -> None:
    assert seen_enough([GOOD], Guards())
    assert not seen_enough([], Guards())
    assert not seen_enough([replace(GOOD, decided=989)], Guards())
    assert not seen_enough([replace(GOOD, keys=50, decided=50)], Guards())


def test_a_case_names_a_person_a_service_or_both() -> None:
    assert concerns(Case("tanaka", ""), subject="tanaka", service="portal")
    assert concerns(Case("", "portal"), subject="x", service="portal")
    assert not concerns(Case("tanaka", "payroll"), subject="tanaka", service="portal")
