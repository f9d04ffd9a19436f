"""Whoever comes back from the identity provider without what was asked for is told so, and not sent round and round."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from html import unescape
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.portal_support import PortalOffice
from tests.portal_support import office as office
from tests.session_support import Office
from tests.unit.test_browser_site import NOW, SID, Desk, asked, site, status
from tests.unit.test_session_pages import header
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.identity import Subject, step_up_satisfied
from zt_engine.core.session import SessionRecord
from zt_engine.core.wish import Wish, unmet
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.ports.sessions import Finished

TABLE = {"pwd": 1, "mfa": 2, "otp": 2, "phr": 3}
BACK = b"/.zt/callback?state=s&code=c"
DENIED = DeniedPage(registry(), default_language="en", signs_in=True, help_url="https://help.example/")
MARKS = {"Accept": b"text/html", "Accept_Language": b"en"}


class Wished(Desk):
    """A control plane at which a sign-in was begun for more than a sign-in."""

    def __init__(self, wish: Wish, failure: Exception | None = None) -> None:
        super().__init__(failure)
        self.wish = wish

    async def finish(self, told: Mapping[str, object]) -> Finished:
        await super().finish(told)
        return Finished("h" * 43, SID, "/cases/1?a=1", 900, self.wish)


def come_back(wish: Wish, said: dict[str, Any], **headers: bytes) -> bytes:
    made = site(Wished(wish), denied=DENIED, said=said, assurance=lambda: TABLE)
    return asyncio.run(made(asked(BACK, **(MARKS | headers))))


@pytest.mark.parametrize(
    ("wish", "said", "link"),
    [
        (Wish(acr_values="mfa"), {}, "/.zt/login?to=%2Fcases%2F1%3Fa%3D1&acr_values=mfa"),
        (Wish(acr_values="mfa"), {"amr": ("pwd",)}, "/.zt/login?to=%2Fcases%2F1%3Fa%3D1&acr_values=mfa"),
        (Wish(max_age=300), {"auth_time": NOW - 301}, "/.zt/login?to=%2Fcases%2F1%3Fa%3D1&max_age=300"),
        (Wish(max_age=300), {}, "/.zt/login?to=%2Fcases%2F1%3Fa%3D1&max_age=300"),
    ],
)
def test_it_is_a_page_that_says_what_is_missing_what_to_do_and_whom_to_ask_and_leads_nowhere_by_itself(
    wish: Wish, said: dict[str, Any], link: str
) -> None:
    with capture_logs() as logged:
        reply = come_back(wish, said)
    text = unescape(reply.partition(b"\r\n\r\n")[2].decode())

    assert (status(reply), header(reply, b"Location"), header(reply, b"Refresh")) == (403, [], [])
    assert header(reply, b"Set-Cookie")[0].startswith(b"__Host-zt-session=" + b"h" * 43)  # she is signed in
    assert '<code id="code">SIGN_IN_UNMET</code>' in text and "https://help.example/" in text
    assert "help desk" in text and "One more step" in text
    assert "come to the site" in text and "this page afterwards" not in text  # nobody comes back to a callback
    assert f'href="{link}"' in text
    (event,) = [one for one in logged if one["event"] == "sign_in.step_up_unmet"]
    assert event["missing"] == (("mfa",) if wish.acr_values else ("max_age",)) and event["hint"]


def test_it_says_so_in_japanese() -> None:
    reply = come_back(Wish(acr_values="mfa"), {}, Accept_Language=b"ja").partition(b"\r\n\r\n")[2].decode()

    assert '<html lang="ja">' in reply and "もう一段階の確認が必要です" in reply and "ヘルプデスク" in reply


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(), {}),
        (Wish(acr_values="mfa"), {"acr": "mfa"}),
        (Wish(acr_values="mfa"), {"amr": ("pwd", "otp")}),
        (Wish(acr_values="pwd mfa"), {"acr": "phr"}),
        (Wish(acr_values="urn:special"), {"acr": "urn:special"}),
        (Wish(max_age=300), {"auth_time": NOW - 300}),
    ],
)
def test_whoever_brings_it_comes_back_to_the_page(wish: Wish, said: dict[str, Any]) -> None:
    reply = come_back(wish, said)

    assert (status(reply), header(reply, b"Location")) == (303, [b"/cases/1?a=1"])


def test_an_older_control_plane_that_does_not_say_what_was_asked_for_is_understood() -> None:
    raw = b'{"handle": "h", "sid": "s", "to": "/", "seconds": 9, "more": 1}'

    assert msgspec.json.decode(raw, type=Finished).wish == Wish()


NAMES = st.sampled_from(["", "pwd", "mfa", "otp", "phr", "urn:special", "urn:other"])


@given(
    asked_for=NAMES,
    age=st.none() | st.integers(0, 600),
    acr=NAMES,
    amr=st.lists(NAMES.filter(bool), max_size=3),
    auth_time=st.none() | st.integers(NOW - 700, NOW),
)
def test_invariant_the_page_says_exactly_what_the_next_request_would_be_refused_for(
    asked_for: str, age: int | None, acr: str, amr: list[str], auth_time: int | None
) -> None:
    record = SessionRecord(
        sid=SID, version=1, host="portal.example", issuer="https://idp.example", subject="tanaka", client_id="p",
        claims={}, until=NOW + 900, acr=acr, amr=tuple(amr), auth_time=auth_time,
    )  # fmt: skip
    subject = Subject(type="user", acr=acr, amr=tuple(amr), auth_time=auth_time)

    missing = unmet(Wish(acr_values=asked_for, max_age=age), record, TABLE, now=NOW)

    assert (not missing) == step_up_satisfied(subject, acr=asked_for, max_age=age, table=TABLE, now=NOW)


def test_the_control_plane_keeps_what_a_sign_in_was_begun_for_until_it_comes_back() -> None:
    office = Office()
    with office.control:
        done = office.finish(*office.begin(acr_values="phr", max_age=60))

    assert done.wish == Wish(acr_values="phr", max_age=60)


@pytest.mark.parametrize("language", ["ja", "en"])
def test_on_our_own_pages_a_provider_that_does_not_heed_max_age_is_not_asked_again_and_again(
    office: PortalOffice, language: str
) -> None:
    browser = office.browser("tanaka", language=language, auth_time=int(office.control.clock.now()) - 4000)
    way = browser.way_back("tanaka", to="/my/keys/new&max_age=300")
    with capture_logs() as logged:
        answer = browser.once("GET", way)

    assert (answer.status_code, answer.headers.get("location")) == (403, None)
    assert "SIGN_IN_UNMET" in browser.text and ("ヘルプデスク" if language == "ja" else "help desk") in browser.text
    assert "/.zt/login?to=%2Fmy%2Fkeys%2Fnew&amp;max_age=300" in answer.text
    assert [one["missing"] for one in logged if one["event"] == "sign_in.step_up_unmet"] == [("max_age",)]
    assert browser.get("/my").status_code == 200  # signed in all the same
    office.people.known["tanaka"] = {}  # the provider asks for the password now
    assert browser.once("GET", browser.way_back("tanaka", to="/my/keys/new&max_age=300")).status_code == 303


# -- whatever else goes wrong on the way back leads on


def test_where_signing_in_again_would_help_nobody_there_is_no_way_to_it() -> None:
    made = site(Wished(Wish(), UnavailableError("SIGN_IN_CLIENT", "the provider does not know us")), denied=DENIED)
    text = asyncio.run(made(asked(BACK, **MARKS))).decode()

    assert "SIGN_IN_CLIENT" in text and "/.zt/login" not in text and "help desk" in text


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (InputError("TOKEN_SIGNATURE", "another key"), "TOKEN_SIGNATURE"),
        (InputError("TOKEN_KEY_UNKNOWN", "a new key"), "TOKEN_KEY_UNKNOWN"),
        (InputError("TOKEN_EXPIRED", "old"), "TOKEN_EXPIRED"),
        (InputError("SIGN_IN_CODE", "refused"), "SIGN_IN_CODE"),
        (UnavailableError("SIGN_IN_PROVIDER", "silent"), "SIGN_IN_PROVIDER"),
        (UnavailableError("KEYS_UNAVAILABLE", "no keys"), "KEYS_UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("uri", [b"/.zt/login?to=/cases/1&acr_values=mfa", BACK])
def test_a_sign_in_that_broke_off_has_the_way_to_begin_again(failure: Exception, code: str, uri: bytes) -> None:
    made = site(Wished(Wish(), failure), denied=DENIED)
    text = unescape(asyncio.run(made(asked(uri, **MARKS))).decode())

    (link,) = re.findall(r'class="act" href="([^"]*)"', text)
    kept = isinstance(failure, UnavailableError) and uri != BACK  # where the page asked for is still known
    assert link == ("/.zt/login?to=%2Fcases%2F1&acr_values=mfa" if kept else "/.zt/login?to=/")
    assert f'<code id="code">{code}</code>' in text
