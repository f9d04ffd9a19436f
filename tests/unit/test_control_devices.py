"""What administrators do to devices: who may, what is told to whom in which order, and what is done once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, get_args

import msgspec
import pytest

from device_inventory.device_json import read_device
from device_inventory.enrollment import Enrollment
from device_inventory.invitation import Invitation
from tests.control_support import NOW, ROLES, TENANT, Control, a_device, held_key
from zt_engine.control_plane.access import PERMISSIONS, Permission
from zt_engine.control_plane.devices import PERMISSION
from zt_engine.control_plane.ledger import BRIDGE

REASON = {"reason": "left on a train"}


@pytest.fixture
def control() -> Iterator[Control]:
    with Control() as one:
        yield one


def enrolled(control: Control, *, invited_by: str = "admin:helpdesk", state: str = "waiting") -> None:
    """A device that has reported and waits for its approval, with the enrollment and invitation it came from."""
    control.put(a_device(status="enrolled", approval_required=True, version=3, report_received_at=NOW - 60))
    invitation = Invitation(
        tenant=TENANT, id="inv-1", code_digest="0" * 64, issuer="https://idp.example", subject="tanaka",
        assigned="tanaka", ownership="corp", invited_by=invited_by, created_at=NOW - 100, not_after=NOW + 100,
        state="used", enrollment="enr-1",
    )  # fmt: skip
    enrollment = Enrollment(
        tenant=TENANT, id="enr-1", invitation="inv-1", issuer="https://idp.example", subject="tanaka", state=state,
        secret_digest="0" * 64, device_id="laptop-1", started_at=NOW - 100, changed_at=NOW - 50, not_after=NOW + 100,
    )  # fmt: skip
    with control.store.writing(TENANT) as tx:
        tx.invitations.put(invitation)
        tx.enrollments.put(enrollment)
    control.announced()


def enrollment_state(control: Control) -> str:
    with control.store.reading(TENANT) as tx:
        found = tx.enrollments.get("enr-1")
    assert found is not None
    return found.state


# -- who may


def test_each_role_has_what_the_one_before_it_has() -> None:
    sets = [PERMISSIONS[role] for role in ROLES]

    assert all(smaller < larger for smaller, larger in pairwise(sets))
    assert sets[-1] == set(get_args(Permission))


@pytest.mark.parametrize("operation", sorted(PERMISSION))
def test_an_operation_is_refused_to_every_role_without_its_permission(control: Control, operation: str) -> None:
    control.put(a_device())
    control.announced()
    body = REASON | ({"to": "suzuki"} if operation == "transfer" else {})
    body |= {"ends_at": NOW + 60} if operation == "end" else {}
    refused = [role for role in ROLES if PERMISSION[operation] not in PERMISSIONS[role]]

    answers = [control.call("POST", f"/v1/devices/laptop-1/{operation}", body, who=role) for role in refused]

    assert refused
    assert {answer.status_code for answer in answers} == {403}
    assert {answer.json()["code"] for answer in answers} == {"AUTH_FORBIDDEN"}
    assert control.device("laptop-1") == a_device()
    assert control.announced() == []


# -- what is told


@pytest.mark.parametrize("operation", ["lost", "revoke", "retire"])
def test_what_ends_a_device_is_told_as_a_revocation_first_and_as_its_record_second(
    control: Control, operation: str
) -> None:
    control.put(a_device())
    control.announced()

    control.call("POST", f"/v1/devices/laptop-1/{operation}", REASON)
    told = control.announced()

    kinds = [kind for kind, _ in told]
    assert kinds[-1] == "device.changed"
    assert set(kinds[:-1]) == {"revocation.added"}
    assert told[0][1]["kind"] == "device"
    assert told[0][1]["key"] == "laptop-1"
    assert told[-1][1]["status"] == {"lost": "lost", "revoke": "revoked", "retire": "retired"}[operation]
    read_device(json.dumps(told[-1][1]).encode())


def test_a_lost_device_is_revoked_only_until_its_record_is_everywhere_since_it_may_be_found(control: Control) -> None:
    control.put(a_device())
    control.announced()
    control.call("POST", "/v1/devices/laptop-1/lost", REASON)

    told = dict(control.announced())

    assert told["revocation.added"] == {"kind": "device", "key": "laptop-1", "until": NOW + BRIDGE}


def test_a_revoked_device_takes_its_certificates_with_it_by_digest_and_by_number(control: Control) -> None:
    control.put(a_device(keys=(held_key("one"), held_key("two", not_after=NOW + 999))))
    control.announced()
    control.call("POST", "/v1/devices/laptop-1/revoke", REASON)

    revoked = [data for kind, data in control.announced() if kind == "revocation.added"]
    certificates = {(one["key"], one["until"]) for one in revoked if one["kind"] == "cert"}

    one, two = held_key("one"), held_key("two")
    assert certificates == {
        (one.x5t, NOW + 86_400), (f"CN=Device CA|{one.serial}", NOW + 86_400),
        (two.x5t, NOW + 999), (f"CN=Device CA|{two.serial}", NOW + 999),
    }  # fmt: skip


def test_a_revocation_is_held_for_sidecars_that_come_later(control: Control) -> None:
    control.put(a_device())
    control.call("POST", "/v1/devices/laptop-1/revoke", REASON)

    held = control.call("GET", "/v1/situation").json()["revocations"]

    assert ("device", "laptop-1") in {(one["kind"], one["key"]) for one in held}


@pytest.mark.parametrize(
    ("operation", "before", "status", "action"),
    [
        ("quarantine", "active", "quarantined", "device.quarantined"),
        ("release", "quarantined", "active", "device.released"),
        ("lost", "active", "lost", "device.lost"),
        ("recover", "lost", "quarantined", "device.recovered"),
        ("revoke", "active", "revoked", "device.revoked"),
        ("retire", "quarantined", "retired", "device.retired"),
        ("transfer", "active", "quarantined", "device.transferred"),
    ],
)
def test_every_change_is_audited_with_who_why_before_and_after(
    control: Control, operation: str, before: str, status: str, action: str
) -> None:
    control.put(a_device(status=before))
    body = REASON | ({"to": "suzuki"} if operation == "transfer" else {})

    answer = control.call("POST", f"/v1/devices/laptop-1/{operation}", body)

    assert (answer.status_code, answer.json()["status"]) == (200, status)
    event = control.audit()[-1]
    assert (event.actor, event.action, event.object) == ("admin:owner", action, "device:laptop-1")
    assert event.reason == REASON["reason"]
    assert json.loads(event.before)["status"] == before
    assert json.loads(event.after)["status"] == status


@pytest.mark.parametrize(
    ("operation", "before", "code"),
    [
        ("recover", "active", "DEVICE_EVENT_REFUSED"),
        ("release", "active", "DEVICE_EVENT_REFUSED"),
        ("release", "revoked", "DEVICE_EVENT_REFUSED"),
        ("approve", "active", "APPROVAL_NOT_PENDING"),
        ("lost", "retired", "DEVICE_EVENT_REFUSED"),
    ],
)
def test_what_the_life_cycle_does_not_know_changes_nothing(
    control: Control, operation: str, before: str, code: str
) -> None:
    control.put(a_device(status=before))
    control.announced()
    audited = len(control.audit())

    answer = control.call("POST", f"/v1/devices/laptop-1/{operation}", REASON)

    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert control.device("laptop-1").version == 1
    assert control.announced() == []
    assert len(control.audit()) == audited


# -- a second person


def test_a_second_person_approves_and_the_enrollment_is_complete(control: Control) -> None:
    enrolled(control)

    answer = control.call("POST", "/v1/devices/laptop-1/approve", REASON, who="approver")

    assert (answer.status_code, answer.json()["status"]) == (200, "active")
    assert control.device("laptop-1").approved_by == "approver"
    assert enrollment_state(control) == "complete"
    assert [kind for kind, _ in control.announced()] == ["device.changed"]


def test_whoever_invited_the_holder_is_no_second_person(control: Control) -> None:
    enrolled(control, invited_by="admin:approver")

    answer = control.call("POST", "/v1/devices/laptop-1/approve", REASON, who="approver")

    assert (answer.status_code, answer.json()["code"]) == (403, "APPROVER_IS_INVITER")
    assert control.device("laptop-1").approved_by == ""


@pytest.mark.parametrize("alias", ["admin:approver", "person:https://idp.example|yamada"])
def test_whoever_invited_under_another_name_is_no_second_person_either(control: Control, alias: str) -> None:
    enrolled(control, invited_by=alias)
    control.administrators.add("yamada", "approver", "admin:approver", "person:https://idp.example|yamada")

    answer = control.call("POST", "/v1/devices/laptop-1/approve", REASON, who="yamada")

    assert answer.json()["code"] == "APPROVER_IS_INVITER"


def test_whoever_invited_with_a_key_and_approves_signed_in_is_no_second_person(control: Control) -> None:
    # One person: the key `ops`, and the account `yamada`. Neither credential knows the other one's own name.
    control.administrators.add("ops", "helpdesk", "yamada")
    control.administrators.add("signed-in", "approver", "yamada", "person:https://idp.example|yamada")
    wanted = {"subject": "tanaka", "issuer": "https://idp.example", "ownership": "corp", "approval": True}
    made = control.call("POST", "/v1/invitations", wanted, who="ops").json()["id"]
    enrolled(control)
    with control.store.writing(TENANT) as tx:
        invitation = tx.invitations.get(made)
        enrollment = tx.enrollments.get("enr-1")
        assert invitation is not None and enrollment is not None
        tx.invitations.put(msgspec.structs.replace(invitation, state="used", enrollment="enr-1"))
        tx.enrollments.put(msgspec.structs.replace(enrollment, invitation=made))

    answer = control.call("POST", "/v1/devices/laptop-1/approve", REASON, who="signed-in")

    assert (answer.status_code, answer.json()["code"]) == (403, "APPROVER_IS_INVITER")


def test_the_holder_is_no_second_person_even_with_a_key_of_another_name(control: Control) -> None:
    enrolled(control)
    control.administrators.add("chief", "owner", "tanaka")

    answer = control.call("POST", "/v1/devices/laptop-1/approve", REASON, who="chief")

    assert (answer.status_code, answer.json()["code"]) == (403, "APPROVER_IS_HOLDER")


@pytest.mark.parametrize("alias", ["tanaka", "person:https://idp.example|tanaka"])
def test_a_holder_does_not_approve_the_device_they_enrolled_by_giving_it_to_somebody_first(
    control: Control, alias: str
) -> None:
    enrolled(control)
    control.administrators.add("chief", "approver", alias)
    given = control.call("POST", "/v1/devices/laptop-1/transfer", REASON | {"to": "suzuki"}, who="chief")
    again = control.call("POST", "/v1/devices/laptop-1/transfer", REASON | {"to": "sato"}, who="security")

    answer = control.call("POST", "/v1/devices/laptop-1/approve", REASON, who="chief")

    assert (given.status_code, again.status_code) == (200, 200)
    assert (answer.status_code, answer.json()["code"]) == (403, "APPROVER_IS_HOLDER")
    assert control.device("laptop-1").approved_by == ""


def test_whoever_gave_a_device_to_its_holder_does_not_approve_it_under_any_name(control: Control) -> None:
    enrolled(control)
    control.administrators.add("signed-in", "approver", "admin:approver")
    control.call("POST", "/v1/devices/laptop-1/transfer", REASON | {"to": "suzuki"}, who="approver")

    refused = [
        control.call("POST", "/v1/devices/laptop-1/approve", REASON, who=who) for who in ("approver", "signed-in")
    ]
    other = control.call("POST", "/v1/devices/laptop-1/approve", REASON, who="security")

    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(403, "APPROVER_IS_GIVER")}
    assert (other.status_code, control.device("laptop-1").approved_by) == (200, "security")


def test_whoever_answers_for_a_contractors_device_does_not_approve_it(control: Control) -> None:
    control.put(
        a_device(status="enrolled", approval_required=True, kind="contractor", sponsor="suzuki", ends_at=NOW + 9)
    )
    control.administrators.add("chief", "approver", "suzuki")

    answer = control.call("POST", "/v1/devices/laptop-1/approve", REASON, who="chief")

    assert (answer.status_code, answer.json()["code"]) == (403, "APPROVER_IS_HOLDER")
    assert control.device("laptop-1").approved_by == ""


def test_an_enrollment_ends_with_the_device_that_came_from_it(control: Control) -> None:
    enrolled(control)

    control.call("POST", "/v1/devices/laptop-1/revoke", REASON)

    assert enrollment_state(control) == "refused"


# -- ends


def test_the_end_of_a_contractors_device_can_be_moved_but_not_taken_away(control: Control) -> None:
    control.put(a_device(kind="contractor", sponsor="suzuki", ends_at=NOW + 100))
    control.announced()

    moved = control.call("POST", "/v1/devices/laptop-1/end", REASON | {"ends_at": NOW + 50})
    endless = control.call("POST", "/v1/devices/laptop-1/end", REASON | {"ends_at": None})
    past = control.call("POST", "/v1/devices/laptop-1/end", REASON | {"ends_at": NOW - 50})

    assert moved.json()["ends_at"] == NOW + 50
    assert [endless.json()["code"], past.json()["code"]] == ["DEVICE_END", "DEVICE_END"]
    (told,) = control.announced()
    assert {key["not_after"] for key in told[1]["keys"]} == {NOW + 50}


# -- everything that is held


def test_everything_that_is_held_is_shown_with_its_history(control: Control) -> None:
    control.put(a_device())
    control.call("POST", "/v1/devices/laptop-1/quarantine", REASON)

    shown: dict[str, Any] = control.call("GET", "/v1/devices/laptop-1", who="viewer").json()

    assert shown["status"] == "quarantined"
    assert shown["facts"]["device.key_protection"]["age"] == 60
    assert [event["action"] for event in shown["events"]] == ["device.quarantined", "device.enrolled"]
    assert shown["keys"][0]["x5t"] == held_key("laptop-1").x5t


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=lost", ["b"]),
        ("ownership=byod", ["c"]),
        ("owner=sato", ["c"]),
        ("q=THINK", ["b"]),
        ("status=lost&ownership=byod", []),
        ("", ["a", "b", "c"]),
    ],
)
def test_devices_are_found_by_what_is_asked_for(control: Control, query: str, found: list[str]) -> None:
    control.put(a_device("a"))
    control.put(a_device("b", status="lost", name="ThinkPad of Tanaka"))
    control.put(a_device("c", ownership="byod", owner="sato", assigned=("sato",)))

    items = control.call("GET", f"/v1/devices?{query}").json()["items"]

    assert [item["id"] for item in items] == found


def test_another_tenants_device_is_not_there(control: Control) -> None:
    with control.store.writing("other") as tx:
        tx.devices.put(a_device("foreign", tenant="other"))

    assert control.call("GET", "/v1/devices/foreign").status_code == 404
    assert control.call("GET", "/v1/devices").json()["items"] == []
    assert control.call("POST", "/v1/devices/foreign/revoke", REASON).status_code == 404
