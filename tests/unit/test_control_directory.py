"""Subjects, and leaving: nothing of a person who left opens anything, and no device is left without somebody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from device_inventory.enrollment import Enrollment
from device_inventory.invitation import begun, used
from tests.control_support import NOW, TENANT, Control, a_device
from zt_engine.adapters.subject_json import decode_subject
from zt_engine.control_plane.directory import LEFT, Directory, Leaving
from zt_engine.core.revocations import Revocations

HOME = "https://idp.example"
PERSON = f"/v1/subjects/{quote(HOME, safe='')}/tanaka"
RECORD: dict[str, Any] = {
    "status": "active", "groups": ["staff"], "compartments": [], "clearance": 200, "org": "", "valid_until": None,
}  # fmt: skip
WHY = {"reason": "moved to another ministry"}


@pytest.fixture
def control() -> Iterator[Control]:
    with Control(home_issuer=HOME) as one:
        yield one


def test_a_record_is_kept_told_and_read_by_sidecars_with_a_version_that_grows(control: Control) -> None:
    first = control.call("PUT", PERSON, RECORD)
    second = control.call("PUT", PERSON, RECORD | {"groups": ["staff", "auditors"]})
    told = control.announced()

    assert (first.json()["version"], second.json()["version"]) == (1, 2)
    assert first.json()["issuer"] == HOME
    assert [kind for kind, _ in told] == ["subject.changed", "subject.changed"]
    assert decode_subject(json.dumps(told[1][1]).encode(), where="").groups == ("staff", "auditors")


def test_a_record_that_somebody_else_changed_is_not_replaced_blindly(control: Control) -> None:
    control.call("PUT", PERSON, RECORD)
    control.call("PUT", PERSON, RECORD | {"version": 1})

    late = control.call("PUT", PERSON, RECORD | {"version": 1, "groups": ["owners"]})

    assert (late.status_code, late.json()["code"]) == (409, "RECORD_CHANGED")
    assert control.call("GET", PERSON).json()["groups"] == ["staff"]


@pytest.mark.parametrize(
    "members",
    [
        {"clearance": 2000},
        {"clearance": "200"},
        {"status": "Active"},
        {"groups": ["a\nb"]},
        {"groups": "staff"},
        {"id": "somebody-else"},
        {"valid_until": -1},
        {"type": "god"},
    ],
)
def test_a_record_sidecars_would_refuse_is_refused_here(control: Control, members: dict[str, Any]) -> None:
    answer = control.call("PUT", PERSON, RECORD | members)

    assert answer.status_code == 422
    assert control.announced() == []
    assert control.call("GET", PERSON).status_code == 404


def test_subjects_are_listed_a_page_at_a_time(control: Control) -> None:
    for issuer in ("https://a.example", HOME):
        for name in ("x/y", "z"):
            control.call("PUT", f"/v1/subjects/{quote(issuer, safe='')}/{quote(name, safe='')}", RECORD)
    seen, after = [], ""
    while after is not None:
        answer = control.call("GET", f"/v1/subjects?limit=1&after={after}").json()
        seen += [(one["issuer"], one["id"]) for one in answer["items"]]
        after = answer["next"]

    assert seen == [("https://a.example", "x/y"), ("https://a.example", "z"), (HOME, "x/y"), (HOME, "z")]


def test_whoever_leaves_takes_nothing_along_and_leaves_nothing_alone(control: Control) -> None:
    control.call("PUT", PERSON, RECORD)
    control.put(a_device("lent"))
    control.put(a_device("own", ownership="byod"))
    control.put(a_device("sponsored", kind="contractor", owner="guest", assigned=("guest",), sponsor="tanaka"))
    control.put(a_device("stand", kind="shared", ownership="shared", owner="", assigned=("tanaka", "sato")))
    control.put(a_device("else", owner="sato", assigned=("sato",)))
    control.put(a_device("gone", status="revoked"))
    invited = control.call("POST", "/v1/invitations", {"subject": "tanaka", "ownership": "corp"}).json()
    enrollment = Enrollment(
        tenant=TENANT, id="enr-1", invitation=invited["id"], issuer=HOME, subject="tanaka", state="consented",
        secret_digest="0" * 64, started_at=NOW, changed_at=NOW, not_after=NOW + 100,
    )  # fmt: skip
    with control.store.writing(TENANT) as tx:
        tx.enrollments.put(enrollment)
    control.announced()

    answer = control.call("POST", f"{PERSON}/offboard", WHY, who="approver").json()
    told = control.announced()

    devices = {name: control.device(name) for name in ("lent", "own", "sponsored", "stand", "else", "gone")}
    assert {name: device.status for name, device in devices.items()} == {
        "lent": "quarantined", "own": "retired", "sponsored": "quarantined", "stand": "active",
        "else": "active", "gone": "revoked",
    }  # fmt: skip
    assert {one["id"] for one in answer["devices"]} == {"lent", "own", "sponsored", "stand"}
    assert (devices["lent"].owner, devices["sponsored"].sponsor, devices["stand"].assigned) == ("", "", ("sato",))
    assert control.call("GET", PERSON).json()["status"] == LEFT
    with control.store.reading(TENANT) as tx:
        held = tx.enrollments.get("enr-1")
        invitation = tx.invitations.get(invited["id"])
    assert held is not None
    assert invitation is not None
    assert (held.state, invitation.state) == ("refused", "withdrawn")
    revoked = {(data["kind"], data["key"]) for kind, data in told if kind == "revocation.added"}
    assert ("subject", f"{HOME}|tanaka") in revoked
    assert ("device", "own") in revoked
    assert all(event.actor == "admin:approver" for event in control.audit()[-7:])


def test_whoever_left_is_gone_when_it_is_said_twice(control: Control) -> None:
    control.call("PUT", PERSON, RECORD)
    control.put(a_device())

    first = control.call("POST", f"{PERSON}/offboard", WHY)
    second = control.call("POST", f"{PERSON}/offboard", WHY)

    assert [first.status_code, second.status_code] == [200, 200]
    assert second.json()["devices"] == []


def test_a_device_that_comes_in_while_its_sponsor_leaves_is_taken_off_them_as_well(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.put(a_device())
    wanted = {"subject": "guest", "ownership": "corp", "kind": "contractor", "sponsor": "tanaka"}
    invited = control.call("POST", "/v1/invitations", {**wanted, "not_after_device": NOW + 9_000}).json()
    enrollment = Enrollment(
        tenant=TENANT, id="enr-9", invitation=invited["id"], issuer=HOME, subject="guest", state="certified",
        secret_digest="0" * 64, started_at=NOW, changed_at=NOW, not_after=NOW + 100, device_id="late",
    )  # fmt: skip
    real = Directory.leaving

    def looked(self: Directory, issuer: str, subject: str) -> Leaving:
        found = real(self, issuer, subject)
        control.put(a_device("late", kind="contractor", owner="guest", assigned=("guest",), sponsor="tanaka"))
        with control.store.writing(TENANT) as tx:
            invitation = tx.invitations.get(invited["id"])
            assert invitation is not None
            tx.enrollments.put(enrollment)
            tx.invitations.put(used(begun(invitation, enrollment="enr-9"), enrollment="enr-9"))
        return found

    monkeypatch.setattr(Directory, "leaving", looked)
    answer = control.call("POST", f"{PERSON}/offboard", WHY).json()

    assert {one["id"] for one in answer["devices"]} == {"laptop-1", "late"}
    assert (control.device("late").status, control.device("late").sponsor) == ("quarantined", "")


def test_a_revocation_that_ends_sooner_shortens_none_that_is_there(control: Control) -> None:
    for until in (NOW + 9_000, NOW + 60):
        body = {"kind": "cert", "key": "A" * 43, "until": until, "reason": "stolen"}
        assert control.call("POST", "/v1/revocations", body).is_success
    with control.store.reading(TENANT) as tx:
        held = tx.situation.all("revocation").values()
    seen = Revocations()
    for record in map(json.loads, held):
        seen.add(record["kind"], record["key"], record["until"])

    assert [until for _, _, until in seen] == [NOW + 9_000]


def test_nobody_leaves_who_was_never_there(control: Control) -> None:
    answer = control.call("POST", f"{PERSON}/offboard", WHY)

    assert (answer.status_code, answer.json()["code"]) == (404, "SUBJECT_NOT_FOUND")
    assert control.announced() == []
