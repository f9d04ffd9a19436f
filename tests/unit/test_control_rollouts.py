"""Rollouts at the control plane: ring by ring, taken back by people or by guards, and never more than one at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.control_support import NOW, TENANT, Control
from zt_engine.control_plane import rollouts
from zt_engine.control_plane.rollout_keeping import Keeper
from zt_engine.control_plane.shadow_reports import reports_of
from zt_engine.control_plane.snapshot import situation_data
from zt_engine.core.guards import Change, Guards, ShadowReport
from zt_engine.ports.inventory import SidecarRecord

OVERLAY = {"id": "rain", "scope": "tenant", "effect": "deny", "not_before": NOW, "not_after": NOW + 3600}
OWNED = OVERLAY | {"owner": "admin:security"}
RINGS = [{"name": "canary", "sidecars": ["edge-1"]}, {"name": "tokyo", "labels": {"site": "tokyo"}}]
PLAN: dict[str, Any] = {"rings": [*RINGS, {"name": "all", "percent": 100}]}
GOOD = ShadowReport(ref_seq=1, began_at=NOW, keys=500, decided=500, subjects=50, p99_us=900)
HURT = Change(service="portal", before="allow", after="deny", reason="MFA", verified=True, count=9, samples=("d1",))


@pytest.fixture
def control() -> Iterator[Control]:
    with Control() as one:
        yield one


def begin(control: Control, record: Mapping[str, Any] = OVERLAY, kind: str = "overlay", **plan: Any) -> Any:
    body = {"kind": kind, "record": record, "plan": {**PLAN, **plan}, "reason": "storm"}
    return control.call("POST", "/v1/rollouts", body, who="security")


def step(control: Control, what: str, ref_seq: int = 1, who: str = "security") -> Any:
    return control.call("POST", f"/v1/rollouts/{ref_seq}/{what}", {"reason": "looks good"}, who=who)


def tell(control: Control, report: ShadowReport, sidecar: str = "edge-1") -> None:
    with control.store.writing(TENANT) as tx:
        rollouts.report(tx, sidecar, report, now=control.plane.now())


def overlays(control: Control) -> list[str]:
    found = control.call("GET", "/v1/situation").json()["overlays"]
    return [one["id"] for one in found]


def test_an_overlay_goes_out_ring_by_ring_and_holds_for_everybody_in_the_end(control: Control) -> None:
    begun = begin(control)
    assert (begun.status_code, begun.json()["reached"]) == (201, ["canary"])
    assert overlays(control) == []
    assert step(control, "advance").json()["reached"] == ["canary", "tokyo"]
    done = step(control, "advance").json()

    assert done["state"] == "complete"
    assert overlays(control) == ["rain"]
    told = control.announced()
    assert [kind for kind, _ in told] == ["overlay.changed", "rollout.advanced", "rollout.advanced"]
    assert told[0][1]["record"] == OWNED
    assert told[0][1]["staged"]["ref_seq"] == 1
    assert told[2][1] == {"ref_seq": 1, "ring": "all"}
    assert [event.action for event in control.audit()] == [
        "rollout.begun", "rollout.advanced", "rollout.advanced", "rollout.completed",
    ]  # fmt: skip


def test_what_is_taken_back_never_held_and_is_told(control: Control) -> None:
    begin(control)
    taken = step(control, "abort")

    assert taken.json()["state"] == "aborted"
    assert overlays(control) == []
    assert control.announced()[-1] == ("rollout.aborted", {"ref_seq": 1, "reason": "looks good"})
    assert step(control, "advance").json()["code"] == "ROLLOUT_OVER"
    assert step(control, "abort", 9).status_code == 404


def test_a_snapshot_tells_what_is_under_way_with_the_rings_reached(control: Control) -> None:
    begin(control)
    step(control, "advance")

    with control.store.reading(TENANT) as tx:
        told = [json.loads(data) for kind, data in situation_data(tx, NOW) if kind == "overlay.changed"]
    assert told == [{"staged": told[0]["staged"], "record": OWNED, "reached": ["canary", "tokyo"]}]


def test_one_record_has_one_rollout_and_what_is_said_to_everybody_takes_its_place(control: Control) -> None:
    begin(control)
    assert begin(control).json()["code"] == "ROLLOUT_RUNNING"
    now = {**OVERLAY, "effect": "threshold:+5"}
    control.call("PUT", "/v1/situation/overlays/rain", now, who="security")

    assert control.call("GET", "/v1/rollouts").json()["items"][0]["why"] == "superseded"
    assert begin(control).json()["ref_seq"] == 2


@pytest.mark.parametrize(
    ("kind", "record", "code"),
    [
        ("overlay", {**OVERLAY, "severity": "critical"}, "ROLLOUT_NOT_STAGEABLE"),
        ("overlay", {**OVERLAY, "effect": "allow"}, "OVERLAY_EFFECT"),
        ("overlay", {"id": "rain", "removed": True}, "SITUATION_RECORD"),
        ("threat_level", {"threat_level": 3}, "ROLLOUT_NOT_STAGEABLE"),
        ("threat_level", {"threat_level": 9}, "SITUATION_THREAT_LEVEL"),
    ],
)
def test_what_must_hold_at_once_or_does_not_read_is_not_begun(
    control: Control, kind: str, record: dict[str, Any], code: str
) -> None:
    assert begin(control, record, kind).json()["code"] == code
    assert control.announced() == []


def test_a_level_is_raised_by_a_rollout_and_never_lowered(control: Control) -> None:
    assert begin(control, {"threat_level": 2}, "threat_level").status_code == 201
    step(control, "advance")
    step(control, "advance")
    assert control.call("GET", "/v1/situation").json()["threat_level"] == 2

    assert begin(control, {"threat_level": 1}, "threat_level").json()["code"] == "ROLLOUT_LOOSENS"


@pytest.mark.parametrize(
    "plan",
    [{"rings": []}, {"rings": RINGS}, {"dwell": -1}, {"mode": "maybe"}, {"guards": {"newly_denied": 2000}}, {"x": 1}],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(control: Control, plan: dict[str, Any]) -> None:
    assert begin(control, **plan).json()["code"] == "ROLLOUT_PLAN"


def test_only_the_security_team_moves_rollouts(control: Control) -> None:
    begin(control)

    assert step(control, "advance", who="approver").status_code == 403
    assert step(control, "abort", who="viewer").status_code == 403


def test_a_guard_that_does_not_hold_takes_it_back_and_leaves_an_incident(control: Control) -> None:
    begin(control)
    control.clock.advance(rollouts.HEARD_SECONDS)
    tell(control, GOOD)
    tell(control, msgspec.structs.replace(GOOD, newly_denied=10, changes=(HURT,)), "edge-2")

    found = control.call("GET", "/v1/rollouts/1").json()
    assert (found["state"], found["why"]) == ("aborted", "ROLLOUT_BREACH")
    assert found["incident"]["breaches"][0]["guard"] == "newly_denied"
    assert found["incident"]["breaches"][0]["samples"] == ["d1"]
    assert control.announced()[-1][0] == "rollout.aborted"
    incident = next(event for event in control.audit() if event.action == "incident.recorded")
    assert json.loads(incident.after)["breaches"][0]["of"] == 100
    assert incident.actor == "system"


BAD = msgspec.structs.replace(GOOD, newly_denied=50, p99_us=10**6, must_allow=(HURT,))


def state(control: Control) -> str:
    return str(control.call("GET", "/v1/rollouts/1").json()["state"])


def test_one_sidecar_of_many_takes_nothing_back_and_yet_nothing_goes_on_by_itself(control: Control) -> None:
    begin(control, dwell=60)
    tell(control, GOOD, "edge-2")
    tell(control, GOOD, "edge-3")
    tell(control, BAD)
    control.clock.advance(61)
    Keeper(control.plane).turn(control.clock.now())

    found = control.call("GET", "/v1/rollouts/1").json()
    assert (found["state"], found["reached"]) == ("running", ["canary"])
    assert [one["guard"] for one in found["suspicions"]] == ["newly_denied", "p99", "must_allow"]
    tell(control, BAD, "edge-2")
    assert state(control) == "aborted"


def test_whoever_reports_first_is_not_believed_alone_before_the_others_could(control: Control) -> None:
    begin(control)
    tell(control, BAD)
    assert state(control) == "running"
    tell(control, GOOD, "edge-2")
    tell(control, GOOD, "edge-3")
    control.clock.advance(rollouts.HEARD_SECONDS)
    Keeper(control.plane).turn(control.clock.now())

    assert state(control) == "running"


def test_a_canary_of_one_that_alone_reports_is_believed(control: Control) -> None:
    begin(control)
    tell(control, BAD)
    control.clock.advance(rollouts.HEARD_SECONDS)
    Keeper(control.plane).turn(control.clock.now())

    assert state(control) == "aborted"


def test_a_flood_of_denied_strangers_takes_nothing_back(control: Control) -> None:
    begin(control)
    flood = Change(service="portal", before="step_up", after="deny", verified=False, count=10**6)
    tell(control, msgspec.structs.replace(GOOD, keys=10**6, decided=10**6, changes=(flood,)))

    assert control.call("GET", "/v1/rollouts/1").json()["state"] == "running"


def test_a_sidecar_that_was_cut_off_is_believed_no_more(control: Control) -> None:
    begin(control)
    hurt = msgspec.structs.replace(GOOD, newly_denied=40, changes=(HURT,))
    with control.store.writing(TENANT) as tx:
        tx.sidecars.put(SidecarRecord(id="edge-1", public_key={}, joined_at=NOW, revoked_at=NOW + 1))
    tell(control, hurt)

    assert control.call("GET", "/v1/rollouts/1").json()["state"] == "running"
    tell(control, hurt, "edge-2")
    control.clock.advance(rollouts.HEARD_SECONDS + 1)
    Keeper(control.plane).turn(control.clock.now())
    assert control.call("GET", "/v1/rollouts/1").json()["state"] == "aborted"


def test_what_shadows_said_of_a_rollout_goes_with_it(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "KEPT", 0)
    begin(control)
    tell(control, GOOD)
    step(control, "abort")
    begin(control, {**OVERLAY, "id": "snow"})

    with control.store.reading(TENANT) as tx:
        assert reports_of(tx, 1, now=control.plane.now()) == []
        assert [held.staged.ref_seq for held in rollouts.newest(tx)] == [2]


def test_it_goes_on_by_itself_when_it_was_watched_long_enough_and_guards_hold(control: Control) -> None:
    begin(control, dwell=60)
    keeper = Keeper(control.plane)
    control.clock.advance(61)
    keeper.turn(control.clock.now())
    assert control.call("GET", "/v1/rollouts/1").json()["reached"] == ["canary"]  # nobody has seen anything

    tell(control, GOOD)
    control.clock.advance(6)
    keeper.turn(control.clock.now())
    assert control.call("GET", "/v1/rollouts/1").json()["reached"] == ["canary", "tokyo"]
    control.clock.advance(10)
    keeper.turn(control.clock.now())
    assert control.call("GET", "/v1/rollouts/1").json()["reached"] == ["canary", "tokyo"]
    control.clock.advance(60)
    keeper.turn(control.clock.now())
    assert control.call("GET", "/v1/rollouts/1").json()["state"] == "complete"
    assert overlays(control) == ["rain"]


def test_what_is_only_watched_reaches_nobody(control: Control) -> None:
    begin(control, mode="report-only", dwell=1)
    tell(control, msgspec.structs.replace(GOOD, newly_denied=40))
    control.clock.advance(60)
    Keeper(control.plane).turn(control.clock.now())

    found = control.call("GET", "/v1/rollouts/1").json()
    assert (found["state"], found["reached"]) == ("running", ["canary"])
    assert step(control, "advance").json()["code"] == "ROLLOUT_REPORT_ONLY"


def test_the_rollout_that_the_documentation_shows_can_be_begun(control: Control) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "rollout.md").read_text(encoding="utf-8")
    shown = json.loads(page.split("```json\n", 1)[1].split("```", 1)[0])
    begun = control.call("POST", "/v1/rollouts", shown, who="security")

    assert (begun.status_code, begun.json()["reached"]) == (201, ["canary"])


def test_the_guards_that_the_documentation_shows_have_these_defaults() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "rollout.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+|none) \|", page.split("## Guards", 1)[1], re.MULTILINE))

    plain = {name: value for name, value in msgspec.to_builtins(Guards()).items() if name in rows}
    assert rows == {name: "none" if value == () else str(value) for name, value in plain.items()}
    assert len(rows) == 5
