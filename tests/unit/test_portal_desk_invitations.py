"""Inviting at the desk: the code is told once, what is wrong is said at its field, and attack text stays text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from device_inventory.invitation import Invitation
from tests.control_support import NOW, TENANT, a_device
from tests.desk_support import (
    REASON,
    hidden,
    invitation,
    invite,
    person,
)  # fmt: skip
from tests.desk_support import office as office
from tests.desk_support import shared as shared
from tests.portal_support import ISSUER, Browser, PortalOffice
from zt_engine.control_plane.ledger import write_down
from zt_engine.control_plane.portal.desk import FIRST
from zt_engine.control_plane.portal.desk_forms import INVITE, FormFault, once_of, reason_of, seen_of, wanted_of
from zt_engine.core.classification import Level
from zt_engine.core.errors import InputError
from zt_engine.core.identity import SubjectRecord
from zt_engine.pages.desk import NOT_HERE, Words
from zt_engine.pages.desk_texts import TEXTS
from zt_engine.pages.desk_words import ACTIONS, MESSAGES, OPERATIONS, WORDS
from zt_engine.pages.registry import registry


def fill(browser: Browser, **fields: str) -> int:
    """Open the form and send it; return the status."""
    browser.get("/desk/invite")
    return send(browser, **fields)


def send(browser: Browser, **fields: str) -> int:
    form = {"subject": "tanaka", "ownership": "corp", "ceiling": "200"} | fields
    return browser.post("/desk/invite", hidden(browser) | form).status_code


def codes(browser: Browser) -> list[str]:
    return re.findall(r'<code class="command" id="code">([a-z2-7]{26})</code>', browser.page)


def all_of(office: PortalOffice) -> list[Invitation]:
    with office.control.store.reading(TENANT) as tx:
        return list(tx.invitations.page(after="", limit=100))


# -- inviting


def test_the_code_is_told_once_with_a_text_to_send_in_both_languages(office: PortalOffice) -> None:
    helpdesk = person(office, "helpdesk")

    assert fill(helpdesk, approval="yes") == 201

    (code,) = codes(helpdesk)
    link = f"https://control.example/enroll#code={code}"
    assert helpdesk.text.count(link) == 3
    assert "端末登録の招待が届きました" in helpdesk.text
    assert "You are invited to register a device." in helpdesk.text
    assert "waits for approval" in helpdesk.text
    (made,) = all_of(office)
    assert (made.subject, made.issuer, made.ceiling, made.approval) == ("tanaka", ISSUER, 200, True)
    assert (made.invited_by, made.inviter) == (
        f"person:{ISSUER}|helpdesk-person", ("helpdesk-person", f"person:{ISSUER}|helpdesk-person"),
    )  # fmt: skip
    for page in ("/desk/invitations", "/desk/invitations?which=all", "/desk/invite"):
        helpdesk.get(page)
        assert code not in helpdesk.page
    assert not any(code in str(event) for event in office.control.audit())


def test_a_form_that_is_sent_twice_invites_once_and_shows_the_same_code(office: PortalOffice) -> None:
    helpdesk = person(office, "helpdesk")
    helpdesk.get("/desk/invite")
    form = hidden(helpdesk) | {"subject": "tanaka", "ownership": "corp", "ceiling": "200"}

    found = []
    for _ in range(2):
        helpdesk.send("/desk/invite", form)
        found.append(codes(helpdesk))

    assert found[0] == found[1] != []
    assert len(all_of(office)) == 1
    assert helpdesk.send("/desk/invite", form | {"subject": "suzuki"}).status_code == 422
    assert "IDEMPOTENCY_MISMATCH" in helpdesk.text
    assert len(all_of(office)) == 1


def test_somebody_who_invites_himself_waits_for_somebody_else(office: PortalOffice) -> None:
    helpdesk = person(office, "helpdesk", subject="me")

    assert fill(helpdesk, subject="me") == 201

    assert "waits for approval by somebody other" in helpdesk.text
    assert [one.approval for one in all_of(office)] == [True]


def test_a_contractors_device_has_a_sponsor_and_lasts_until_the_end_of_its_last_day(office: PortalOffice) -> None:
    assert fill(person(office, "helpdesk"), sponsor="suzuki", ends_on="2027-03-31") == 201

    (made,) = all_of(office)
    assert (made.kind, made.sponsor) == ("contractor", "suzuki")
    assert made.device_ends_at is not None
    assert datetime.fromtimestamp(made.device_ends_at, UTC).isoformat() == "2027-03-31T15:00:00+00:00"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"subject": ""}, "Write a staff id"),
        ({"subject": "x" * 257}, "Write a staff id"),
        ({"subject": "a\x00b"}, "Write a staff id"),
        ({"ownership": "stolen"}, "Choose whose device it is."),
        ({"ceiling": "9999"}, "Choose a lower one."),
        ({"ceiling": "٢٠٠"}, "Choose a lower one."),
        ({"ceiling": ""}, "Choose a lower one."),
        ({"ownership": "byod", "ceiling": "300"}, "Choose a lower one."),
        ({"sponsor": "suzuki"}, "has an end"),
        ({"sponsor": "tanaka", "ends_on": "2027-03-31"}, "somebody else than the contractor"),
        ({"sponsor": "suzuki", "ends_on": "2027-03-31", "ownership": "shared"}, "Choose whose"),
        ({"ends_on": "2020-01-01"}, "still to come"),
        ({"ends_on": "31 March"}, "still to come"),
        ({"ends_on": "0001-01-01"}, "still to come"),
        ({"ends_on": "9999-12-31"}, "still to come"),
        ({"replaces": "nothing"}, "There is no such device"),
        ({"replaces": "laptop-9"}, "it is somebody else's"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_what_was_written_is_kept(
    office: PortalOffice, fields: Mapping[str, str], said: str
) -> None:
    office.control.put(a_device("laptop-9", owner="suzuki"))
    helpdesk = person(office, "helpdesk")

    assert fill(helpdesk, **fields) == 422

    assert said in helpdesk.text
    assert 'aria-invalid="true"' in helpdesk.page
    assert all_of(office) == []
    kept = {name: value for name, value in fields.items() if name not in ("ceiling", "ownership")}
    assert all(escape(value) in helpdesk.page for value in kept.values())


def test_the_directory_is_looked_through_by_how_an_id_begins(office: PortalOffice) -> None:
    def record(name: str, **members: str) -> SubjectRecord:
        known = {"issuer": ISSUER, "status": "active", "org": "総務課"} | members
        return SubjectRecord(id=name, version=1, groups=(), compartments=(), clearance=0, valid_until=None, **known)

    with office.control.store.writing(TENANT) as tx:
        for number in range(30):
            tx.situation.put_subject(record(f"ta-{number:02}"))
        tx.situation.put_subject(record("ta", org=""))
        tx.situation.put_subject(record("ta-robot", type="workload"))
        tx.situation.put_subject(record("ta-abroad", issuer="https://other.example"))
        tx.situation.put_subject(record("suzuki"))
    helpdesk = person(office, "helpdesk")

    helpdesk.get("/desk/invite?begins=ta")
    found = re.findall(r'href="/desk/invite\?subject=([^#]*)#', helpdesk.page)
    assert found == ["ta", *(f"ta-{number:02}" for number in range(24))]
    assert "There are more." in helpdesk.text
    helpdesk.get("/desk/invite?begins=nobody")
    assert "Nobody in the directory" in helpdesk.text
    helpdesk.get("/desk/invite?subject=ta-03")
    assert send(helpdesk, subject="ta-03") == 201


def test_the_labels_of_the_policy_are_offered_and_never_what_must_not_be_here() -> None:
    levels = [Level(code=f"L{rank}", rank=rank, ja=f"区分{rank}", en=f"Level {rank}") for rank in (900, 0, 300, 100)]
    words = Words("ja", now=NOW, levels=levels)

    assert [words.label(rank) for rank in (0, 99, 100, 299, NOT_HERE, 1000)] == [
        "区分0", "区分0", "区分100", "区分100", "区分300", "区分300",
    ]  # fmt: skip


# -- withdrawing


def test_an_open_invitation_is_withdrawn_with_a_reason_and_is_gone_from_the_list(office: PortalOffice) -> None:
    invite(office.control, invitation("inv-1"))
    helpdesk, viewer = person(office, "helpdesk"), person(office, "viewer")
    viewer.get("/desk/invitations")
    assert ("tanaka" in viewer.text, "withdraw" in viewer.page) == (True, False)
    path = "/desk/invitations/inv-1/withdraw"

    helpdesk.get(path)
    helpdesk.post(path, hidden(helpdesk) | {"reason": "  "})
    assert "Write a reason" in helpdesk.text
    helpdesk.post(path, hidden(helpdesk) | {"reason": REASON})

    assert "The invitation is withdrawn." in helpdesk.text
    assert "tanaka" not in helpdesk.text
    event = office.control.audit()[-1]
    assert (event.action, event.actor, event.reason) == (
        "invitation.withdrawn", f"person:{ISSUER}|helpdesk-person", REASON,
    )  # fmt: skip
    assert helpdesk.once("GET", path).headers["location"] == "/desk/invitations"


def test_an_invitation_that_was_used_meanwhile_is_not_withdrawn_and_the_page_says_what_happened(
    office: PortalOffice,
) -> None:
    helpdesk = person(office, "helpdesk")
    fill(helpdesk)
    (made,) = all_of(office)
    path = f"/desk/invitations/{made.id}/withdraw"
    helpdesk.get(path)
    form = hidden(helpdesk) | {"reason": REASON}
    invite(office.control, replace(made, state="used", enrollment="e"))
    with office.control.store.writing(TENANT) as tx:
        write_down(tx, actor=f"person:{ISSUER}|tanaka", action="enrollment.certified", object_="enrollment:e", now=NOW)

    answer = helpdesk.post(path, form)

    assert (answer.status_code, "Somebody else was first" in helpdesk.text) == (409, True)
    assert "Key certified by tanaka" in helpdesk.text
    assert helpdesk.get("/desk/invitations/nothing/withdraw").status_code == 404


def test_invitations_that_are_over_are_shown_when_asked_for(office: PortalOffice) -> None:
    invite(
        office.control,
        invitation("a", assigned="is-open"),
        invitation("b", assigned="is-begun", enrollment="e", not_after=NOW - 1),
        invitation("c", assigned="is-over", not_after=NOW - 1),
        invitation("d", assigned="is-used", state="used"),
        *(invitation(f"w-{number:02}", assigned="is-withdrawn", state="withdrawn") for number in range(30)),
    )
    viewer = person(office, "viewer")

    def shown() -> set[str]:
        return set(re.findall(r"is-\w+", viewer.text))

    viewer.get("/desk/invitations")
    assert shown() == {"is-open", "is-begun"}
    viewer.get("/desk/invitations?which=all")
    assert shown() == {"is-open", "is-begun", "is-over", "is-used", "is-withdrawn"}
    assert 'rel="next"' in viewer.page


# -- forms and texts


@given(st.dictionaries(st.sampled_from([*INVITE, "reason", "once", "seen"]), st.text(max_size=300)))
def test_invariant_no_form_makes_anything_but_a_value_or_a_refusal(form: dict[str, str]) -> None:
    for read in (wanted_of, reason_of, once_of, seen_of):
        try:
            found = read(form)
        except (FormFault, InputError) as refused:
            assert not isinstance(refused, InputError) or refused.code == "REQUEST_INVALID"
        else:
            assert found


def test_both_languages_say_the_same_things() -> None:
    for texts in (TEXTS, WORDS, ACTIONS, OPERATIONS):
        assert texts["ja"].keys() == texts["en"].keys()
        assert all(all(said) if isinstance(said, tuple) else isinstance(said, str) for said in texts["ja"].values())
    for name in TEXTS["ja"]:
        assert set(re.findall(r"{\w+}", TEXTS["ja"][name])) == set(re.findall(r"{\w+}", TEXTS["en"][name]))
    assert set(re.findall(r"{\w+}", MESSAGES["ja"])) == {"{code}", "{link}", "{until}"}
    assert set(re.findall(r"{\w+}", MESSAGES["en"])) == {"{code}", "{link}", "{until}"}


def test_every_code_the_desk_knows_by_name_is_in_the_registry() -> None:
    assert set(FIRST) | {"INVITE_TERMS", "INVITE_USED", "DEVICE_NOT_FOUND"} <= registry().keys()
