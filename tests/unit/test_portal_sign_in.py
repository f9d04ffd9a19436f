"""Signing in to people's pages: whoever begins comes back in the same browser, to a page of this site or not at all."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, urlsplit

import pytest
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.control_support import URL
from tests.portal_support import SESSION, Browser, PortalOffice
from tests.portal_support import office as office
from tests.portal_support import shared as shared
from zt_engine.control_plane.portal.parts import place_of
from zt_engine.control_plane.portal.refused import sign_in_path
from zt_engine.control_plane.sessions import check_return


def test_whoever_comes_without_a_session_is_sent_to_sign_in_and_comes_back(shared: PortalOffice) -> None:
    browser = shared.browser()
    sent = browser.once("GET", "/my/devices/laptop-1?lang=en")

    assert sent.status_code == 303
    assert sent.headers["location"] == "/.zt/login?to=/my/devices/laptop-1%3Flang%3Den"
    to = parse_qs(urlsplit(sent.headers["location"]).query)["to"][0]
    answer = browser.sign_in("tanaka", to=quote(to, safe=""))
    assert (answer.status_code, browser.path) == (200, "/my/devices/laptop-1?lang=en")


def test_a_sign_in_sets_cookies_that_no_page_reads_and_no_other_host_is_sent(shared: PortalOffice) -> None:
    browser = shared.browser()
    begun = browser.once("GET", "/.zt/login")
    done = browser.once("GET", browser.way_back("tanaka"))

    cookies = [*begun.headers.get_list("set-cookie"), *done.headers.get_list("set-cookie")]
    assert [cookie.partition("=")[0] for cookie in cookies] == ["__Host-zt-login", SESSION]
    for cookie in cookies:
        assert cookie.startswith("__Host-")
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
    assert shared.provider.asked[-1]["redirect_uri"] == f"{URL}/.zt/callback"


def test_a_browser_that_keeps_no_cookies_is_told_so_and_not_sent_round_again(shared: PortalOffice) -> None:
    browser = Browser(shared.control, cookies=False)
    answer = browser.get(browser.way_back("tanaka"))

    assert answer.status_code == 403
    assert "Signing in needs cookies." in browser.text
    assert "refresh" not in answer.headers


def test_two_tabs_sign_in_at_once_and_both_come_back(shared: PortalOffice) -> None:
    browser = shared.browser()
    one, two = browser.way_back("tanaka", to="/my"), browser.way_back("tanaka", to="/")

    for back, path in ((one, "/my"), (two, "/")):
        assert browser.get(back).status_code == 200
        assert browser.path == path


def test_going_back_to_a_used_answer_leads_on_for_whoever_is_signed_in(shared: PortalOffice) -> None:
    browser = shared.browser()
    back = browser.way_back("tanaka", to="/my")
    browser.get(back)

    assert (browser.get(back).status_code, browser.path) == (200, "/")


def test_a_script_of_a_page_signs_nobody_in(shared: PortalOffice) -> None:
    answer = shared.browser().once("GET", "/.zt/login", sec_fetch_mode="cors")

    assert (answer.status_code, "location" in answer.headers) == (403, False)


@pytest.mark.parametrize("change", ["other browser", "twice", "no state", "two tickets", "mixed up", "denied"])
def test_a_callback_that_is_not_the_answer_to_this_browsers_sign_in_signs_nobody_in(
    shared: PortalOffice, change: str
) -> None:
    browser, other = shared.browser(), shared.browser()
    back = browser.way_back("tanaka")
    if change == "other browser":
        other.way_back("tanaka")
        browser = other
    elif change == "twice":
        browser.get(back)
        browser.cookies.pop(SESSION)
        browser.way_back("tanaka")
    elif change == "no state":
        back = "/.zt/callback?code=tanaka"
    elif change == "two tickets":
        browser.cookies = {"x=1; __Host-zt-login": "a", **browser.cookies}
    elif change == "mixed up":
        back += "&iss=https://other.example"
    else:
        back = back.partition("&code")[0] + "&error=access_denied"
    answer = browser.get(back)

    assert answer.status_code in (401, 403), answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert SESSION not in browser.cookies


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/\\evil.example", "/.zt/logout", "x", "/a b"]
)
def test_a_sign_in_returns_to_a_page_of_this_site_only(shared: PortalOffice, to: str) -> None:
    answer = shared.browser().once("GET", f"/.zt/login?to={quote(to, safe='')}")

    assert (answer.status_code, answer.headers.get("location")) == (403, None)


@given(st.text(st.characters(min_codepoint=1, max_codepoint=0x2FFF), max_size=30))
@settings(max_examples=60, deadline=None)
def test_the_way_back_is_always_one_that_a_sign_in_takes(path: str) -> None:
    scope = {"type": "http", "path": "/my/" + path.replace("%", ""), "query_string": b"a=1", "headers": []}

    check_return(parse_qs(urlsplit(sign_in_path(Request(scope))).query)["to"][0])


def test_the_pages_are_where_the_settings_say_whatever_a_request_says(shared: PortalOffice) -> None:
    shared.browser().once("GET", "/.zt/login", host="evil.example")
    assert shared.provider.asked[-1]["redirect_uri"].startswith(URL + "/")

    with PortalOffice(url="https://[2001:db8::7]:8443") as other:
        place = place_of(other.control.plane)
        assert (place.authority, place.host, place.origin) == (
            "[2001:db8::7]:8443",
            "[2001:db8::7]",
            b"https://[2001:db8::7]:8443",
        )


def test_over_plain_http_nobody_signs_in_and_the_page_says_why() -> None:
    with PortalOffice(url="http://127.0.0.1:9443") as office:
        browser = office.browser()
        assert browser.get("/").status_code == 403
        assert "SIGN_IN_PLAIN" in browser.text
        assert browser.get("/enroll").status_code == 403, "the first step leads to a sign-in"
        assert "SIGN_IN_PLAIN" in browser.text
        assert browser.send("/enroll", {"code": "a-code-of-mine"}, origin="http://127.0.0.1:9443").status_code == 403
        assert "SIGN_IN_PLAIN" in browser.text
