"""What signals do by themselves: the properties S1 to S6 of the page about the situation, on the pure machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import NOW
from zt_engine.core.errors import InputError
from zt_engine.core.signals import (
    ACCEPTED,
    AHEAD,
    FULL,
    HALF_LIFE,
    WINDOW,
    Level,
    Risk,
    Rule,
    Rules,
    Signal,
    State,
    Switch,
    begin,
    changes_at,
    check,
    effects,
    let_go,
    penalty,
    take,
)

HOUR = 3600
MINUTE = 60
BURST = Switch(id="burst", signal="login_failures", scope="subject", enter=10, exit=2, effects=("acr:phr",))
THRICE = Switch(
    id="thrice", signal="alerts", scope="device", enter=2, exit=1, effects=("deny",), levels=True, samples=3
)
RISK = Risk(id="risk", signal="user_risk", scope="subject", gate=("deny",))
RULES: tuple[Rule, ...] = (BURST, THRICE, RISK)
HIGH = ("threshold:+60", "deny")


def signal(rule: Rule, at: int, number: int, name: str = "") -> Signal:
    """A signal about a rule; `number` is a count or the rank of a level."""
    levelled = isinstance(rule, Risk) or rule.levels
    return Signal(
        id=name or f"s{at}-{number}",
        kind=rule.signal,
        at=at,
        principal=f"{rule.scope}:x",
        level=get_args(Level)[number] if levelled else None,
        value=None if levelled else number,
    )


def heard(rule: Rule, some: Sequence[tuple[int, Signal]], state: State | None = None) -> State:
    """Where a rule stands after signals, each with the instant at which it is heard."""
    state = begin(rule) if state is None else state
    for now, one in some:
        try:
            check(rule, one, now=now)
        except InputError as error:
            assert error.code == "SIGNAL_TIME"
        else:
            state = take(rule, state, one, now=now)
    return state


def said(rule: Rule, *some: tuple[int, int], now: int | None = None) -> State:
    """Where a rule stands after signals at some seconds, each heard when it was noticed."""
    return heard(rule, [(NOW + at if now is None else now, signal(rule, NOW + at, number)) for at, number in some])


def in_force(rule: Rule, state: State, seconds: int) -> tuple[str, ...]:
    return effects(rule, state, now=NOW + seconds)


rules = st.sampled_from(RULES)
numbers = st.integers(0, 3)


def number_for(rule: Rule, rank: int) -> int:
    return rank * 5 if rule is BURST else rank


# -- the machine of a switch


def test_a_switch_fires_with_as_many_samples_as_it_asks_for() -> None:
    assert in_force(BURST, said(BURST, (0, 9)), 0) == ()
    assert in_force(BURST, said(BURST, (0, 10)), 0) == ("acr:phr",)
    assert in_force(THRICE, said(THRICE, (0, 2), (1, 3)), 1) == ()
    assert in_force(THRICE, said(THRICE, (0, 2), (1, 3), (2, 2)), 2) == ("deny",)


def test_samples_that_lie_further_apart_than_the_window_do_not_count_together() -> None:
    state = said(THRICE, (0, 2), (1, 2), (WINDOW + 2, 2))

    assert in_force(THRICE, state, WINDOW + 2) == ()


def test_a_switch_stays_for_dwell_and_hold_and_for_hold_after_what_is_above_exit() -> None:
    short, long = said(BURST, (0, 10)), said(BURST, (0, 10), (44 * MINUTE, 3))

    assert in_force(BURST, short, 45 * MINUTE - 1) == ("acr:phr",)
    assert in_force(BURST, short, 45 * MINUTE) == ()
    assert in_force(BURST, long, 74 * MINUTE - 1) == ("acr:phr",)
    assert in_force(BURST, long, 74 * MINUTE) == ()
    assert in_force(BURST, said(BURST, (0, 10), (44 * MINUTE, 2)), 45 * MINUTE) == ()


def test_what_is_heard_late_shortens_nothing() -> None:
    early = said(BURST, (0, 10), (MINUTE, 3))
    late = heard(BURST, [(NOW + 44 * MINUTE, signal(BURST, NOW + at * MINUTE, 3)) for at in (44, 40)], early)

    assert in_force(BURST, early, 45 * MINUTE - 1) == ("acr:phr",)
    assert in_force(BURST, late, 74 * MINUTE - 1) == ("acr:phr",)


# -- the machine of a risk


@pytest.mark.parametrize(
    ("rank", "steps"),
    [(1, (5, 3, 2, 0)), (2, (20, 10, 5, 3, 2, 0))],
)
def test_low_and_medium_fade_in_steps_to_nothing(rank: int, steps: tuple[int, ...]) -> None:
    state = said(RISK, (0, rank))
    seen = [in_force(RISK, state, FULL + HALF_LIFE * (step + 1) - 1) for step in range(len(steps))]

    assert seen == [(f"threshold:+{points}",) if points else () for points in steps]


@given(st.sampled_from([5, 20]), st.integers(0, 200 * HOUR), st.integers(0, 200 * HOUR))
def test_a_penalty_only_falls_and_is_never_below_the_curve_it_stands_for(full: int, age: int, later: int) -> None:
    curve = full * 0.5 ** (max(0, age - FULL) / HALF_LIFE)

    assert penalty(full, age + later) <= penalty(full, age) <= full
    assert penalty(full, age) >= curve or curve < 1


@given(st.integers(0, 400 * HOUR))
def test_high_never_fades_and_has_its_gate(passed: int) -> None:
    assert in_force(RISK, said(RISK, (0, 3), (1, 1)), passed) == HIGH


def test_high_is_cleared_by_its_remedy_but_not_before_it_was_in_force_for_dwell_and_hold() -> None:
    state = said(RISK, (0, 3), (60, 0))

    assert in_force(RISK, state, 45 * MINUTE - 1) == HIGH
    assert in_force(RISK, state, 45 * MINUTE) == ()
    assert in_force(RISK, said(RISK, (0, 3), (2 * HOUR, 0)), 2 * HOUR) == ()


def test_an_old_remedy_does_not_clear_what_is_newer() -> None:
    state = heard(RISK, [(NOW + 9, signal(RISK, NOW + 5, 3)), (NOW + 10, signal(RISK, NOW + 4, 0))])

    assert in_force(RISK, state, 8 * HOUR) == HIGH


@pytest.mark.parametrize("order", [(3, 0), (0, 3)])
def test_of_a_risk_and_its_remedy_at_the_same_instant_the_risk_counts(order: tuple[int, int]) -> None:
    state = said(RISK, *((0, rank) for rank in order), now=NOW)

    assert in_force(RISK, state, 8 * HOUR) == HIGH


def test_the_worst_of_a_family_counts_once() -> None:
    assert in_force(RISK, said(RISK, (0, 2), (1, 1), (2, 2), (3, 2)), 4) == ("threshold:+20",)


def test_what_a_person_let_go_of_is_settled_and_what_comes_after_tightens_again() -> None:
    for rule, number, there in ((RISK, 3, HIGH), (BURST, 10, ("acr:phr",))):
        state = let_go(said(rule, (0, number)), now=NOW + 10)
        late = heard(rule, [(NOW + 20, signal(rule, NOW + 10, number, "late"))], state)
        new = heard(rule, [(NOW + 20, signal(rule, NOW + 11, number, "new"))], late)

        assert (in_force(rule, state, 10), in_force(rule, late, 20), in_force(rule, new, 20)) == ((), (), there)


# -- what a rule takes


@pytest.mark.parametrize(
    ("rule", "at", "taken"),
    [
        (BURST, -WINDOW, True),
        (BURST, -WINDOW - 1, False),
        (BURST, AHEAD, True),
        (BURST, AHEAD + 1, False),
        (RISK, -ACCEPTED, True),
        (RISK, -ACCEPTED - 1, False),
        (RISK, AHEAD + 1, False),
    ],
)
def test_the_time_of_a_signal_is_its_own_within_bounds(rule: Rule, at: int, taken: bool) -> None:
    try:
        check(rule, signal(rule, NOW + at, 3), now=NOW)
    except InputError as error:
        assert (error.code, taken) == ("SIGNAL_TIME", False)
    else:
        assert taken


@pytest.mark.parametrize("rule", RULES)
def test_a_level_is_no_number_and_a_number_no_level(rule: Rule) -> None:
    other = RISK if rule is BURST else BURST

    with pytest.raises(InputError, match="SIGNAL_SHAPE"):
        check(rule, signal(other, NOW, 3), now=NOW)


def test_a_rule_is_about_one_signal_of_one_kind_of_principal() -> None:
    known = Rules(RULES)
    one = signal(BURST, NOW, 3)

    assert known.of(one) == (BURST,)
    assert known.of(Signal(id="a", kind="login_failures", at=NOW, principal="device:x", value=3)) == ()
    assert known.of(Signal(id="a", kind="another", at=NOW, principal="subject:x", value=3)) == ()


# -- the properties

swings = st.lists(st.tuples(st.integers(1, 3 * HOUR), numbers, st.integers(-WINDOW, AHEAD)), max_size=60)
"""How long after the one before a signal is heard, what it says, and how far from then it was noticed."""


@given(rules, swings)
def test_s1_an_oscillating_input_activates_once_in_45_minutes_at_most(
    rule: Rule, some: list[tuple[int, int, int]]
) -> None:
    state, now, times = begin(rule), NOW, 0
    for passed, rank, off in some:
        now += passed
        was = bool(effects(rule, state, now=now))
        state = heard(rule, [(now, signal(rule, now + off, number_for(rule, rank)))], state)
        times += not was and bool(effects(rule, state, now=now))

    assert times <= 1 + (now - NOW) / (45 * MINUTE)


@pytest.mark.parametrize("rule", [BURST, RISK])
@pytest.mark.parametrize("every", [MINUTE, 20 * MINUTE, HOUR])
def test_s1_for_a_week_of_up_and_down(rule: Rule, every: int) -> None:
    state, times, span = begin(rule), 0, 7 * 24 * HOUR
    for at in range(0, span, every):
        was = bool(in_force(rule, state, at))
        number = (number_for(rule, 3), 0)[at // every % 2]
        state = heard(rule, [(NOW + at, signal(rule, NOW + at, number))], state)
        times += not was and bool(in_force(rule, state, at))

    assert times <= 1 + span / (45 * MINUTE)


def test_s1_a_backlog_of_ups_and_downs_that_is_told_at_once_activates_once() -> None:
    state, times = begin(RISK), 0
    for turn in range(120):
        was = bool(in_force(RISK, state, turn))
        state = heard(RISK, [(NOW + turn, signal(RISK, NOW - 2 * HOUR + MINUTE * turn, (3, 0)[turn % 2]))], state)
        times += not was and bool(in_force(RISK, state, turn))

    assert times == 1


@given(rules, st.lists(st.tuples(st.integers(-WINDOW, AHEAD), numbers), max_size=8), st.integers(0, 100 * HOUR))
def test_s2_what_is_in_force_ends_by_itself_or_is_a_high_risk(
    rule: Rule, some: list[tuple[int, int]], passed: int
) -> None:
    state = said(rule, *((at, number_for(rule, rank)) for at, rank in some), now=NOW)
    now = NOW + passed
    there = effects(rule, state, now=now)

    if there and there[0] != "threshold:+60":
        due = changes_at(rule, state, now=now)
        assert due is not None
        assert now < due <= now + ACCEPTED + 1
        assert effects(rule, state, now=NOW + 200 * HOUR) == ()


@given(rules, st.lists(st.tuples(st.integers(-WINDOW, AHEAD), numbers), max_size=8), st.integers(0, 100 * HOUR))
def test_nothing_changes_by_itself_before_it_is_looked_at_again(
    rule: Rule, some: list[tuple[int, int]], passed: int
) -> None:
    state = said(rule, *((at, number_for(rule, rank)) for at, rank in some), now=NOW)
    due = changes_at(rule, state, now=NOW)

    if due is not None and NOW + passed < due:
        assert effects(rule, state, now=NOW + passed) == effects(rule, state, now=NOW)
    if due is None:
        assert effects(rule, state, now=NOW) == ()


noticed = st.lists(st.tuples(st.sampled_from([-200, -100, -1, 0]), numbers), max_size=8, unique=True)


@given(rules, noticed.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))), noticed)
def test_s4_any_order_within_a_window_comes_to_the_same(
    rule: Rule, both: tuple[list[tuple[int, int]], list[tuple[int, int]]], before: list[tuple[int, int]]
) -> None:
    old = heard(rule, [(NOW - HOUR, signal(rule, NOW - HOUR + at, number_for(rule, rank))) for at, rank in before])
    one, other = (
        heard(rule, [(NOW, signal(rule, NOW + at, number_for(rule, rank))) for at, rank in some], old) for some in both
    )

    for passed in (0, 30 * MINUTE, 50 * MINUTE, 90 * MINUTE, 20 * HOUR):
        assert in_force(rule, one, passed) == in_force(rule, other, passed)


@given(rules, noticed.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_s4_also_where_they_are_heard_one_after_the_other(
    rule: Rule, both: tuple[list[tuple[int, int]], list[tuple[int, int]]]
) -> None:
    one, other = (
        heard(
            rule,
            [
                (NOW + 20 * place, signal(rule, NOW + at, number_for(rule, rank)))
                for place, (at, rank) in enumerate(some)
            ],
        )
        for some in both
    )

    assert in_force(rule, one, 200) == in_force(rule, other, 200)


@given(rules, noticed, st.data())
def test_s5_a_signal_that_is_heard_again_changes_nothing(
    rule: Rule, some: list[tuple[int, int]], data: st.DataObject
) -> None:
    signals = [signal(rule, NOW + at, number_for(rule, rank)) for at, rank in some]
    state = heard(rule, [(NOW, one) for one in signals])
    again = data.draw(st.lists(st.sampled_from(signals), max_size=5)) if signals else []
    later = NOW + data.draw(st.sampled_from([0, 5, 300, WINDOW, 45 * MINUTE, 50 * HOUR]))
    after = heard(rule, [(later, one) for one in again], state)

    assert effects(rule, after, now=later) == effects(rule, state, now=later)
    assert effects(rule, after, now=later + HOUR) == effects(rule, state, now=later + HOUR)


@pytest.mark.parametrize("rule", RULES)
def test_what_was_let_go_by_a_clock_that_was_ahead_hides_nothing_that_is_noticed_once_it_is_right(rule: Rule) -> None:
    state = let_go(begin(rule), now=NOW + 30 * 24 * HOUR)
    state = heard(rule, [(NOW, signal(rule, NOW - one, 3 if rule is not BURST else 12)) for one in range(3)], state)

    assert in_force(rule, state, 2 * HOUR) == (HIGH if rule is RISK else ())
    assert in_force(rule, state, 10) != ()
