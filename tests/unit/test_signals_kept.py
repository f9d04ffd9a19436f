"""What signals brought goes on whatever else happens: floods, records that cannot be kept, clocks, other rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tests.control_support import NOW, TENANT, Control
from tests.unit.test_control_signals import HOUR, MINUTE, ONE, TWO, WRITTEN, overlays, passing, signal, tell
from zt_engine.adapters.signals_yaml import load_signals
from zt_engine.control_plane import signals as module
from zt_engine.control_plane.fleet import FleetWatching
from zt_engine.control_plane.signals import FOR_CLOSING, FOR_PEOPLE, FOR_REAL, RULES
from zt_engine.control_plane.situation import MOST
from zt_engine.core.errors import UnavailableError

HIGH = {ONE: "threshold:+60", TWO: "deny"}


@pytest.fixture
def control() -> Iterator[Control]:
    with Control(extras={RULES: load_signals(WRITTEN, where="signals.yaml")}) as opened:
        opened.administrators.add("edr", "connector")
        yield opened


def fill(control: Control, *, until: int) -> None:
    """Have so many overlays."""
    with control.store.writing(TENANT) as tx:
        for number in range(until):
            tx.situation.put("overlay", f"o{number}", b'{"id":"o%d"}' % number)


def spoil(control: Control, name: str) -> None:
    """Have a record of signals that nothing can be done with: no sidecar takes its scope."""
    with control.store.writing(TENANT) as tx:
        held = tx.signals.get(f"signals/user-risk/{name}")
        assert held is not None
        tx.signals.put(replace(held, version=held.version + 1, principal="nobody"))


def ends(control: Control) -> dict[str, int]:
    return {one["id"]: one["not_after"] for one in control.call("GET", "/v1/situation").json()["overlays"]}


def test_a_flood_of_low_risks_leaves_room_for_a_high_one(control: Control) -> None:
    fill(control, until=MOST["overlay"] - FOR_PEOPLE - FOR_CLOSING)

    low = tell(control, signal(level="low", principal="subject:suzuki"))
    high = tell(control, signal(level="high"))

    assert (low["overlays"], low["ignored"][0]["code"]) == ([], "SIGNALS_FULL")
    assert (high["overlays"], high["ignored"]) == ([ONE, TWO], [])


def test_a_low_risk_that_stands_becomes_a_high_one_where_there_is_no_room_for_low_ones(control: Control) -> None:
    tell(control, signal(level="low"))
    fill(control, until=MOST["overlay"] - FOR_PEOPLE - FOR_CLOSING)

    assert tell(control, signal(level="high"))["overlays"] == [ONE, TWO]


def test_exercises_leave_room_for_what_is_real(control: Control) -> None:
    fill(control, until=MOST["overlay"] - FOR_PEOPLE - FOR_CLOSING - FOR_REAL)

    exercise = tell(control, signal(level="high", exercise=True))

    assert exercise["ignored"][0]["code"] == "SIGNALS_FULL"
    assert tell(control, signal(level="low"))["overlays"] == [ONE]


@pytest.mark.parametrize(("effects", "declared"), [("deny", 1), ("ceiling:0", 1), ("acr:phr", 0)])
def test_a_switch_that_closes_has_the_room_of_high_risks(control: Control, effects: str, declared: int) -> None:
    control.plane.extras[RULES] = load_signals(WRITTEN.replace("acr:phr", f'"{effects}"'), where="")
    fill(control, until=MOST["overlay"] - FOR_PEOPLE - FOR_CLOSING)

    assert len(tell(control, signal("login_failures", value=10))["overlays"]) == declared


def test_a_record_that_cannot_be_kept_is_told_and_stops_no_other(control: Control) -> None:
    tell(control, signal(level="high", principal="subject:abe"), signal(level="high"))
    spoil(control, "abe")

    with capture_logs() as logged:
        passing(control, 5 * HOUR)

    assert ends(control)[TWO] > NOW + 5 * HOUR
    assert {one["id"] for one in logged if one.get("code") == "SIGNALS_NOT_KEPT"} == {"signals/user-risk/abe"}


def test_what_is_in_force_is_renewed_before_a_backlog(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    tell(control, signal(level="high"))
    tell(control, *(signal(level="cleared", principal=f"subject:x{number}") for number in range(40)))
    with control.store.writing(TENANT) as tx:
        for number in range(40):
            held = tx.signals.get(f"signals/user-risk/x{number}")
            assert held is not None
            tx.signals.put(replace(held, version=held.version + 1, due=0))

    passing(control, 5 * HOUR, every=HOUR)

    assert ends(control)[TWO] > NOW + 5 * HOUR


def test_signals_are_kept_when_the_fleet_cannot_be_watched(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(control, signal(level="high"))

    def broken(*_: object, **__: object) -> None:
        raise UnavailableError("STORE_CONFLICT", "something else")

    monkeypatch.setattr(FleetWatching, "look", broken)
    control.clock.advance(3 * HOUR)
    with pytest.raises(UnavailableError):
        passing(control, MINUTE)

    assert ends(control)[TWO] > NOW + 4 * HOUR


def test_a_renewal_begins_when_the_first_one_did_so_that_clocks_behind_ours_see_no_gap(control: Control) -> None:
    tell(control, signal(level="high"))
    passing(control, 3 * HOUR)

    held = control.call("GET", "/v1/situation").json()["overlays"]
    assert {(one["not_before"], one["not_after"] > NOW + 4 * HOUR) for one in held} == {(NOW, True)}


def test_what_a_clock_that_was_ahead_declared_holds_once_a_control_plane_starts(control: Control) -> None:
    control.clock.advance(30 * 24 * HOUR)
    tell(control, signal(level="high", at=control.plane.now()))
    control.clock.advance(-30 * 24 * HOUR)

    module.Signals(control.plane).keep(now=control.plane.now())

    held = control.call("GET", "/v1/situation").json()["overlays"]
    assert {(one["not_before"], one["not_after"]) for one in held} == {(NOW, NOW + 4 * HOUR)}


def test_a_rule_that_is_back_before_its_overlays_end_renews_them(control: Control) -> None:
    rules = control.plane.extras[RULES]
    keeping = module.Signals(control.plane)
    tell(control, signal(level="high"))
    control.plane.extras[RULES] = load_signals("risks: []\n", where="signals.yaml")
    control.clock.advance(3 * HOUR)
    keeping.keep(now=control.plane.now())
    control.plane.extras[RULES] = rules
    keeping.keep(now=control.plane.now())

    assert ends(control)[TWO] > NOW + 4 * HOUR


def test_other_effects_of_a_rule_hold_for_what_is_in_force_once_they_are_read(control: Control) -> None:
    keeping = module.Signals(control.plane)
    tell(control, signal(level="high"))
    control.plane.extras[RULES] = load_signals(WRITTEN.replace("[deny]", '["ceiling:0"]'), where="signals.yaml")

    keeping.keep(now=control.plane.now())

    assert overlays(control) == HIGH | {TWO: "ceiling:0"}


def test_a_record_that_cannot_be_kept_has_the_others_looked_at_anew_once_and_not_each_minute(control: Control) -> None:
    tell(control, signal(level="high", principal="subject:abe"), signal(level="high"))
    spoil(control, "abe")
    passing(control, 3 * HOUR)  # it is overdue, and the other one has been renewed
    keeping = module.Signals(control.plane)
    seen = []
    for _ in range(3):
        keeping.keep(now=control.plane.now())
        with control.store.reading(TENANT) as tx:
            held = tx.signals.get("signals/user-risk/tanaka")
            assert held is not None
            seen.append(held.version)

    assert seen == [seen[0]] * 3
