"""What the desk shows: lists page by page, odd questions, and whatever somebody calls a thing."""

from __future__ import annotations

import re
from html import unescape

import pytest
from msgspec.structs import replace

from device_inventory.facts import FactEnvelope
from device_inventory.inventory import FactChange, SourceFacts
from tests.control_support import NOW, a_device
from tests.desk_support import (
    SERIAL,
    hidden,
    invitation,
    invite,
    ledger,
    operate,
    person,
    wait,
    walk,
)
from tests.desk_support import office as office
from tests.desk_support import shared as shared
from tests.portal_support import ISSUER, Browser, PortalOffice

ATTACKS = {
    "markup": "<img src=x onerror=alert(1)>&lt;\"'</td></main>{{ 7*7 }}",
    "reversed": "gnp\u202egpj.exe\u2066\u200b",
    "gaiji": "髙󠄀橋\U000e0100 \ue000 𠮷野家",
    "long": "あ" * 256,
}


# -- lists


def test_devices_are_found_page_by_page(office: PortalOffice) -> None:
    for number in range(30):
        office.control.put(
            a_device(f"pc-{number:02}", name=f"name {number}", status="lost" if number % 3 else "active")
        )
    viewer = person(office, "viewer")

    def shown() -> list[str]:
        return [f"pc-{number:02}" for number in range(30) if f"/desk/devices/pc-{number:02}" in viewer.page]

    viewer.get("/desk")
    first = shown()
    viewer.get(_next(viewer))
    assert (len(first), first + shown()) == (25, [f"pc-{number:02}" for number in range(30)])
    viewer.get("/desk?status=active")
    assert shown() == [f"pc-{number:02}" for number in range(0, 30, 3)]
    viewer.get("/desk?q=NAME+29")
    assert shown() == ["pc-29"]
    viewer.get("/desk?q=nothing&status=gone")
    assert "No device matches." in viewer.text


@pytest.mark.parametrize("query", ["?after=" + "x" * 2000, "?q=" + "x" * 1026, "?q=%00", "?status=" + "x" * 99])
def test_an_odd_question_is_a_page_that_says_so(office: PortalOffice, query: str) -> None:
    answer = person(office, "viewer").get(f"/desk{query}")

    assert (answer.status_code, answer.headers["content-type"]) == (422, "text/html; charset=utf-8")


def test_who_waits_is_found_page_by_page(office: PortalOffice) -> None:
    for number in range(27):
        wait(office.control, f"pc-{number:02}", serial_hash=f"{number:064}")
    approver = person(office, "approver")

    approver.get("/desk/waiting")
    first = [number for number in range(27) if f"/desk/devices/pc-{number:02}" in approver.page]
    approver.get(_next(approver))
    second = [number for number in range(27) if f"/desk/devices/pc-{number:02}" in approver.page]

    assert (len(first), first + second) == (25, list(range(27)))


def test_registrations_are_found_by_words_and_state_and_lead_to_what_they_came_of(office: PortalOffice) -> None:
    for number in range(27):
        wait(office.control, f"pc-{number:02}", serial_hash=f"{number:064}")
    invite(office.control, invitation("inv-begun", enrollment="enr-pc-26"))
    helpdesk = person(office, "helpdesk")

    def shown() -> list[int]:
        return [number for number in range(27) if f"/desk/enrollments/enr-pc-{number:02}" in helpdesk.page]

    helpdesk.get("/desk/enrollments?state=open")
    first = shown()
    helpdesk.get(_next(helpdesk))
    assert (len(first), first + shown()) == (25, list(range(27)))
    helpdesk.get("/desk/enrollments?q=PC-07&state=waiting")
    assert shown() == [7]
    helpdesk.get("/desk/enrollments?state=finished")
    assert (shown(), "No registration matches." in helpdesk.text) == ([], True)
    helpdesk.get("/desk/invitations")
    assert shown() == [26]
    helpdesk.get("/desk/enrollments/enr-pc-07")
    assert "Somebody else has to approve the device." in helpdesk.text
    assert "/desk/devices/pc-07" in helpdesk.page
    assert "0" * 64 not in helpdesk.page
    helpdesk.get("/desk/devices/pc-07")
    assert shown() == [7]


def test_a_registration_nobody_knows_is_a_page_that_says_so(office: PortalOffice) -> None:
    answer = person(office, "helpdesk").get("/desk/enrollments/nothing")

    assert (answer.status_code, "ENROLLMENT_NOT_FOUND" in answer.text) == (404, True)


def test_a_device_nobody_knows_is_a_page_that_says_so(office: PortalOffice) -> None:
    answer = person(office, "owner").get("/desk/devices/nothing")

    assert (answer.status_code, "DEVICE_NOT_FOUND" in answer.text) == (404, True)


def test_the_id_of_a_device_may_hold_anything(office: PortalOffice) -> None:
    odd = "a/b %2F?x=1&y#z"
    office.control.put(a_device(odd))
    owner = person(office, "owner")

    actions = [action for action in walk(owner) if "quarantine" in action]
    operate(owner, "a%2Fb%20%252F%3Fx%3D1%26y%23z", "quarantine")

    assert actions == ["/desk/devices/a%2Fb%20%252F%3Fx%3D1%26y%23z/quarantine"]
    assert office.control.device(odd).status == "quarantined"


# -- attack text


@pytest.mark.parametrize(("name", "language"), [("markup", "ja"), ("reversed", "en"), ("gaiji", "ja"), ("long", "en")])
def test_whatever_somebody_calls_a_thing_stays_text_on_every_page(
    office: PortalOffice, name: str, language: str
) -> None:
    text = ATTACKS[name]
    changed = FactChange(fact="os.version", source="agent", at=NOW - 9, status="observed", value=text)
    told = FactEnvelope(status="observed", value=text, method="self_report", received_at=NOW - 60)
    source = SourceFacts(
        source="agent", received_at=NOW - 60, facts={"os.version": told, "vuln.kev_open": replace(told, value=(text,))}
    )
    named = {"name": text, "model": text, "owner": text[:200], "assigned": (text,), "sponsor": text, "reason": text}
    office.control.put(a_device("laptop-1", sources={"agent": source}, history=(changed,), serial_hash=SERIAL, **named))
    wait(office.control, "new-1", serial_hash="6" * 64, **named)
    ledger(office.control, text, owner=text)
    ledger(office.control, f"{text} other", "6" * 64)
    invite(office.control, invitation("inv-1", subject=text, assigned=text, invited_by=f"person:{ISSUER}|{text}"))
    owner = person(office, "owner", language=language)
    operate(owner, "laptop-1", "quarantine", text)
    pages = [owner.page]

    actions = list(walk(owner, pages))
    owner.get("/desk/invite")
    owner.post("/desk/invite", hidden(owner) | {"subject": text, "ownership": "corp", "ceiling": "200"})
    pages.append(owner.page)

    assert len(actions) > 10
    page = "\n".join(pages)
    shown = unescape(page)
    assert "<img" not in page
    assert "49" not in re.findall(r"<bdi>(\d+)</bdi>", page)
    assert not re.search("[\x00-\x08\u202a-\u202e\u2066-\u2069\u200b]", page)
    if "\u202e" in text:
        assert "gnp[U+202E]gpj.exe[U+2066][U+200B]" in shown
    else:
        assert text in shown


def test_a_reason_of_a_thousand_characters_is_kept_whole(office: PortalOffice) -> None:
    office.control.put(a_device())
    helpdesk = person(office, "helpdesk")
    reason = "髙\U000e0100" * 499 + "終わ"

    operate(helpdesk, "laptop-1", "quarantine", reason)

    assert office.control.device("laptop-1").reason == reason
    assert reason in unescape(helpdesk.page)


def _next(browser: Browser) -> str:
    return browser.page.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
