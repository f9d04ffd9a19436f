"""Sessions at people's pages: what opens them, and that whoever is revoked, has left or signed out is out."""

from __future__ import annotations

from html import unescape
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.control_support import NOW, TENANT, URL
from tests.portal_support import ISSUER, SESSION, Browser, PortalOffice
from tests.portal_support import office as office
from tests.portal_support import shared as shared
from zt_engine.core.session import SessionRecord, sid_of
from zt_engine.pages.registry import registry
from zt_engine.ports.sessions import HeldSession


def kept(office: PortalOffice, browser: Browser, **members: Any) -> None:
    """Change what is held of a browser's session."""
    with office.control.store.writing(TENANT) as tx:
        held = tx.sessions.get(sid_of(browser.cookies[SESSION].encode()))
        assert held is not None
        record = SessionRecord(**{**{f: getattr(held.record, f) for f in held.record.__struct_fields__}, **members})
        tx.sessions.put(HeldSession(record=record, ends_at=held.ends_at))


@pytest.mark.parametrize("members", [{"host": "cases.example"}, {"until": NOW}])
def test_a_session_of_another_site_or_one_that_is_over_opens_nothing(
    shared: PortalOffice, members: dict[str, Any]
) -> None:
    browser = shared.browser("tanaka")
    kept(shared, browser, **members)

    answer = browser.once("GET", "/")

    assert (answer.status_code, answer.headers["location"]) == (303, "/.zt/login?to=/")


@pytest.mark.parametrize(
    ("who", "kind", "key", "code"),
    [
        ("a", "subject", f"{ISSUER}|a", "SUBJECT_REVOKED"),
        ("b", "session", "sid", ""),
        ("c", "session", "idp-c", "SESSION_REVOKED"),
        ("d", "device", "laptop-d", "DEVICE_REVOKED"),
        ("e", "subject", "e", "SUBJECT_REVOKED"),
        ("f", "jti", "sid", ""),
    ],
)
def test_whoever_is_revoked_is_out_within_seconds(
    shared: PortalOffice, who: str, kind: str, key: str, code: str
) -> None:
    """They are told so; sent to sign in is only whom a new session would let in."""
    browser = shared.browser(who, session=f"idp-{who}")
    if kind == "device":
        kept(shared, browser, device_id="laptop-d")
    assert browser.once("GET", "/").status_code == 200
    key = sid_of(browser.cookies[SESSION].encode()) if key == "sid" else key
    told = {"kind": kind, "key": key, "until": shared.control.plane.now() + 600, "reason": "leaving"}
    assert shared.control.call("POST", "/v1/revocations", told).status_code == 201

    shared.control.announced()  # as the sequencer does
    shared.control.clock.advance(2)
    answer = browser.once("GET", "/")
    assert (answer.status_code, code in browser.text) == (403 if code else 303, True)
    shared.control.clock.advance(700)
    assert browser.once("GET", "/").status_code == 200


def test_a_revocation_that_nobody_sequences_counts_all_the_same(office: PortalOffice) -> None:
    browser = office.browser("tanaka")
    assert browser.once("GET", "/").status_code == 200
    told = {"kind": "subject", "key": f"{ISSUER}|tanaka", "until": None, "reason": "leaving"}
    office.control.call("POST", "/v1/revocations", told)

    office.control.clock.advance(60)
    assert browser.once("GET", "/").status_code == 403


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_revoked_person_whom_the_provider_lets_in_again_is_not_sent_in_circles(
    office: PortalOffice, language: str
) -> None:
    browser = office.browser("tanaka", language=language)
    told = {"kind": "subject", "key": "tanaka", "until": None, "reason": "leaving"}
    office.control.call("POST", "/v1/revocations", told)
    office.control.announced()
    office.control.clock.advance(2)

    answer = browser.sign_in("tanaka", to="/my")

    assert (answer.status_code, browser.path) == (403, "/my")
    entry = registry()["SUBJECT_REVOKED"]
    assert all(words in browser.text for words in (entry.text(language), entry.hint(language), "SUBJECT_REVOKED"))
    assert browser.send("/my/devices/laptop-1/lost", {}).status_code == 403


def test_revocations_whose_announcement_is_forgotten_are_all_read_again(office: PortalOffice) -> None:
    browser = office.browser("tanaka")
    assert browser.once("GET", "/").status_code == 200
    for key in ("nobody", f"{ISSUER}|tanaka"):
        told = {"kind": "subject", "key": key, "until": NOW + 900, "reason": "leaving"}
        office.control.call("POST", "/v1/revocations", told)
    office.control.announced()
    office.control.store.forget(TENANT, before=office.control.store.span(TENANT)[1] + 1)

    office.control.clock.advance(2)
    assert browser.once("GET", "/").status_code == 403


def test_whoever_no_longer_works_here_is_told_so_and_does_nothing(office: PortalOffice) -> None:
    browser = office.browser("tanaka")
    record = {
        "status": "suspended", "groups": [], "compartments": [], "clearance": 0, "org": "", "valid_until": None,
    }  # fmt: skip
    put = office.control.call("PUT", f"/v1/subjects/{quote(ISSUER, safe='')}/tanaka", record, who="security")
    assert put.status_code == 200, put.text

    answer = browser.get("/")

    assert (answer.status_code, "PERSON_INACTIVE" in browser.text) == (403, True)


@pytest.mark.parametrize(
    "cookie", [f"{SESSION}=short", f"{SESSION}={'a' * 43}; {SESSION}={'b' * 43}", f"{SESSION}={'a' * 20_000}"]
)
def test_a_cookie_that_is_no_session_is_a_page_and_not_a_failure(shared: PortalOffice, cookie: str) -> None:
    answer = shared.browser().once("GET", "/", cookie=cookie)

    assert (answer.status_code, "Sign in again" in answer.text) == (403, True)


def test_a_handle_nobody_knows_is_sent_to_sign_in(shared: PortalOffice) -> None:
    assert shared.browser().once("GET", "/", cookie=f"{SESSION}={'a' * 43}").status_code == 303


def test_a_session_is_refreshed_when_it_is_due(office: PortalOffice) -> None:
    office.provider.refresh_token = "r1"
    browser = office.browser("tanaka")
    office.control.clock.advance(600)
    assert browser.once("GET", "/").status_code == 200
    office.control.clock.advance(600)

    assert browser.once("GET", "/").status_code == 200


def test_who_signs_out_is_out_and_nobody_is_signed_out_from_elsewhere(office: PortalOffice) -> None:
    browser = office.browser("tanaka")
    browser.get("/.zt/logout")
    for headers in (
        {"sec_fetch_site": "cross-site", "origin": "https://evil.example"},
        {"sec_fetch_site": "", "origin": ""},
        {"sec_fetch_site": "", "origin": "null"},
        {"sec_fetch_site": "same-site", "origin": "https://www.control.example"},
    ):
        assert browser.send("/.zt/logout", {}, **headers).status_code == 403
    handle = browser.cookies[SESSION]

    done = browser.send("/.zt/logout", {})

    assert (done.status_code, SESSION in browser.cookies) == (200, False)
    browser.cookies[SESSION] = handle
    assert browser.once("GET", "/").status_code == 303


def test_who_signs_out_goes_on_to_the_provider_where_the_settings_say_so_and_only_they_come_back() -> None:
    with PortalOffice(onward=True) as office:
        browser = office.browser("tanaka")
        done = browser.send("/.zt/logout", {})
        onward = urlsplit(done.headers["refresh"].removeprefix("0; url="))
        asked = parse_qs(onward.query)
        assert asked["post_logout_redirect_uri"] == [f"{URL}/.zt/signed-out"]
        assert unescape(done.text).count(onward.geturl()) == 1

        assert office.browser().get(f"/.zt/signed-out?state={asked['state'][0]}").status_code == 403
        assert browser.get("/.zt/signed-out?state=x").status_code == 403
        assert browser.get(f"/.zt/signed-out?state={asked['state'][0]}").status_code == 200
        events = [event for event in office.control.audit() if event.action == "session.ended"]
        assert [event.actor for event in events] == [f"person:{ISSUER}|tanaka"]
