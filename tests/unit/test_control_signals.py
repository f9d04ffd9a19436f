"""Signals at the control plane: what a source tells becomes overlays, which are renewed, fade and end by themselves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.control_support import NOW, TENANT, Control
from zt_engine.adapters.signals_yaml import load_signals
from zt_engine.control_plane.app import PUBLIC
from zt_engine.control_plane.housekeeping import Housekeeping
from zt_engine.control_plane.signals import FOR_PEOPLE, RULES
from zt_engine.control_plane.situation import MOST
from zt_engine.core.signals import ACCEPTED, FULL, HALF_LIFE

HOUR = 3600
MINUTE = 60
WRITTEN = """\
switches:
  - {id: burst, signal: login_failures, scope: subject, enter: 10, exit: 2, effects: [acr:phr], severity: warning}
risks:
  - {id: user-risk, signal: user_risk, scope: subject, gate: [deny], ttl: 4h}
  - {id: edr, signal: edr_alert, scope: device, gate: ["ceiling:0", "obligation:no_download"]}
"""
NAMES = itertools.count()
ONE = "signals/user-risk/tanaka/1"
TWO = "signals/user-risk/tanaka/2"


@pytest.fixture
def control() -> Iterator[Control]:
    with Control(extras={RULES: load_signals(WRITTEN, where="signals.yaml")}) as opened:
        opened.administrators.add("edr", "connector")
        yield opened


def signal(
    kind: str = "user_risk", principal: str = "subject:tanaka", *, at: int | None = None, **said: Any
) -> dict[str, Any]:
    return {"id": f"s{next(NAMES)}", "kind": kind, "at": NOW if at is None else at, "principal": principal, **said}


def tell(control: Control, *some: dict[str, Any], who: str = "edr") -> dict[str, Any]:
    answer = control.call("POST", "/v1/signals", {"signals": list(some)}, who=who)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def overlays(control: Control) -> dict[str, str]:
    return {one["id"]: one["effect"] for one in control.call("GET", "/v1/situation").json()["overlays"]}


def passing(control: Control, seconds: int, *, every: int = 600) -> None:
    """Let time pass, with the house kept on the way."""
    keeping = Housekeeping(control.plane)
    end = control.plane.now() + seconds
    while control.plane.now() < end:
        control.clock.advance(min(every, end - control.plane.now()))
        keeping.turn(now=control.plane.now())


def test_a_high_risk_is_declared_as_overlays_whose_owner_and_cause_are_told(control: Control) -> None:
    one = signal(level="high")
    answer = tell(control, one)

    record = {
        "scope": "subject:tanaka", "not_before": NOW, "not_after": NOW + 4 * HOUR, "cause": "user-risk", "severity": "",
        "exercise": False, "owner": "signals",
    }  # fmt: skip
    assert answer == {"taken": 1, "ignored": [], "overlays": [ONE, TWO], "ends": {}}
    assert control.announced() == [
        ("overlay.changed", {"id": ONE, "effect": "threshold:+60"} | record),
        ("overlay.changed", {"id": TWO, "effect": "deny"} | record),
    ]
    assert {(event.actor, event.action, event.reason) for event in control.audit()} == {
        ("signals", "overlay.changed", f"user_risk high: signal admin:edr/{one['id']}")
    }


def test_a_high_risk_is_renewed_until_it_is_cleared_and_sidecars_hear_of_little_else(control: Control) -> None:
    tell(control, signal(level="high"))
    control.announced()
    passing(control, 24 * HOUR)
    told = control.announced()

    assert overlays(control) == {ONE: "threshold:+60", TWO: "deny"}
    assert len(told) == 2 * 24 // 2  # two overlays, each renewed when half of its four hours is over
    assert all(data["not_after"] >= data["not_before"] + 4 * HOUR for _, data in told)

    tell(control, signal(level="cleared", at=control.plane.now()))

    assert overlays(control) == {}
    assert [(kind, data["removed"]) for kind, data in control.announced()] == [("overlay.changed", True)] * 2
    assert control.audit()[-1].reason.startswith("user_risk cleared: signal admin:edr/")


def test_what_was_cleared_is_told_with_its_end_and_goes_then(control: Control) -> None:
    tell(control, signal(level="high"))
    control.clock.advance(MINUTE)
    answer = tell(control, signal(level="cleared", at=control.plane.now()))
    end = NOW + 45 * MINUTE

    assert (answer["overlays"], answer["ends"]) == ([], {ONE: end, TWO: end})
    passing(control, end - 1 - control.plane.now())
    assert overlays(control) == {ONE: "threshold:+60", TWO: "deny"}
    passing(control, 1)
    assert overlays(control) == {}


def test_what_is_noticed_after_it_was_cleared_has_no_end_told(control: Control) -> None:
    tell(control, signal(level="high"), signal(level="cleared", at=NOW + 1))

    assert tell(control, signal(level="low", at=NOW + 2))["ends"] == {}


def test_a_signal_that_is_ignored_is_named_as_it_was_sent_and_says_how_old_it_was(control: Control) -> None:
    old, early = signal(level="high", at=NOW - ACCEPTED - 5), signal(level="high", at=NOW + 70)
    first, second = tell(control, old, early)["ignored"]

    assert [first["id"], second["id"]] == [old["id"], early["id"]]
    assert first["message"].startswith(f"it is {ACCEPTED + 5} seconds old at {NOW} here")
    assert second["message"].startswith(f"it is 70 seconds ahead at {NOW} here")


def test_a_medium_risk_fades_to_nothing_under_one_id(control: Control) -> None:
    tell(control, signal(level="medium"))
    seen = [overlays(control)]
    for span in (FULL + HALF_LIFE, *[HALF_LIFE] * 4):
        passing(control, span)
        seen.append(overlays(control))

    assert seen == [{ONE: f"threshold:+{points}"} for points in (20, 10, 5, 3, 2)] + [{}]


def test_without_the_control_plane_an_overlay_ends_by_itself(control: Control) -> None:
    tell(control, signal(level="medium"), signal("login_failures", value=12))

    held = control.call("GET", "/v1/situation").json()["overlays"]
    assert {one["not_after"] - NOW for one in held} == {HOUR, 4 * HOUR}


def test_a_flood_of_signals_is_told_once(control: Control) -> None:
    for at in range(50):
        tell(control, *(signal("login_failures", value=10 + at, at=NOW - at) for _ in range(5)))

    assert len(control.announced()) == 1
    assert len(control.audit()) == 1


def test_a_burst_ends_half_an_hour_after_it_was_heard_last_and_its_state_is_forgotten(control: Control) -> None:
    tell(control, signal("login_failures", value=10))
    passing(control, 40 * MINUTE)
    tell(control, signal("login_failures", value=3, at=control.plane.now()))
    passing(control, 29 * MINUTE, every=60)
    assert overlays(control) == {"signals/burst/tanaka/1": "acr:phr"}

    passing(control, MINUTE)

    assert overlays(control) == {}
    with control.store.reading(TENANT) as tx:
        assert tx.signals.get("signals/burst/tanaka") is None


def test_a_risk_is_forgotten_when_no_signal_that_old_is_taken_any_more(control: Control) -> None:
    tell(control, signal(level="low"))
    passing(control, ACCEPTED, every=HOUR)
    with control.store.reading(TENANT) as tx:
        assert tx.signals.get("signals/user-risk/tanaka") is not None
    passing(control, MINUTE, every=60)

    with control.store.reading(TENANT) as tx:
        assert tx.signals.get("signals/user-risk/tanaka") is None


def test_s6_an_exercise_is_declared_as_one_and_mixes_with_nothing(control: Control) -> None:
    tell(control, signal(level="high", exercise=True), signal(level="low"))

    told = [(data["id"], data["effect"], data["exercise"]) for _, data in control.announced()]
    assert sorted(told) == [
        ("signals/exercise:user-risk/tanaka/1", "threshold:+60", True),
        ("signals/exercise:user-risk/tanaka/2", "deny", True),
        (ONE, "threshold:+5", False),
    ]


def test_s5_what_was_told_before_does_nothing_under_another_key_and_at_another_time(control: Control) -> None:
    some = [signal(level="high"), signal("login_failures", value=10)]
    tell(control, *some)
    control.announced()
    control.clock.advance(300)

    again = tell(control, *some)

    assert (again["taken"], again["overlays"]) == (2, [])
    assert control.announced() == []


def test_what_no_rule_takes_is_said_and_stops_nothing_else(control: Control) -> None:
    answer = tell(
        control,
        signal("weather", value=3),
        signal(principal="device:laptop-1", level="high"),
        signal(value=3),
        signal("login_failures", level="high"),
        signal("login_failures", value=99, at=NOW - 601),
        signal(level="high", at=NOW + 61),
        signal("edr_alert", "device:laptop-1", level="high", at=NOW - 3 * HOUR),
    )

    assert [one["code"] for one in answer["ignored"]] == [
        "SIGNAL_UNRULED", "SIGNAL_UNRULED", "SIGNAL_SHAPE", "SIGNAL_SHAPE", "SIGNAL_TIME", "SIGNAL_TIME"
    ]  # fmt: skip
    assert overlays(control) == {
        "signals/edr/laptop-1/1": "threshold:+60",
        "signals/edr/laptop-1/2": "ceiling:0",
        "signals/edr/laptop-1/3": "obligation:no_download",
    }


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"level": "severe"}, 422),
        ({}, 422),
        ({"level": "high", "value": 3}, 422),
        ({"value": -1}, 422),
        ({"value": 3.5}, 422),
        ({"value": "3"}, 422),
        ({"level": "high", "at": "now"}, 422),
        ({"level": "high", "principal": "tanaka"}, 422),
        ({"level": "high", "principal": "group:staff"}, 422),
        ({"level": "high", "principal": "subject:x and label:C9"}, 422),
        ({"level": "high", "id": ""}, 422),
        ({"level": "high", "surprise": 1}, 422),
    ],
)
def test_a_signal_of_another_shape_is_refused_with_its_batch(
    control: Control, members: dict[str, Any], status: int
) -> None:
    answer = control.call("POST", "/v1/signals", {"signals": [signal(level="high"), signal() | members]}, who="edr")

    assert answer.status_code == status
    assert overlays(control) == {}


def test_a_batch_has_an_end(control: Control) -> None:
    some = [signal(level="low") for _ in range(201)]

    assert control.call("POST", "/v1/signals", {"signals": some}, who="edr").status_code == 422
    assert control.call("POST", "/v1/signals", {"signals": []}, who="edr").status_code == 422


def test_the_key_of_a_connector_opens_nothing_else(control: Control) -> None:
    routes = {
        (method, str(getattr(route, "path", "")))
        for route in control.app.routes
        for method in getattr(route, "methods", ())
    }
    opened = [
        (method, path)
        for method, path in sorted(routes - set(PUBLIC))
        if control.call(method, path.replace("{", "x").replace("}", ""), who="edr").status_code not in (401, 403)
    ]

    assert opened == [("POST", "/v1/signals")]


@pytest.mark.parametrize(
    ("who", "status"), [("viewer", 403), ("helpdesk", 403), ("approver", 403), ("security", 200), ("owner", 200)]
)
def test_people_tell_signals_as_the_security_team(control: Control, who: str, status: int) -> None:
    assert control.call("POST", "/v1/signals", {"signals": [signal(level="low")]}, who=who).status_code == status


def test_a_person_takes_all_of_it_back_and_it_stays_away_until_something_new_is_noticed(control: Control) -> None:
    late = signal(level="high", at=NOW - 5)
    tell(control, signal(level="high", at=NOW - 9))

    gone = control.call(
        "DELETE", f"/v1/situation/overlays/{TWO.replace('/', '%2F')}?reason=password+reset", who="security"
    )
    control.clock.advance(1)
    tell(control, late)
    passing(control, HOUR)

    assert (gone.status_code, overlays(control)) == (204, {})
    removed = [
        (event.object, event.actor, event.reason) for event in control.audit() if event.action.endswith("removed")
    ]
    assert removed == [
        (f"overlay:{TWO}", "admin:security", "password reset"),
        (f"overlay:{ONE}", "admin:security", "password reset"),
    ]
    tell(control, signal(level="high", at=control.plane.now()))
    assert overlays(control) == {ONE: "threshold:+60", TWO: "deny"}


def test_an_overlay_of_which_nothing_is_known_any_more_is_taken_back_as_any_other(control: Control) -> None:
    tell(control, signal(level="high"))
    with control.store.writing(TENANT) as tx:
        tx.signals.remove("signals/user-risk/tanaka")

    control.call("DELETE", f"/v1/situation/overlays/{TWO.replace('/', '%2F')}", who="security")

    assert overlays(control) == {ONE: "threshold:+60"}


def test_nobody_declares_an_overlay_of_signals_by_hand(control: Control) -> None:
    record = {"id": ONE, "scope": "tenant", "effect": "threshold:+1", "not_before": NOW, "not_after": NOW + 60}
    answer = control.call("PUT", f"/v1/situation/overlays/{ONE.replace('/', '%2F')}", record, who="owner")

    assert (answer.status_code, answer.json()["code"]) == (422, "OVERLAY_ID")


def test_names_that_are_no_ids_have_overlays_of_their_own(control: Control) -> None:
    people = ["subject:https://idp|a", "subject:https://idp|b", "subject:田中", "subject:" + "x" * 256]
    tell(control, *(signal(principal=one, level="low") for one in people))

    held = control.call("GET", "/v1/situation").json()["overlays"]
    assert sorted(one["scope"] for one in held) == sorted(people)


def test_a_rule_that_is_no_more_renews_nothing_and_loosens_nothing_before_the_end(control: Control) -> None:
    tell(control, signal(level="high"))
    control.plane.extras[RULES] = load_signals("risks: []\n", where="signals.yaml")

    passing(control, 3 * HOUR)
    assert overlays(control) == {ONE: "threshold:+60", TWO: "deny"}
    passing(control, HOUR)

    assert overlays(control) == {}
    assert control.audit()[-1].reason == "by time: there is no rule `user-risk`"


def test_signals_leave_room_for_people_and_declare_the_rest_when_there_is_some(control: Control) -> None:
    most = MOST["overlay"] - FOR_PEOPLE
    with control.store.writing(TENANT) as tx:
        for number in range(most - 1):
            tx.situation.put("overlay", f"o{number}", b'{"id":"o%d"}' % number)

    (said,) = tell(control, signal(level="high"))["ignored"]
    assert said["code"] == "SIGNALS_FULL"
    with control.store.reading(TENANT) as tx:
        assert len(tx.situation.all("overlay")) == most
    with control.store.writing(TENANT) as tx:
        tx.situation.put("overlay", "o0", None)
    passing(control, 120, every=60)

    with control.store.reading(TENANT) as tx:
        assert {ONE, TWO} <= tx.situation.all("overlay").keys()


def test_s4_a_backlog_in_any_order_comes_to_the_same() -> None:
    some = [
        signal(level="high", at=NOW - 9), signal(level="cleared", at=NOW - 8), signal(level="medium", at=NOW - 7),
        signal("login_failures", value=10), signal("login_failures", value=1, at=NOW - 1),
    ]  # fmt: skip
    found = []
    for order in itertools.islice(itertools.permutations(some), 0, 120, 17):
        with Control(extras={RULES: load_signals(WRITTEN, where="signals.yaml")}) as one:
            for each in order:
                tell(one, each, who="security")
            found.append((overlays(one), one.call("GET", "/v1/situation").json()["overlays"]))

    assert all(one == found[0] for one in found)
