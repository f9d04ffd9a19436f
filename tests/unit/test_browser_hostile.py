"""What browsers may send that no page of ours makes them send: it is refused with a code, and nobody loses anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from tests.control_support import a_device
from tests.portal_support import PortalOffice
from tests.unit.test_browser_site import SID, Desk, ask, asked, site, status
from zt_engine.core.device_proof import proof_of, secret_of
from zt_engine.core.errors import InputError
from zt_engine.core.session import language_of_person, session_handle, sid_of
from zt_engine.sidecar.replica import Changes

HANDLE = b"h" * 43
ODD = (b"", b"a b", b"\xff\xfe", b"%00", b"\x00", b'"quoted"', b"x" * 20_000, b"{}", b"../..", b"<script>")
"""Values of a cookie that none of ours has: empty, of another type, not UTF-8, huge."""


@pytest.fixture(scope="module")
def office() -> Iterator[PortalOffice]:
    with PortalOffice() as made:
        made.control.put(a_device())
        yield made


# -- cookies at the sidecar


@pytest.mark.parametrize("value", [*ODD, b"a; __Host-zt-login=b"])
def test_a_ticket_that_is_none_is_shown_to_nobody(value: bytes) -> None:
    desk = Desk()
    ask(asked(b"/.zt/callback?state=s&code=c", Cookie=b"__Host-zt-login=" + value), desk)

    assert [told["ticket"] for _, told in desk.asked] in ([""], [])


@pytest.mark.parametrize("value", [*ODD, b"h" * 42, b"h" * 44, HANDLE + b"; __Host-zt-session=" + b"i" * 43])
def test_a_session_cookie_that_is_none_ends_and_replaces_nobody_s_session(value: bytes) -> None:
    desk, cookie = Desk(), b"__Host-zt-session=" + value
    ended = ask(asked(b"/.zt/logout", method=b"POST", Sec_Fetch_Site=b"same-origin", Cookie=cookie), desk)
    ask(asked(b"/.zt/callback?state=s&code=c", Cookie=cookie), desk)

    assert status(ended) in (200, 403)
    assert [(what, told.get("replaces")) for what, told in desk.asked] in ([("finish", "")], [])
    with pytest.raises(InputError, match="cookie"):
        session_handle(cookie)


@pytest.mark.parametrize("value", [*ODD, HANDLE, HANDLE + b".a.b", HANDLE + b".a.b.c.d", b"x" * 43 + b"." + b"." * 3])
def test_a_proof_cookie_that_is_none_is_refused_and_a_secret_that_is_none_does_not_count(value: bytes) -> None:
    with pytest.raises(InputError) as refused:
        proof_of(b"__Host-zt-proof=" + value)

    assert refused.value.code == "DEVICE_PROOF_MALFORMED"
    assert secret_of(b"__Host-zt-device=" + value) in (b"", HANDLE)
    assert secret_of(b"__Host-zt-device=" + HANDLE + b"; __Host-zt-device=" + HANDLE) == b""


# -- queries


@pytest.mark.parametrize(
    "uri",
    [
        b"/.zt/login?to=/a&to=/b", b"/.zt/login?acr_values=mfa&acr_values=", b"/.zt/callback?state=a&state=b&code=c",
        b"/.zt/callback?state=a&code=c&code=d", b"/.zt/callback?state=a&code=c&iss=https://idp.example&iss=",
        b"/.zt/callback?state=a&code=c&error=&error=x", b"/.zt/logout?a&a", b"/.zt/signed-out?state=a&%73tate=b",
        b"/.zt/callback?" + b"&".join(b"p%d=" % number for number in range(33)),
    ],
)  # fmt: skip
def test_a_parameter_that_came_twice_or_too_many_reach_nobody_at_the_sidecar(uri: bytes) -> None:
    desk = Desk()
    reply = ask(asked(uri, Cookie=b"__Host-zt-login=ticket", Accept=b"text/html"), desk)

    assert (status(reply), desk.asked) == (403, [])
    assert b"SIGN_IN_STATE" in reply and b"Set-Cookie" not in reply


def test_a_parameter_that_came_twice_uses_up_no_sign_in_on_pages(office: PortalOffice) -> None:
    browser = office.browser()
    back = browser.way_back("tanaka", to="/my")

    for more in ("&state=x", "&code=x", "&iss=a&iss=b", "&lang=ja&lang=en"):
        refused = browser.once("GET", back + more)
        assert (refused.status_code, "REQUEST_MALFORMED" in refused.text) == (400, True)
        assert "__Host-zt-session" not in browser.cookies

    assert browser.once("GET", back).headers["location"] == "/my"


@pytest.mark.parametrize("path", ["/?a=1&a=2", "/my/devices/laptop-1?x&x", "/enroll?here=1&here=1", "/desk?q=&q="])
def test_every_page_takes_each_parameter_once(office: PortalOffice, path: str) -> None:
    browser = office.browser("sato", roles=("approver",))

    answer = browser.once("GET", path)
    assert (answer.status_code, "REQUEST_MALFORMED" in answer.text) == (400, True)
    assert browser.once("GET", "/").status_code == 200


# -- cookies on pages


@pytest.mark.parametrize("value", ODD)
def test_no_cookie_of_pages_breaks_one_or_is_taken_for_another(office: PortalOffice, value: bytes) -> None:
    browser = office.browser("tanaka", language="ja")
    own = f"__Host-zt-session={browser.cookies['__Host-zt-session']}; ".encode()

    def opened(path: str, cookie: bytes) -> Any:
        sent = {"accept": "text/html", "accept-language": "ja", "cookie": cookie}
        return office.control.raw("GET", path, None, sent)  # type: ignore[arg-type]

    kept = opened("/", own + b"zt-lang=" + value)
    invited = opened("/enroll/notice", own + b"__Host-zt-invitation=" + value)
    back = opened("/.zt/callback?state=a&code=b", b"__Host-zt-login=" + value)
    away = opened("/.zt/signed-out?state=" + "a" * 43, b"__Host-zt-leaving=" + value)
    if len(value) < 16_000:  # what a session's cookie may come together with
        assert (kept.status_code, kept.headers["content-language"]) == (200, "ja")
        assert (invited.status_code, invited.headers["location"]) == (303, "/enroll?lost=1")
    assert (back.status_code, away.status_code) == (403, 403)
    assert not back.headers.get("set-cookie", "").startswith("__Host-zt-session")


# -- the language of a person's profile


@pytest.mark.parametrize(
    ("locale", "asked_for", "expected"),
    [
        ("ja-JP", "de", "ja"), ("ja_JP", "", "ja"), ("ja", "en;q=0.1, de", "en"), ("fr", "de", "en"), ("", "de", "en"),
        (["ja"], "de", "en"), ("ja;q=1, en", "de", "en"), ("ja" * 40, "de", "en"), ("ja\r\nx: y", "de", "en"),
    ],
)  # fmt: skip
def test_who_asks_for_neither_language_is_answered_in_that_of_the_person(
    office: PortalOffice, locale: Any, asked_for: str, expected: str
) -> None:
    person = office.browser("tanaka", language=asked_for, claims={"locale": locale})

    for path, page_status in (("/", 200), ("/my", 200), ("/my/devices/none", 404), ("/.zt/logout", 200)):
        answer = person.once("GET", path)
        assert (answer.status_code, answer.headers["content-language"]) == (page_status, expected), path
    assert person.once("GET", "/", cookie=f"{person_cookies(person)}; zt-lang=en").headers["content-language"] == "en"

    here = site(Desk())
    record = replace(here._replica.sessions[SID], sid=sid_of(HANDLE), claims={"locale": locale})
    state = here._replica.state
    here._replica.state = type(state)(state.records.changed(Changes(sessions={record.sid: record})))
    said = {"Cookie": b"__Host-zt-session=" + HANDLE, "Accept_Language": asked_for.encode(), "Accept": b"text/html"}
    for path in (b"/.zt/logout", b"/.zt/nowhere", b"/.zt/signed-out?state=a"):  # a page, and two refusals
        assert f'<html lang="{expected}">'.encode() in _run(here, asked(path, **said)), path
    assert language_of_person({"locale": locale}) in ("", "ja", "ja-JP", "fr")


def person_cookies(browser: Any) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def _run(here: Any, raw: Any) -> bytes:
    answered: bytes = asyncio.run(here(raw))
    return answered
