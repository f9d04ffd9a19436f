"""A release goes out ring by ring: nothing older is refused before everybody has it, and what hurts is taken back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.control_support import TENANT
from tests.publishing_support import Publishing, bundle_of
from zt_engine.control_plane.rollouts import HEARD_SECONDS
from zt_engine.control_plane.snapshot import release_data, situation_data
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import MANIFEST
from zt_engine.core.guards import MAX_CHANGES, Change, ShadowReport
from zt_engine.core.release import read_notice

PLAN: dict[str, Any] = {
    "rings": [{"name": "canary", "sidecars": ["edge-1"]}, {"name": "all", "percent": 100}],
}
HURT = Change(service="portal", before="allow", after="deny", reason="MFA", verified=True, count=9, samples=("d1",))
BAD = ShadowReport(
    ref_seq=1, began_at=1, keys=500, decided=500, subjects=50, newly_denied=20, p99_us=9, changes=(HURT,)
)


@pytest.fixture
def control() -> Iterator[Publishing]:
    with Publishing() as one:
        one.publish("1")
        yield one


def staged(control: Publishing, version: str = "2", **plan: Any) -> Any:
    return control.publish(version, extra={"staged": {**PLAN, **plan}})


def step(control: Publishing, what: str, who: str = "security") -> Any:
    return control.call("POST", f"/v1/rollouts/1/{what}", {"reason": "looks good"}, who=who)


def told_anew(control: Publishing) -> list[dict[str, Any]]:
    with control.store.reading(TENANT) as tx:
        return [msgspec.json.decode(data) for _, data in release_data(tx)]


def test_a_staged_release_raises_the_least_number_with_its_last_ring(control: Publishing) -> None:
    assert staged(control).status_code == 201
    assert control.releases.least() == 1
    one, two = told_anew(control)
    assert (one.get("reached"), two["reached"]) == (None, ["canary"])
    assert read_notice(msgspec.json.encode(two)).staged is not None

    assert step(control, "advance").json()["state"] == "complete"
    assert control.releases.least() == 2
    assert [(told["seq"], told["reached"]) for told in told_anew(control)] == [(2, ["canary", "all"])]


def test_a_breach_takes_a_release_back_to_the_one_before(control: Publishing) -> None:
    staged(control)
    key = control.join("edge-1")
    digest = hashlib.sha256(bundle_of("2")).hexdigest()
    watched = control.as_sidecar(key, "GET", "/v1/shadow").json()["items"]
    assert (watched[0]["bundle"], watched[0]["object"]) == (digest, "release:2")
    assert watched[0]["before"] == hashlib.sha256(bundle_of("1")).hexdigest()
    body = msgspec.to_builtins(BAD)
    del body["ref_seq"]
    control.clock.advance(HEARD_SECONDS)
    assert control.as_sidecar(key, "PUT", "/v1/shadow/1", body).status_code == 204

    found = control.call("GET", "/v1/rollouts/1").json()
    assert (found["state"], found["incident"]["breaches"][0]["samples"]) == ("aborted", ["d1"])
    assert (2, "rolled_back") in control.states()
    assert control.call("GET", "/v1/releases/next").json()["active"]["seq"] == 1
    with control.store.reading(TENANT) as tx:
        anew = dict(situation_data(tx, control.plane.now()))
    assert msgspec.json.decode(anew["rollout.aborted"])["ref_seq"] == 1  # for those who were away


def test_another_release_to_everybody_ends_the_one_under_way(control: Publishing) -> None:
    staged(control)
    assert control.publish("3").status_code == 201
    control.clock.advance(10)
    control.origin.turn()

    assert control.call("GET", "/v1/rollouts/1").json()["why"] == "superseded"
    assert control.states()[:2] == [(3, "released"), (2, "released")]  # nobody is sent back to the first


def test_a_plan_that_cannot_be_carried_out_releases_nothing(control: Publishing) -> None:
    refused = control.publish("2", extra={"staged": {"rings": []}})

    assert (refused.status_code, refused.json()["code"]) == (422, "ROLLOUT_PLAN")
    assert control.releases.least() == 1
    assert control.call("GET", "/v1/rollouts").json()["items"] == []


def in_force(control: Publishing) -> int:
    return int(control.call("GET", "/v1/releases/next").json()["active"]["seq"])


def test_a_release_that_is_only_watched_is_nobodys_way_back(control: Publishing) -> None:
    assert staged(control, mode="report-only").json()["state"] == "watched"
    assert (in_force(control), control.releases.least()) == (1, 1)
    assert [told["seq"] for told in told_anew(control)] == [1]
    key = control.join("edge-1")
    assert [one["object"] for one in control.as_sidecar(key, "GET", "/v1/shadow").json()["items"]] == ["release:2"]

    control.publish("3")
    with control.store.reading(TENANT) as tx:
        third = tx.releases.get(3)
    assert third is not None
    assert third.way_back == hashlib.sha256(bundle_archive.read(bundle_of("1"))[MANIFEST]).hexdigest()
    control.publish("1")  # the way back: a release that was only watched is not in between
    assert control.states() == [(4, "released"), (3, "rolled_back"), (2, "watched"), (1, "released")]


def test_watching_the_way_back_takes_nothing_out_of_force(control: Publishing) -> None:
    control.publish("2")
    assert staged(control, "1", mode="report-only").json()["state"] == "watched"
    assert control.states() == [(3, "watched"), (2, "released"), (1, "released")]
    step(control, "abort")

    assert control.states()[0] == (3, "withdrawn")
    assert in_force(control) == 2


def test_a_release_to_everybody_ends_the_watching_of_an_older_one(control: Publishing) -> None:
    staged(control, mode="report-only")
    control.publish("3")
    control.clock.advance(10)
    control.origin.turn()

    assert control.call("GET", "/v1/rollouts/1").json()["why"] == "superseded"
    assert control.states() == [(3, "released"), (2, "withdrawn"), (1, "released")]


def test_what_waits_for_approval_goes_on_waiting_beside_one_that_is_only_watched(control: Publishing) -> None:
    control.publish("2loose", approvals_needed=2)
    staged(control, "3", mode="report-only")
    assert control.states()[:2] == [(3, "watched"), (2, "waiting")]


def test_the_status_of_a_staged_release_says_which_rings_have_it(control: Publishing) -> None:
    staged(control)
    keys = {name: control.join(name) for name in ("edge-1", "edge-2")}
    digest = hashlib.sha256(bundle_of("2")).hexdigest()
    control.acknowledge(keys["edge-1"], bundle_seq=2, bundle_digest=digest)
    told = control.call("GET", "/v1/releases/2/status").json()

    assert ([one["name"] for one in told["has"]], told["missing"], told["later"]) == (["edge-1"], [], ["edge-2"])
    assert told["rollout"]["rings"] == [
        {"name": "canary", "reached": True, "sidecars": 1, "has": 1},
        {"name": "all", "reached": False, "sidecars": 2, "has": 1},
    ]
    step(control, "advance")
    told = control.call("GET", "/v1/releases/2/status").json()
    assert [one["name"] for one in told["missing"]] == ["edge-2"]


def test_only_sidecars_report_for_shadows(control: Publishing) -> None:
    staged(control)

    assert control.call("GET", "/v1/shadow", who="owner").status_code == 401
    assert control.call("PUT", "/v1/shadow/1", {}, who="owner").status_code == 401


def test_a_report_that_does_not_read_changes_nothing(control: Publishing) -> None:
    staged(control)
    key = control.join("edge-1")

    refused = control.as_sidecar(key, "PUT", "/v1/shadow/1", {"began_at": -1})
    assert (refused.status_code, refused.json()["code"]) == (422, "ROLLOUT_REPORT")


def test_a_report_with_as_many_changes_as_it_may_hold_is_taken(control: Publishing) -> None:
    staged(control)
    key = control.join("edge-1")
    many = [msgspec.structs.replace(HURT, service=f"service_{n}", samples=("d" * 40,) * 5) for n in range(MAX_CHANGES)]
    body = msgspec.to_builtins(msgspec.structs.replace(BAD, changes=tuple(many), must_allow=tuple(many)))
    del body["ref_seq"]
    control.clock.advance(HEARD_SECONDS)

    assert control.as_sidecar(key, "PUT", "/v1/shadow/1", body).status_code == 204
    assert control.call("GET", "/v1/rollouts/1").json()["state"] == "aborted"
