"""People's pages: who is let in, what a form needs, and that whatever goes wrong is a page that says what to do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.control_support import NOW, TENANT, URL, Control, a_device
from tests.portal_support import ISSUER, Browser, PortalOffice
from zt_engine.adapters.admin_keys import ClaimedRoles
from zt_engine.config.control import Control as ControlSection
from zt_engine.control_plane.portal.parts import NoRoles, place_of
from zt_engine.control_plane.portal.refused import sign_in_path
from zt_engine.control_plane.sessions import check_return
from zt_engine.core.session import SessionRecord, sid_of
from zt_engine.pages import portal as texts
from zt_engine.pages.book import PageBook
from zt_engine.pages.registry import registry
from zt_engine.ports.sessions import HeldSession

SESSION = "__Host-zt-session"


@pytest.fixture
def office() -> Iterator[PortalOffice]:
    with PortalOffice() as made:
        yield made


@pytest.fixture(scope="module")
def shared() -> Iterator[PortalOffice]:
    """For tests that change nothing but sessions."""
    with PortalOffice() as made:
        made.control.put(a_device())
        yield made


# -- signing in


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


# -- sessions


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


# -- forms

LOST = "/my/devices/laptop-1/lost"


@pytest.mark.parametrize(
    ("form", "headers", "code"),
    [
        ({}, {}, "FORM_STALE"),
        ({"csrf": "wrong"}, {}, "FORM_STALE"),
        ({"csrf": "other"}, {}, "FORM_STALE"),
        ({"csrf": "own"}, {"origin": "https://evil.example", "sec_fetch_site": "cross-site"}, "SESSION_CROSS_SITE"),
        ({"csrf": "own"}, {"origin": "null", "sec_fetch_site": ""}, "SESSION_CROSS_SITE"),
        ({"csrf": "own"}, {"origin": "", "sec_fetch_site": ""}, "SESSION_CROSS_SITE"),
        ({"csrf": "own"}, {"content_type": "text/plain"}, "FORM_STALE"),
        ({"csrf": "own"}, {"content_type": "application/json"}, "FORM_STALE"),
        ({"csrf": "own"}, {"content_type": ""}, "FORM_STALE"),
    ],
)
def test_a_form_that_is_not_this_sessions_own_changes_nothing(
    shared: PortalOffice, form: dict[str, str], headers: dict[str, str], code: str
) -> None:
    browser, other = shared.browser("tanaka"), shared.browser("tanaka")
    browser.get(LOST)
    other.get(LOST)
    assert browser.csrf
    assert browser.csrf != other.csrf
    sent = {name: {"own": browser.csrf, "other": other.csrf}.get(value, value) for name, value in form.items()}

    answer = browser.send(LOST, sent, **headers)

    assert (answer.status_code, code in answer.text) == (403, True)
    assert shared.control.device("laptop-1").status == "active"


def test_a_form_sent_after_the_session_ended_is_refused_with_the_way_to_sign_in(office: PortalOffice) -> None:
    office.control.put(a_device())
    browser = office.browser("tanaka")
    browser.get(LOST)
    form = {"csrf": browser.csrf}
    office.control.clock.advance(9 * 3600)

    answer = browser.send(LOST, form)

    assert (answer.status_code, 'href="/.zt/login?to=/"' in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"csrf=a&csrf=b", 400),
        (b"a=%FF", 400),
        (b"&".join(b"a%d=1" % n for n in range(65)), 400),
        (b"a=1" * 30_000, 413),
    ],
)
def test_a_body_that_is_no_form_of_ours_is_a_page(shared: PortalOffice, body: bytes, status: int) -> None:
    browser = shared.browser("tanaka")
    kind = {"content_type": "application/x-www-form-urlencoded", "origin": URL, "sec_fetch_site": "same-origin"}

    answer = browser.once("POST", LOST, body, **kind)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")


# -- pages


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/my", 200), ("/my/devices/laptop-1", 200), (LOST, 200), ("/my/devices/none", 404), ("/none", 404),
     ("/.zt/logout", 200), ("/my/devices/%00", 422), ("/.zt/login?max_age=x", 422), ("/v1/lost", 405)],
)  # fmt: skip
def test_every_answer_to_a_person_is_a_page_with_all_its_headers(shared: PortalOffice, path: str, status: int) -> None:
    answer = shared.browser("tanaka").once("GET", path)

    assert answer.status_code == status, answer.text
    headers = answer.headers
    policy = headers["content-security-policy"]
    for part in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"):
        assert part in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert (headers["referrer-policy"], headers["content-language"]) == ("same-origin", "en")
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["strict-transport-security"]
    assert "Ministry of Tests" in answer.text
    assert "03-0000-0000 (help desk)" in answer.text
    assert '<html lang="en">' in answer.text


def test_programs_get_problems_and_never_pages(shared: PortalOffice) -> None:
    for path, status in (("/none", 404), ("/v1/devices", 401)):
        answer = shared.control.call("GET", path, who=None, accept="application/json")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_where_nobody_signs_in_with_a_browser_there_are_no_pages() -> None:
    with Control() as control:
        for path in ("/", "/my", "/.zt/login"):
            answer = control.call("GET", path, who=None, accept="text/html")
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_failure_of_ours_is_a_page_that_says_nothing_of_it(
    shared: PortalOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = shared.browser("tanaka")
    monkeypatch.setattr("zt_engine.control_plane.shell.log", Silent())
    monkeypatch.setattr(PageBook, "render", once_failing(PageBook.render))

    answer = browser.once("GET", "/")

    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert "Something unforeseen went wrong" in answer.text


class Silent:
    """A log that nobody reads."""

    def exception(self, *_: object, **__: object) -> None:
        pass


def once_failing(render: Any) -> Any:
    failed = []

    def broken(*args: Any, **values: Any) -> Any:
        if not failed:
            failed.append(True)
            raise RuntimeError("a secret of ours")
        return render(*args, **values)

    return broken


def test_the_language_is_what_was_chosen_else_what_the_browser_asks_for_else_the_settings(
    shared: PortalOffice,
) -> None:
    browser = shared.browser("tanaka", language="ja")
    assert browser.once("GET", "/").headers["content-language"] == "ja"
    assert browser.once("GET", "/", accept_language="fr").headers["content-language"] == "en"

    chosen = browser.once("GET", "/?lang=en")
    assert chosen.headers["content-language"] == "en"
    assert browser.cookies["zt-lang"] == "en"
    assert browser.once("GET", "/none").headers["content-language"] == "en"
    assert browser.once("GET", "/?lang=fr", cookie="").headers["location"].startswith("/.zt/login")


def test_who_has_a_role_by_the_claims_of_the_right_issuer_sees_the_desk(shared: PortalOffice) -> None:
    assert 'href="/desk"' in shared.browser("sato", roles=("approver",)).get("/").text
    assert 'href="/desk"' not in shared.browser("tanaka").get("/").text
    roles = ClaimedRoles(ISSUER, claim="roles", roles={"owner": ("own",)})
    assert roles.role(ISSUER, {"roles": ["own"]}) == "owner"
    assert roles.role("https://other.example", {"roles": ["own"]}) is None
    assert ClaimedRoles("", claim="roles", roles={"owner": ("own",)}).role(ISSUER, {"roles": ["own"]}) is None
    assert NoRoles().role(ISSUER, {"roles": ["own"]}) is None


# -- texts


class Tags(HTMLParser):
    """What a page is made of, without its words."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *sorted(name for name, _ in attrs)))


def tags(page: str) -> list[tuple[str, ...]]:
    reader = Tags()
    reader.feed(page)
    return reader.found


HARD = ["𠮷田󠄀", "\u202eלכ", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "x" * 512, "{{ 7 * 7 }}"]


@pytest.mark.parametrize("name", HARD)
def test_a_name_is_text_whatever_stands_in_it(shared: PortalOffice, name: str) -> None:
    device = f"odd-{HARD.index(name)}"
    shared.control.put(a_device(device, name="plain", reason="plain"))
    browser = shared.browser("tanaka")
    plain = tags(browser.get(f"/my/devices/{device}").text)

    with shared.control.store.writing(TENANT) as tx:
        tx.devices.put(a_device(device, name=name, reason=name, model=name, version=2))
    odd = browser.get(f"/my/devices/{device}").text

    assert [tag for tag in tags(odd) if tag[0] in ("script", "img")] == []
    assert len(tags(odd)) <= len(plain) + 6  # the model has a row of its own
    assert name != "{{ 7 * 7 }}" or name in browser.text
    assert "\u202e" not in odd


def test_every_text_is_there_in_both_languages() -> None:
    for held in (texts.BASE, texts.HOME, texts.MESSAGE, texts.SIGNED_OUT):
        assert held["ja"].keys() == held["en"].keys()
    assert set(texts.PLAIN) <= set(registry())
    for code in ("FORM_STALE", "REQUEST_NOT_FOUND", "SIGN_IN_COOKIES"):
        assert all(all(texts.told(code, language)) for language in ("ja", "en"))
    assert texts.told("NO_SUCH", "en") == ("NO_SUCH", texts.MESSAGE["en"]["fallback"])


def test_the_settings_that_the_docs_show_are_read() -> None:
    page = Path(__file__).parents[2] / "docs" / "portal.md"
    shown = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)

    control = ControlSection(**tomllib.loads(shown[0])["control"])
    assert (control.organisation, control.public_url) == ("○○省", URL)
