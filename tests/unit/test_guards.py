"""Guards take back what hurts people who proved who they are, and nothing because strangers are denied."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from zt_engine.core.guards import (
    Case,
    Change,
    Guards,
    ShadowReport,
    breaches,
    concerns,
    seen_enough,
    suspicions,
)

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


_SOME = st.integers(0, 60)
_MANY = st.integers(0, 2**53)


def reports(count: st.SearchStrategy[int]) -> st.SearchStrategy[ShadowReport]:
    return st.builds(
        ShadowReport, ref_seq=st.just(1), began_at=st.just(0), must_allow=st.sampled_from([(), (LOST,)]),
        decided=count, errors=count, subjects=count, newly_denied=count, newly_allowed=count, p99_us=count,
    )  # fmt: skip


GUARDS = st.builds(
    Guards, newly_denied=st.integers(0, 1000), newly_allowed=st.integers(0, 1000), errors=st.integers(0, 1000),
    p99_us=_SOME, least_subjects=st.integers(1, 60), least_decided=_SOME,
)  # fmt: skip


@given(st.lists(reports(_SOME), min_size=2, max_size=4), reports(_MANY), GUARDS, st.booleans())
def test_one_sidecar_that_lies_breaches_no_guard_that_the_others_do_not(
    honest: list[ShadowReport], lie: ShadowReport, guards: Guards, all_heard: bool
) -> None:
    honest = [replace(report, decided=report.decided + 1) for report in honest]  # they have all seen something
    told = {breach.guard for breach in breaches([*honest, lie], guards, all_heard=all_heard)}

    assert told <= {breach.guard for breach in suspicions(honest, guards)}


@given(reports(_MANY), GUARDS)
def test_one_sidecar_is_not_believed_before_the_others_could_report(lie: ShadowReport, guards: Guards) -> None:
    assert breaches([lie], guards, all_heard=False) == ()


@given(reports(_SOME), st.lists(st.just(replace(GOOD, decided=0, subjects=0, p99_us=0)), max_size=3), GUARDS)
def test_a_canary_of_one_protects_also_beside_sidecars_that_nobody_asks(
    canary: ShadowReport, idle: list[ShadowReport], guards: Guards
) -> None:
    canary = replace(canary, decided=canary.decided + 1)

    assert breaches([canary, *idle], guards) == suspicions([canary], guards)


@given(st.lists(reports(_SOME), max_size=5), GUARDS, st.booleans())
def test_whatever_is_a_breach_is_suspected_first(told: list[ShadowReport], guards: Guards, all_heard: bool) -> None:
    found = {breach.guard for breach in breaches(told, guards, all_heard=all_heard)}

    assert found <= {breach.guard for breach in suspicions(told, guards)}


def test_what_two_of_many_see_is_a_breach_of_each_guard() -> None:
    hurt = replace(GOOD, newly_denied=50, newly_allowed=90, errors=500, p99_us=60_000, must_allow=(LOST,))

    assert len(breaches([GOOD, hurt], Guards())) == 5
    assert breaches([GOOD, GOOD, hurt], Guards()) == ()
    assert len(suspicions([GOOD, GOOD, hurt], Guards())) == 5
    assert len(breaches([GOOD, hurt, hurt], Guards())) == 5
    assert breaches([hurt], Guards(), all_heard=False) == ()
    assert len(breaches([hurt, hurt], Guards(), all_heard=False)) == 5


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
