"""A fleet that grows stale at once: the sensor path broke, ageing stands still for a while, and never for secrets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.facts import FRESHNESS, freshness
from device_inventory.fleet import (
    LONGEST,
    MIN_FLEET,
    REST,
    WINDOW,
    FleetCount,
    FleetWatch,
    Freeze,
    ageing_instant,
    watch,
)

NOW = 1_790_000_000
FROZEN = Freeze(start=NOW, end=NOW + LONGEST, aged_at=NOW - WINDOW)


def look(state: FleetWatch, fresh: int, lapsed: int, *, at: int = NOW) -> tuple[FleetWatch, str]:
    return watch(state, FleetCount(at=at, fresh=fresh, lapsed=lapsed))


@pytest.mark.parametrize(
    ("fresh", "lapsed", "event"),
    [
        (700, 300, "none"),
        (699, 301, "sensor_outage"),
        (0, 1000, "sensor_outage"),
        (1000, 0, "none"),
        (0, 0, "none"),
        (0, MIN_FLEET - 1, "none"),
        (0, MIN_FLEET, "sensor_outage"),
    ],
)
def test_more_than_thirty_of_a_hundred_at_once_are_an_outage(fresh: int, lapsed: int, event: str) -> None:
    state, seen = look(FleetWatch(), fresh, lapsed)

    assert seen == event
    assert (state.freeze is not None) == (event == "sensor_outage")


def test_the_freeze_says_from_when_until_when_and_against_which_instant() -> None:
    state, _ = look(FleetWatch(), 600, 400)

    assert state.freeze == FROZEN


def test_the_freeze_ends_when_the_fleet_is_back() -> None:
    state, _ = look(FleetWatch(), 600, 400)
    state, waiting = look(state, 690, 0, at=NOW + 600)
    state, back = look(state, 700, 0, at=NOW + 900)

    assert (waiting, back) == ("none", "sensor_recovered")
    assert state.freeze is not None
    assert state.freeze.end == NOW + 900


def test_the_freeze_ends_after_four_hours_whatever_happens_and_that_is_told_once() -> None:
    state, _ = look(FleetWatch(), 600, 400)
    events = []
    for minute in range(60, REST, 60):
        state, event = look(state, 100, 100, at=NOW + minute)
        events.append((minute, event))

    assert [item for item in events if item[1] != "none"] == [(LONGEST, "sensor_outage_over")]
    assert state.freeze == FROZEN


def test_there_is_no_second_freeze_soon_after() -> None:
    state, _ = look(FleetWatch(), 600, 400)
    state, _ = look(state, 1000, 0, at=NOW + 900)

    _, soon = look(state, 0, 1000, at=NOW + REST - 1)
    _, later = look(state, 0, 1000, at=NOW + REST)

    assert (soon, later) == ("none", "sensor_outage")


@given(st.lists(st.tuples(st.integers(1, 7200), st.integers(0, 500), st.integers(0, 500)), max_size=200))
def test_ageing_never_stands_still_for_more_than_four_hours_in_twelve(counts: list[tuple[int, int, int]]) -> None:
    state, at, freezes = FleetWatch(), NOW, []
    for after, fresh, lapsed in counts:
        at += after
        state, event = look(state, fresh, lapsed, at=at)
        if event == "sensor_outage":
            assert state.freeze is not None
            freezes.append(state.freeze)

    assert all(freeze.end - freeze.start <= LONGEST for freeze in freezes)
    assert all(later.start - first.start >= REST for first, later in pairwise(freezes))


def test_ordinary_papers_stand_still_and_secret_ones_age() -> None:
    old = NOW - 1200

    assert ageing_instant(FROZEN, received_at=old, rank=200, now=NOW + 3600) == NOW - WINDOW
    assert ageing_instant(FROZEN, received_at=old, rank=300, now=NOW + 3600) == NOW + 3600
    assert ageing_instant(None, received_at=old, rank=100, now=NOW) == NOW


@pytest.mark.parametrize("now", [NOW - 1, NOW + LONGEST])
def test_outside_of_the_freeze_everything_ages(now: int) -> None:
    assert ageing_instant(FROZEN, received_at=NOW - 5000, rank=100, now=now) == now


def test_who_reports_during_the_outage_is_not_worse_off() -> None:
    received = NOW + 1000

    aged = ageing_instant(FROZEN, received_at=received, rank=200, now=NOW + 3600)

    assert freshness(aged - received, FRESHNESS["key"]) == 1000


def test_evidence_from_the_future_is_still_found_out() -> None:
    received = NOW + 3600 + 301

    aged = ageing_instant(FROZEN, received_at=received, rank=200, now=NOW + 3600)

    assert freshness(aged - received, FRESHNESS["key"]) == 0


@given(st.integers(NOW - 10**6, NOW + 2 * LONGEST), st.integers(0, 10**5), st.integers(NOW - 10, NOW + LONGEST + 10))
def test_newer_evidence_is_never_older_and_a_freeze_never_ages(received: int, newer: int, now: int) -> None:
    if received + newer > now:
        return
    ages = [ageing_instant(FROZEN, received_at=at, rank=200, now=now) - at for at in (received, received + newer)]

    assert 0 <= ages[1] <= ages[0] <= now - received
