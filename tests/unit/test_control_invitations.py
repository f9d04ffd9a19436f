"""Invitations: for one person, on terms that make sense, never alone for secret papers or oneself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from tests.control_support import NOW, TENANT, Control, a_device
from zt_engine.control_plane.invitations import new_code
from zt_engine.control_plane.nonces import digest

HOME = "https://idp.example"


@pytest.fixture
def control() -> Iterator[Control]:
    with Control(home_issuer=HOME) as one:
        yield one


def body(**members: Any) -> dict[str, Any]:
    return {"subject": "tanaka", "ownership": "corp", **members}


def test_an_invitation_is_bound_to_its_person_and_kept_by_the_digest_of_its_code(control: Control) -> None:
    made = control.call("POST", "/v1/invitations", body(), who="helpdesk")
    told = made.json()
    with control.store.reading(TENANT) as tx:
        held = tx.invitations.of_code(digest(told["code"]))

    assert made.status_code == 201
    assert held is not None
    assert (held.issuer, held.subject, held.assigned) == (HOME, "tanaka", "tanaka")
    assert held.invited_by == "admin:helpdesk"
    assert held.not_after == NOW + 72 * 3600
    assert len(told["code"]) >= 22
    assert told["link"] == f"https://control.example/enroll#code={told['code']}"


def test_a_person_of_another_issuer_goes_by_both_names(control: Control) -> None:
    made = control.call("POST", "/v1/invitations", body(issuer="https://partner.example")).json()

    assert made["assigned"] == "https://partner.example|tanaka"


@pytest.mark.parametrize(
    "members",
    [
        {"kind": "shared"},
        {"ownership": "shared"},
        {"ownership": "byod", "kind": "robot"},
        {"ownership": "byod", "ceiling": 300},
        {"kind": "contractor"},
        {"kind": "contractor", "sponsor": "suzuki"},
        {"kind": "contractor", "not_after_device": NOW + 60},
        {"kind": "contractor", "sponsor": "tanaka", "not_after_device": NOW + 60},
        {"not_after_device": NOW - 1},
    ],
)
def test_terms_that_make_no_sense_are_refused(control: Control, members: dict[str, Any]) -> None:
    answer = control.call("POST", "/v1/invitations", body(**members))

    assert (answer.status_code, answer.json()["code"]) == (422, "INVITE_TERMS")
    assert control.call("GET", "/v1/invitations").json()["items"] == []


@pytest.mark.parametrize(
    ("members", "who", "approval"),
    [
        ({}, "helpdesk", False),
        ({"approval": True}, "helpdesk", True),
        ({"ceiling": 201}, "owner", True),
        ({"subject": "helpdesk"}, "helpdesk", True),
        ({"subject": "yamada"}, "chief", True),
    ],
)
def test_nobody_invites_himself_or_for_secret_papers_without_a_second_person(
    control: Control, members: dict[str, Any], who: str, approval: bool
) -> None:
    control.administrators.add("chief", "owner", "yamada")

    made = control.call("POST", "/v1/invitations", body(**members), who=who).json()

    assert made["approval"] is approval


def test_a_device_that_is_replaced_is_the_persons_own(control: Control) -> None:
    control.put(a_device("mine"))
    control.put(a_device("theirs", owner="sato", assigned=("sato",)))

    mine = control.call("POST", "/v1/invitations", body(replaces="mine"))
    theirs = control.call("POST", "/v1/invitations", body(replaces="theirs"))
    nobodys = control.call("POST", "/v1/invitations", body(replaces="nobodys"))

    assert (mine.status_code, mine.json()["replaces"]) == (201, "mine")
    assert theirs.json()["code"] == "INVITE_TERMS"
    assert nobodys.json()["code"] == "DEVICE_NOT_FOUND"


def test_an_invitation_is_withdrawn_once_and_stays_so(control: Control) -> None:
    made = control.call("POST", "/v1/invitations", body()).json()

    first = control.call("POST", f"/v1/invitations/{made['id']}/withdraw", {"reason": "wrong person"})
    again = control.call("POST", f"/v1/invitations/{made['id']}/withdraw", {"reason": "wrong person"})

    assert [first.json()["state"], again.json()["state"]] == ["withdrawn", "withdrawn"]
    assert [event.action for event in control.audit()] == ["invitation.made", "invitation.withdrawn"]


def test_an_invitation_that_was_used_is_not_withdrawn(control: Control) -> None:
    made = control.call("POST", "/v1/invitations", body()).json()
    with control.store.writing(TENANT) as tx:
        held = tx.invitations.get(made["id"])
        assert held is not None
        tx.invitations.put(replace(held, state="used"))

    answer = control.call("POST", f"/v1/invitations/{made['id']}/withdraw", {"reason": "late"})

    assert (answer.status_code, answer.json()["code"]) == (409, "INVITE_USED")
    assert control.call("POST", "/v1/invitations/none/withdraw", {"reason": "x"}).json()["code"] == "INVITE_NOT_FOUND"


def test_an_invitation_nobody_used_in_time_is_shown_as_over(control: Control) -> None:
    control.call("POST", "/v1/invitations", body())
    control.clock.advance(72 * 3600)

    (shown,) = control.call("GET", "/v1/invitations").json()["items"]

    assert shown["state"] == "expired"


def test_a_code_is_a_word_that_a_person_types_and_no_program_takes_for_an_option() -> None:
    codes = {new_code() for _ in range(500)}

    assert len(codes) == 500
    assert all(re.fullmatch(r"[a-z2-7]{26}", code) for code in codes)
