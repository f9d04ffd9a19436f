"""Enrollments are found by person, device, state and words; nothing of their secret is told."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from device_inventory.enrollment import STATES, UNDER_WAY, Enrollment
from tests.control_support import NOW, TENANT, Control
from zt_engine.control_plane.ledger import write_down

HOME = "https://idp.example"
FAR = f"https://{'partner.' * 40}example/{'t' * 150}"
"""An issuer as long as a record takes it, nearly."""
OTHER = "https://partner.example"


@pytest.fixture(scope="module")
def control() -> Iterator[Control]:
    with Control(home_issuer=HOME) as one:
        with one.store.writing(TENANT) as tx:
            for number, state in enumerate(STATES):
                tx.enrollments.put(
                    Enrollment(
                        tenant=TENANT, id=f"enr-{number}", invitation=f"inv-{number}", issuer=HOME if number else OTHER,
                        subject="tanaka" if number < 3 else f"p{number}", state=state, secret_digest="5ec7e7",
                        device_id=f"pc-{number}" if number > 2 else "", started_at=NOW, changed_at=NOW + 1,
                        not_after=NOW + 9, acr="mfa", notice_version="v1",
                    )
                )  # fmt: skip
            tx.enrollments.put(
                Enrollment(
                    tenant=TENANT, id="far-1", invitation="inv-far", issuer=FAR, subject="s" * 255, state="expired",
                    secret_digest="5ec7e7", started_at=NOW, changed_at=NOW + 1, not_after=NOW + 9, acr="mfa",
                    notice_version="v1",
                )
            )  # fmt: skip
            write_down(tx, actor="person:x", action="enrollment.started", object_="enrollment:enr-4", now=NOW)
        yield one


def found(control: Control, query: str = "", *, who: str = "viewer") -> list[str]:
    return [one["id"] for one in control.call("GET", f"/v1/enrollments{query}", who=who).json()["items"]]


def test_enrollments_are_found_by_person_device_state_and_words(control: Control) -> None:
    assert found(control) == [*(f"enr-{number}" for number in range(len(STATES))), "far-1"]
    assert found(control, "?person=tanaka") == ["enr-1", "enr-2"]
    assert found(control, f"?person={OTHER}%7Ctanaka") == ["enr-0"]
    assert found(control, "?device=pc-4") == found(control, "?q=PC-4") == found(control, "?q=inv-4") == ["enr-4"]
    assert found(control, "?state=waiting") == ["enr-4"]
    assert found(control, "?state=open") == [f"enr-{number}" for number in range(len(UNDER_WAY))]
    assert found(control, "?state=finished&q=enr-") == ["enr-5", "enr-6", "enr-7"]
    assert found(control, "?state=finished&person=tanaka") == []
    assert found(control, f"?person={OTHER}%7C") == []


@pytest.mark.parametrize("by", ["person", "q"])
def test_a_person_of_another_issuer_is_found_by_the_name_that_lists_show_however_long(
    control: Control, by: str
) -> None:
    for issuer, subject, expected in ((FAR, "s" * 255, "far-1"), (OTHER, "tanaka", "enr-0")):
        name = f"{issuer}|{subject}"

        assert found(control, f"?{by}={quote(name, safe='')}") == [expected]
        assert found(control, f"?{by}={quote(name[:-1], safe='')}") == []


def test_pages_of_enrollments_follow_each_other(control: Control) -> None:
    first = control.call("GET", "/v1/enrollments?state=open&limit=3").json()
    second = control.call("GET", f"/v1/enrollments?state=open&limit=3&after={first['next']}").json()

    assert [one["id"] for one in first["items"] + second["items"]] == [f"enr-{number}" for number in range(5)]
    assert (first["next"], second["next"]) == ("enr-2", None)


@pytest.mark.parametrize("query", ["state=gone", "q=%00", "person=" + "x" * 1026, "limit=0"])
def test_an_odd_question_about_enrollments_is_refused(control: Control, query: str) -> None:
    assert control.call("GET", f"/v1/enrollments?{query}").json()["code"] == "REQUEST_INVALID"


@pytest.mark.parametrize(
    "query", ["q=%25", "q=_nr", "q=enr-[0-9]", "q=%27 OR 1=1 --", "q=/%25", "device=%25", "person=%25"]
)
def test_what_is_asked_for_is_text_and_no_pattern(control: Control, query: str) -> None:
    assert found(control, f"?{query}") == []


def test_a_forged_cursor_leads_to_nothing_but_another_place_in_the_same_list(control: Control) -> None:
    assert found(control, "?state=waiting&after=enr-") == ["enr-4"]
    assert found(control, "?state=waiting&after=%27 OR 1=1 --") == ["enr-4"]
    assert found(control, "?after=zzz") == []
    for odd in ("%00", "x" * 600, "x" * 2000):
        answer = control.call("GET", f"/v1/enrollments?after={odd}")
        assert answer.status_code in {400, 422}


def test_an_enrollment_is_shown_with_what_happened_to_it_and_without_its_secret(control: Control) -> None:
    answer = control.call("GET", "/v1/enrollments/enr-4", who="helpdesk")
    shown = answer.json()

    assert (shown["state"], shown["next"], shown["open"]) == ("waiting", "wait", True)
    assert (shown["person"], shown["device_id"], shown["invitation"]) == ("p4", "pc-4", "inv-4")
    assert (shown["acr"], shown["notice_version"]) == ("mfa", "v1")
    assert [event["action"] for event in shown["events"]] == ["enrollment.started"]
    assert "5ec7e7" not in answer.text + control.call("GET", "/v1/enrollments").text
    assert control.call("GET", "/v1/enrollments/none").json()["code"] == "ENROLLMENT_NOT_FOUND"


def test_nobody_without_a_role_sees_enrollments(control: Control) -> None:
    answers = [control.call("GET", path, who=None) for path in ("/v1/enrollments", "/v1/enrollments/enr-4")]

    assert [answer.status_code for answer in answers] == [401, 401]
