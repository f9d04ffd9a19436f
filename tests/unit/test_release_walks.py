"""Ways a publisher would go back or forth without two people, one step at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.control_support import NOW, TENANT
from tests.publishing_support import LOOSE, Publishing, bundle_of, opened
from zt_engine.control_plane.snapshot import release_data

RINGS: dict[str, Any] = {
    "staged": {"rings": [{"name": "canary", "sidecars": ["edge-1"]}, {"name": "all", "percent": 100}]}
}


@pytest.fixture
def control() -> Iterator[Publishing]:
    with Publishing() as one:
        yield one


def content(version: str) -> str:
    return opened(bundle_of(version)).content_digest


def in_force(control: Publishing) -> int:
    return int(control.call("GET", "/v1/releases/next").json()["active"]["seq"])


def step(control: Publishing, ref_seq: int, what: str) -> None:
    assert control.call("POST", f"/v1/rollouts/{ref_seq}/{what}", {"reason": "r"}, who="security").is_success


def refusal(answer: Any) -> Any:
    return answer.json().get("code")


def test_a_rollback_that_is_staged_and_taken_back_leaves_in_force_what_it_was_to_replace(control: Publishing) -> None:
    for version in ("1", "2", "3"):
        control.publish(version)
    assert control.publish("2", extra=RINGS).json()["state"] == "released"
    assert [one.get("reached") for one in told_anew(control)] == [None, ["canary"]]
    assert [one["seq"] for one in told_anew(control)] == [3, 4]  # whoever is outside the ring has the third
    assert control.releases.least() == 3
    step(control, 1, "abort")

    assert in_force(control) == 3
    assert refusal(control.publish("1")) is None  # a release like any other: the third is compared with it
    assert control.states()[0] == (5, "released")


def test_nobody_walks_back_two_steps_over_a_rollback_that_was_taken_back(control: Publishing) -> None:
    control.publish("1")
    control.publish(f"1{LOOSE}", approved_by=("yamada", "suzuki"), approvals_needed=2)
    control.publish("2")
    control.publish("3")
    control.publish("2", extra=RINGS)
    step(control, 1, "abort")

    assert refusal(control.publish(f"1{LOOSE}", way_back=content("2"))) == "RELEASE_CONFLICT"
    assert refusal(control.publish(f"1{LOOSE}")) == "RELEASE_APPROVALS"


def test_a_rollback_that_reached_everybody_is_written_down_as_one(control: Publishing) -> None:
    control.publish("1")
    control.publish("2")
    control.publish("1", extra=RINGS)
    step(control, 1, "advance")

    assert control.states() == [(3, "released"), (2, "rolled_back"), (1, "released")]


def test_what_was_rolled_back_does_not_come_forth_by_a_renewal_in_between(control: Publishing) -> None:
    control.publish("1")
    control.publish(f"2{LOOSE}", approved_by=("yamada", "suzuki"), approvals_needed=2)
    assert control.publish("1").json()["state"] == "released"  # the way back
    control.publish("1", way_back=content(f"2{LOOSE}"), not_after=NOW + 40 * 86_400)  # the same, for longer

    assert refusal(control.publish(f"2{LOOSE}")) == "RELEASE_APPROVALS"


def test_a_renewal_is_approved_as_what_it_renews(control: Publishing) -> None:
    """An approver whose key was stolen is taken out: what they signed does not go on without approvals."""
    control.publish("1")
    control.publish(f"2{LOOSE}", approved_by=("yamada", "suzuki"), approvals_needed=2)

    for way_back in (content("1"), content(f"2{LOOSE}")):
        assert refusal(control.publish(f"2{LOOSE}", way_back=way_back)) == "RELEASE_APPROVALS"
    again = control.publish(f"2{LOOSE}", way_back=content("1"), approvals_needed=2, approved_by=("yamada", "suzuki"))
    assert again.json()["state"] == "released"


def test_what_waits_is_not_compared_with_what_was_taken_back_meanwhile(control: Publishing) -> None:
    control.publish("1")
    control.publish(f"2{LOOSE}", approved_by=("yamada", "suzuki"), approvals_needed=2, extra=RINGS)
    waiting = control.publish(f"3{LOOSE}", approvals_needed=2)
    assert waiting.json()["state"] == "waiting"
    step(control, 1, "abort")

    assert in_force(control) == 1
    assert control.states()[0][1] == "refused"


def test_a_rollout_does_not_go_on_before_its_release_is_approved(control: Publishing) -> None:
    control.publish("1")
    control.publish(f"2{LOOSE}", approvals_needed=2, extra=RINGS)
    answer = control.call("POST", "/v1/rollouts/1/advance", {"reason": "r"}, who="security")

    assert answer.status_code == 409
    assert refusal(answer) == "ROLLOUT_WAITING"


def test_no_release_goes_out_on_top_of_one_that_may_be_taken_back(control: Publishing) -> None:
    """Taken back one after the other, both would leave the sidecars of their rings with nothing that decides."""
    control.publish("1")
    control.publish("2", extra=RINGS)

    assert refusal(control.publish("3", extra=RINGS)) == "ROLLOUT_RUNNING"
    assert control.publish("4").json()["state"] == "released"
    assert control.publish("5", extra=RINGS).json()["state"] == "released"


def told_anew(control: Publishing) -> list[dict[str, Any]]:
    with control.store.reading(TENANT) as tx:
        return [msgspec.json.decode(data) for _, data in release_data(tx)]
