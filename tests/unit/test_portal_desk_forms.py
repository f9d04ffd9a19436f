"""Forms of the desk: whoever comes second is told, what is sent twice is done once, and what was written is kept."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.control_support import NOW, TENANT, a_device
from tests.desk_support import (
    REASON,
    hidden,
    operate,
    person,
    wait,
)
from tests.desk_support import office as office
from tests.desk_support import shared as shared
from tests.portal_support import PortalOffice


def test_whoever_comes_second_is_told_what_happened_and_changes_nothing(office: PortalOffice) -> None:
    office.control.put(a_device())
    first, second = person(office, "security"), person(office, "helpdesk")
    path = "/desk/devices/laptop-1/lost"
    second.get(path)
    form = hidden(second) | {"reason": "left on a train"}
    operate(first, "laptop-1", "revoke", "it is stolen")
    before = office.control.device("laptop-1")

    answer = second.post(path, form)

    assert answer.status_code == 409
    assert "Somebody else was first" in second.text
    assert "Revoked by security-person Reason it is stolen" in second.text
    assert office.control.device("laptop-1") == before


def test_a_device_that_became_another_one_is_looked_at_again_even_where_the_button_would_still_work(
    office: PortalOffice,
) -> None:
    wait(office.control)
    approver = person(office, "approver")
    path = "/desk/devices/new-1/approve"
    approver.get(path)
    form = hidden(approver) | {"reason": REASON}
    changed = replace(office.control.device("new-1"), model="Another", version=9)
    with office.control.store.writing(TENANT) as tx:
        tx.devices.put(changed)

    answer = approver.post(path, form)

    assert (answer.status_code, "RECORD_CHANGED" in approver.text) == (409, True)
    assert office.control.device("new-1") == changed


def test_a_report_between_looking_and_pressing_is_no_reason_to_ask_again(office: PortalOffice) -> None:
    office.control.put(a_device())
    helpdesk = person(office, "helpdesk")
    path = "/desk/devices/laptop-1/quarantine"
    helpdesk.get(path)
    form = hidden(helpdesk) | {"reason": REASON}
    with office.control.store.writing(TENANT) as tx:
        tx.devices.put(replace(a_device(), report_received_at=NOW, report_seq=7, version=2))

    helpdesk.post(path, form)

    assert office.control.device("laptop-1").status == "quarantined"


def test_a_form_that_is_sent_twice_is_done_once_and_answered_the_same(office: PortalOffice) -> None:
    office.control.put(a_device())
    helpdesk = person(office, "helpdesk")
    path = "/desk/devices/laptop-1/quarantine"
    helpdesk.get(path)
    form = hidden(helpdesk) | {"reason": REASON}

    answers = [helpdesk.send(path, form) for _ in range(3)]

    assert {(answer.status_code, answer.headers["location"]) for answer in answers} == {
        (303, "/desk/devices/laptop-1?done=quarantine")
    }
    assert [event.reason for event in office.control.audit()].count(REASON) == 1
    again = helpdesk.send(path, form | {"reason": "another reason"})
    assert (again.status_code, "IDEMPOTENCY_MISMATCH" in again.text) == (409, True)
    assert "What you did before has changed this" in helpdesk.text


@pytest.mark.parametrize("reason", ["", "   \r\n ", "x" * 1001])
def test_a_reason_is_asked_for_again_and_what_was_written_is_kept(office: PortalOffice, reason: str) -> None:
    office.control.put(a_device())
    helpdesk = person(office, "helpdesk")

    answer = operate(helpdesk, "laptop-1", "quarantine", reason)

    assert (answer.status_code, "Write a reason" in helpdesk.text) == (422, True)
    assert reason.strip() in helpdesk.page
    assert office.control.device("laptop-1").status == "active"
    helpdesk.post(helpdesk.path, hidden(helpdesk) | {"reason": REASON})
    assert office.control.device("laptop-1").status == "quarantined"


@pytest.mark.parametrize("broken", [{"once": "short"}, {"once": ""}, {"seen": ""}, {"seen": "1.x"}])
def test_a_form_that_was_not_made_here_is_refused(office: PortalOffice, broken: dict[str, str]) -> None:
    office.control.put(a_device())
    helpdesk = person(office, "helpdesk")
    path = "/desk/devices/laptop-1/quarantine"
    helpdesk.get(path)

    answer = helpdesk.send(path, hidden(helpdesk) | {"reason": REASON} | broken)

    assert (answer.status_code, office.control.device("laptop-1")) == (422, a_device())
