"""What an enrollment refuses on its pages: each is a page that says what to do, and no page takes a step by itself."""

from __future__ import annotations

import re

import pytest

from tests.control_support import NOW, TENANT
from tests.portal_enroll_support import LINUX, Office
from tests.portal_enroll_support import office as office
from tests.portal_enroll_support import shared as shared
from tests.portal_support import PortalOffice
from zt_engine.control_plane.enrollment import room
from zt_engine.control_plane.enrollment_rules import EnrollmentRules
from zt_engine.control_plane.nonces import digest
from zt_engine.core.errors import InputError
from zt_engine.pages.registry import registry


@pytest.mark.parametrize(
    ("code", "given", "status"),
    [("INVITE_UNKNOWN", "nobodys-code", 404), ("INVITE_UNKNOWN", "a b?", 404), ("INVITE_UNKNOWN", "", 404)],
)
def test_a_code_that_is_none_is_a_page_that_leads_back_to_the_field(
    office: Office, code: str, given: str, status: int
) -> None:
    browser = office.browser(office.who)
    answer = browser.post("/enroll", {"code": given})

    assert answer.status_code == status
    assert code in browser.text
    assert registry()[code].hint("en") in browser.text
    assert 'href="/enroll"' in browser.page


def test_somebody_elses_invitation_tells_its_finder_only_that_and_to_sign_in_as_another(office: Office) -> None:
    browser = office.carrying(subject="suzuki")
    answer = browser.get("/enroll/notice")

    assert answer.status_code == 403
    assert "This invitation is for somebody else." in browser.text
    assert 'href="/.zt/logout"' in browser.page
    assert office.who not in browser.page


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("INVITE_WITHDRAWN", 410),
        ("INVITE_EXPIRED", 410),
        ("ENROLLMENT_EXPIRED", 410),
        ("AGENT_ENROLLMENT_REFUSED", 403),
        ("AUTH_DEVICE_STATUS", 403),
    ],
)
@pytest.mark.parametrize("language", ["ja", "en"])
def test_whatever_ended_it_is_said_with_what_to_do(office: Office, code: str, status: int, language: str) -> None:
    if code == "INVITE_WITHDRAWN":
        office.change_invitation(state="withdrawn")
    if code == "INVITE_EXPIRED":
        office.change_invitation(not_after=NOW)
    if code == "ENROLLMENT_EXPIRED":
        after = office.begin()
        office.change_enrollment(after, not_after=NOW)
    if code == "AGENT_ENROLLMENT_REFUSED":
        office.begin(state="refused", status="enrolled")
    if code == "AUTH_DEVICE_STATUS":
        office.begin(state="complete", status="lost")
    browser = office.carrying(language=language)

    for path in ("/enroll/notice", office.progress):
        answer = browser.get(path)
        assert answer.status_code == status
        assert code in browser.text
        assert registry()[code].text(language) in browser.text
        assert registry()[code].hint(language) in browser.text


def test_a_page_of_another_site_gives_nobody_an_invitation(office: Office) -> None:
    browser = office.browser(office.who)
    answer = browser.send("/enroll", {"code": office.code}, origin="https://evil.example", sec_fetch_site="cross-site")

    assert answer.status_code == 403
    assert "__Host-zt-invitation" not in browser.cookies


def test_a_double_submit_a_second_tab_and_the_back_button_end_at_the_same_page(office: Office) -> None:
    browser = office.carrying()
    browser.send("/enroll", {"code": office.code})
    office.begin(state="complete")

    for path in ("/enroll/notice", "/enroll/install", office.progress):
        browser.get(path)
        assert browser.path == office.progress
        assert "Connected." in browser.text
        browser.send("/enroll", {"code": office.code})


def test_wrong_codes_on_pages_are_counted_together_with_those_at_the_api(office: Office) -> None:
    browser = office.browser("mallory")
    for number in range(10):
        browser.post("/enroll", {"code": f"guess-{number}"})
        browser.get("/enroll/notice")  # looking again is not another guess
    answer = browser.post("/enroll", {"code": office.code})

    assert answer.status_code == 429
    assert "INVITE_GUESSES" in browser.text
    with pytest.raises(InputError, match="INVITE_GUESSES"):
        room(office.plane).enrolling.start(office.code, office.persons.sign_in("mallory"), now=office.plane.now())
    assert "invitation.guessed" in [event.action for event in office.control.audit()]


def test_no_page_takes_a_step(office: Office) -> None:
    browser = office.carrying()
    before = office.control.audit()
    for path in ("/enroll", "/enroll/notice", "/enroll/install", office.progress, f"{office.progress}?since=1"):
        browser.get(path, **LINUX)

    assert office.control.audit() == before
    with office.control.store.reading(TENANT) as tx:
        invitation = tx.invitations.of_code(digest(office.code))
    assert invitation is not None
    assert (invitation.state, invitation.enrollment) == ("open", "")


def test_where_nobody_enrolls_by_signing_in_that_is_said(office: Office) -> None:
    with PortalOffice() as closed:
        browser = closed.browser("tanaka")
        browser.send("/enroll", {"code": office.code})
        answer = browser.get("/enroll/notice")

    assert answer.status_code == 404
    assert "ENROLL_CLOSED" in browser.text
    assert registry()["ENROLL_CLOSED"].hint("en") in browser.text


def test_a_sign_in_that_would_be_too_weak_for_the_agent_is_said_to_be_before_the_command_is_run() -> None:
    rules = EnrollmentRules(sign_in=frozenset({"phr", "hwk"}))
    with Office(rules=rules) as office:
        office.fresh()
        browser = office.carrying()
        answer = browser.get("/enroll/notice")
        assert answer.status_code == 403
        assert registry()["SIGN_IN_WEAK"].hint("en") in browser.text
        again = re.search(r'href="(/\.zt/login\?[^"]*)"', browser.page)
        assert again is not None
        begun = browser.once("GET", again[1].replace("&amp;", "&"))
        assert "acr_values=hwk+phr" in begun.headers["location"]

        strong = office.browser(office.who, acr="phr")
        strong.send("/enroll", {"code": office.code})
        assert strong.get("/enroll/notice").status_code == 200


def test_two_cookies_of_one_name_are_no_invitation(office: Office) -> None:
    browser = office.carrying()
    name = "__Host-zt-invitation"
    cookies = f"__Host-zt-session={browser.cookies['__Host-zt-session']}; {name}={office.code}; {name}=another-code"
    answer = browser.once("GET", "/enroll/install", cookie=cookies)

    assert (answer.status_code, answer.headers["location"]) == (303, "/enroll?lost=1")


@pytest.mark.parametrize("path", ["notice", "install", "progress/0"])
def test_nobody_sees_more_than_the_first_page_without_signing_in(office: Office, path: str) -> None:
    browser = office.browser()
    browser.send("/enroll", {"code": office.code})
    answer = browser.once("GET", f"/enroll/{path}")

    assert (answer.status_code, answer.headers["location"]) == (303, f"/.zt/login?to=/enroll/{path}")
