"""The properties of a situation, S1 to S6 of the page about it: what fires by itself, and what events leave."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.fleet import LONGEST, REST, FleetCount, FleetWatch, watch
from tests.stream_support import Follower, batch
from tests.world import NOW
from zt_engine.core.errors import InputError
from zt_engine.core.situation import Situation, Target
from zt_engine.sidecar.outcomes import situation_fragment

RANKS = {"C1": 100, "C2": 200, "C3": 300}
TARGET = Target(service="portal", label_rank=200, subject_id="tanaka", groups=("staff",), ownership="byod")

overlays = st.builds(
    lambda id_, effect, scope, start, length, exercise: {
        "id": id_, "effect": effect, "scope": scope, "not_before": NOW + start, "not_after": NOW + start + length,
        "exercise": exercise,
    },
    st.sampled_from(["a", "b", "c", "d"]),
    st.sampled_from(["deny", "ceiling:100", "threshold:+5", "acr:phr", "report_age:600", "obligation:no_store"]),
    st.sampled_from(["tenant", "service:portal", "group:staff", "ownership:byod", "label:C2", "subject:suzuki"]),
    st.integers(-100, 100),
    st.integers(1, 100),
    st.booleans(),
)  # fmt: skip
unique = st.lists(overlays, max_size=4, unique_by=lambda one: one["id"])


def heard(*said: tuple[str, Any]) -> Situation:
    one = Follower().begin()
    for seq, event in enumerate(said, 1):
        one.take("batch", batch(seq, event))
    assert one.replica.situation is not None
    return one.replica.situation


def told(some: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [("overlay.changed", one) for one in some]


def enforced(situation: Situation, at: int = NOW) -> bytes:
    applied = situation.effective(at, at + 5, target=TARGET, ranks=RANKS, assurance={"phr": 3})
    return situation_fragment(applied) + msgspec.json.encode(msgspec.structs.replace(applied, exercises=()))


swings = st.lists(
    st.tuples(st.integers(1, 4 * 3600), st.sampled_from([0, 20, 300, 1000]), st.sampled_from([0, 20, 300, 1000])),
    max_size=60,
)
"""How long after the one before a count is taken, how many devices are fresh, how many have just lapsed."""


@given(swings)
def test_s1_a_fleet_that_swings_freezes_ageing_a_bounded_number_of_times(some: list[tuple[int, int, int]]) -> None:
    state, at, fired = FleetWatch(), NOW, 0
    for passed, fresh, lapsed in some:
        at += passed
        state, event = watch(state, FleetCount(at=at, fresh=fresh, lapsed=lapsed))
        fired += event == "sensor_outage"
        assert state.freeze is None or state.freeze.end - state.freeze.start <= LONGEST

    assert fired <= 1 + (at - NOW) // REST


def test_s1_a_fleet_that_swings_every_quarter_of_an_hour_fires_twice_a_day() -> None:
    state, fired = FleetWatch(), 0
    for turn in range(4 * 24 * 7):
        fresh, lapsed = ((1000, 0), (300, 700))[turn % 2]
        state, event = watch(state, FleetCount(at=NOW + turn * 900, fresh=fresh, lapsed=lapsed))
        fired += event == "sensor_outage"

    assert fired == 2 * 7


@given(overlays, st.sampled_from(["not_after", "not_before", ""]), st.integers(0, 200))
def test_s2_every_overlay_has_an_end(one: dict[str, Any], missing: str, early: int) -> None:
    odd = {name: value for name, value in one.items() if name != missing}
    if not missing:
        odd["not_after"] = odd["not_before"] - early

    follower = Follower().begin()
    try:
        follower.take("batch", batch(1, ("overlay.changed", odd)))
    except InputError as error:
        assert error.code == "STREAM_EVENT"
    else:
        raise AssertionError("it was taken up")
    for overlay in heard(("overlay.changed", one)).overlays:
        assert overlay.not_before < overlay.not_after


@given(unique, st.booleans())
def test_s3_the_end_of_overlays_restores_the_very_same_input(some: list[dict[str, Any]], taken_back: bool) -> None:
    calm = heard()
    gone = [("overlay.changed", {"id": one["id"], "removed": True}) for one in some] if taken_back else []
    after = heard(*told(some), *gone)

    assert enforced(after, NOW + 300) == enforced(calm, NOW + 300)
    if taken_back:
        assert enforced(after) == enforced(calm)
        assert after.version == calm.version


@given(unique.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_s4_any_order_of_declarations_comes_to_the_same(
    both: tuple[list[dict[str, Any]], list[dict[str, Any]]],
) -> None:
    one, other = (heard(*told(some)) for some in both)

    assert one.version == other.version
    assert enforced(one) == enforced(other)


@given(unique, st.data())
def test_s5_a_declaration_twice_changes_nothing(some: list[dict[str, Any]], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(some), max_size=3)) if some else []
    one, other = heard(*told(some)), heard(*told(some), *told(again))

    assert (one.version, enforced(one)) == (other.version, enforced(other))


@given(unique)
def test_s6_an_exercise_changes_nothing_that_is_enforced(some: list[dict[str, Any]]) -> None:
    real = [one for one in some if not one["exercise"]]

    assert enforced(heard(*told(some))) == enforced(heard(*told(real)))
