"""The pages of an enrollment: from the invitation to the one command, and whoever opens them elsewhere is led on."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from device_inventory.agent.link import read_ticket
from device_inventory.notice import notice
from tests.portal_enroll_support import LINUX, PIN, Office
from tests.portal_enroll_support import office as office
from tests.portal_enroll_support import shared as shared


def test_the_first_page_asks_nobody_to_sign_in_and_loads_nothing_but_one_script_by_its_digest(office: Office) -> None:
    answer = office.browser().get("/enroll", **LINUX)

    assert answer.status_code == 200
    assert ">Register a device</h1>" in answer.text
    assert 'data-invited="You are invited to register a device"' in answer.text, "for the script that finds a code"
    policy = answer.headers["content-security-policy"]
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'", policy)
    assert "unsafe" not in policy


def test_an_invitation_survives_the_sign_in_and_a_form_never_leaves_this_site_for_it(office: Office) -> None:
    browser = office.browser()
    answer = browser.send("/enroll", {"code": office.code})

    # Chromium follows redirects of a form only to where `form-action` allows it.
    assert (answer.status_code, answer.headers["refresh"]) == (200, "0; url=/enroll/notice")
    assert 'href="/enroll/notice"' in answer.text
    assert browser.once("GET", "/enroll/notice").headers["location"] == "/.zt/login?to=/enroll/notice"
    browser.sign_in(office.who, to="/enroll/notice")
    assert browser.path == "/enroll/notice"
    assert "What is collected, and why" in browser.text


def test_whoever_is_signed_in_goes_on_at_once(office: Office) -> None:
    browser = office.browser(office.who)
    answer = browser.send("/enroll", {"code": office.code})

    assert (answer.status_code, answer.headers["location"]) == (303, "/enroll/notice")


def test_the_cookie_is_of_this_host_and_no_script_reads_it(office: Office) -> None:
    answer = office.browser(office.who).send("/enroll", {"code": office.code})
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith("__Host-zt-invitation="))

    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("ownership", ["corp", "byod"])
def test_the_notice_shows_every_fact_with_its_purpose_and_how_long_it_is_kept(
    office: Office, language: Any, ownership: Any
) -> None:
    code, _ = office.invite(ownership=ownership, ceiling=100)
    browser = office.carrying(code=code, language=language)
    browser.get("/enroll/notice")

    facts = notice(ownership, language)
    for fact in facts:
        assert all(" ".join(text.split()) in browser.text for text in (fact.text, fact.purpose, fact.retention))
    assert browser.page.count("<li>") - browser.page.count("<li><a ") == len(facts)
    assert {"ja": "平", "en": "Level 1"}[language] in browser.text


def test_exactly_one_command_is_given_and_the_agent_takes_it_with_the_pin(office: Office) -> None:
    browser = office.carrying()
    browser.get("/enroll/install")
    commands = re.findall(r'class="command"[^>]*>(.*?)<', browser.page)

    assert len(commands) == 1
    words = shlex.split(commands[0].replace("&amp;", "&").replace("&#39;", "'"))
    assert words[:3] == ["zt", "agent", "enroll"]
    ticket = read_ticket(words[3])
    assert (ticket.code, ticket.url, ticket.ca_sha256) == (office.code, "https://control.example", PIN)
    assert "sha256sum" in browser.text
    assert office.progress in browser.page


def test_without_the_cookie_the_invitation_is_asked_for_again(office: Office) -> None:
    browser = office.browser(office.who)

    for path in ("/enroll/notice", "/enroll/install"):
        browser.get(path, **LINUX)
        assert "Paste your invitation once more" in browser.text


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (Linux; Android 16; Pixel 9) Mobile", "Open this on the computer you want to register"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)", "Open this on the computer you want to register"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "This invitation is for a device with Linux"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)", "This invitation is for a device with Linux"),
    ],
)
def test_an_invitation_opened_on_the_wrong_device_says_where_to_open_it_and_can_go_on(
    office: Office, agent: str, words: str
) -> None:
    browser = office.browser()
    browser.get("/enroll", user_agent=agent)
    assert words in browser.text
    assert "has not been used" in browser.text

    browser.get("/enroll?here=1", user_agent=agent)
    assert "Register a device –" in browser.text


def test_every_page_says_its_language_and_is_kept_by_nobody(office: Office) -> None:
    for language in ("ja", "en"):
        browser = office.carrying(language=language)
        for path in ("/enroll", "/enroll/notice", "/enroll/install", office.progress):
            answer = browser.get(path, **LINUX)
            assert f'<html lang="{language}">' in answer.text
            assert answer.headers["content-language"] == language
            assert answer.headers["cache-control"] == "no-store"
