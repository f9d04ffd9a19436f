"""What a browser with scripts, tabs, a back button and an identity provider of its own mind is answered at `/.zt/`."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from tests.unit.test_browser_site import NOW, SID, Desk, ask, asked, site, status
from zt_engine.core.errors import InputError
from zt_engine.core.session import sid_of
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.ports.sessions import Finished
from zt_engine.sidecar.replica import Changes

HANDLE = b"w" * 43
TICKET = b"t" * 43
COOKIE = b"__Host-zt-session=" + HANDLE


def header(reply: bytes, name: bytes) -> list[bytes]:
    head = reply.partition(b"\r\n\r\n")[0]
    return re.findall(rb"\r\n" + name + rb": ([^\r]*)", head)


class Known(Desk):
    """A desk whose provider goes on to sign people out, and whose answers were all used before."""

    def __init__(self, *, onward: str = "", used: bool = False) -> None:
        super().__init__()
        self.onward = onward
        self.used = used

    async def finish(self, told: Mapping[str, object]) -> Finished:
        if self.used:
            raise InputError("SIGN_IN_STATE", "used")
        return await super().finish(told)

    async def end(self, sid: str, *, back: str = "", state: str = "") -> str:
        await super().end(sid, back=back, state=state)
        return self.onward and f"{self.onward}?state={state}"


@pytest.mark.parametrize("what", ["ask", "done", "already"])
def test_the_pages_of_signing_out_run_nothing_fetch_nothing_and_post_to_their_own_site_alone(what: str) -> None:
    pages = SignOutPage(default_language="ja")
    body: bytes = getattr(pages, what)(accept_language="en")
    (style,) = re.findall(rb"<style>(.*?)</style>", body, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()

    assert pages.security_policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    assert not re.search(rb"<(?:script|img|link|iframe|object|embed|base)\b|\son\w+=|\sstyle=|url\(|@import", body)


@pytest.mark.parametrize("mode", [b"cors", b"no-cors", b"same-origin", b"websocket"])
def test_a_script_is_never_sent_to_the_provider_and_gets_no_cookie(mode: bytes) -> None:
    desk = Desk()
    replies = [ask(asked(b"/.zt/login?to=/app", Sec_Fetch_Mode=mode, Accept=b"*/*"), desk) for _ in range(3)]

    assert desk.asked == []
    for reply in replies:
        assert (status(reply), header(reply, b"Location"), header(reply, b"Set-Cookie")) == (401, [], [])
        assert header(reply, b"WWW-Authenticate") == [b"Bearer"]
        assert json.loads(reply.partition(b"\r\n\r\n")[2])["code"] == "AUTH_REQUIRED"
    assert status(ask(asked(b"/.zt/login?to=/app", Sec_Fetch_Mode=b"navigate"), desk)) == 302


def test_a_program_without_a_session_is_told_where_its_person_signs_in() -> None:
    page = DeniedPage(registry(), default_language="en", signs_in=True)
    told = {"code": "AUTH_REQUIRED", "decision": "d", "accept": "application/json", "accept_language": ""}

    refused = json.loads(page.render(status=401, sign_in="/.zt/login?to=%2Fapp", **told).body)
    forbidden = json.loads(page.render(status=403, sign_in="/.zt/login?to=%2Fapp", **told).body)

    assert refused["sign_in"] == "/.zt/login?to=%2Fapp"
    assert "sign_in" not in forbidden


def test_a_second_tab_keeps_the_ticket_of_the_first_and_both_come_back() -> None:
    desk = Desk()
    with_ticket = {"Cookie": b"__Host-zt-login=" + TICKET}
    ask(asked(b"/.zt/login?to=/a", **with_ticket), desk)
    first = ask(asked(b"/.zt/callback?state=a&code=c", **with_ticket), desk)
    ask(asked(b"/.zt/callback?state=b&code=d", **with_ticket), desk)

    assert [told["ticket"] for _, told in desk.asked] == [TICKET.decode()] * 3
    assert not any(b"__Host-zt-login" in value for value in header(first, b"Set-Cookie"))


def test_a_new_session_names_the_one_that_it_replaces() -> None:
    desk = Desk()
    ask(asked(b"/.zt/callback?state=a&code=c", Cookie=COOKIE), desk)
    ask(asked(b"/.zt/callback?state=a&code=c"), desk)

    assert [told["replaces"] for _, told in desk.asked] == [sid_of(HANDLE), ""]


def test_the_back_button_to_a_used_answer_says_that_one_is_signed_in_and_leads_on() -> None:
    desk = Known(used=True)
    signed_in = site(desk)
    record = next(iter(signed_in._replica.sessions.values()))
    raw = asked(b"/.zt/callback?state=a&code=c", Cookie=COOKIE)
    assert status(asyncio.run(signed_in(raw))) == 403  # the cookie is nobody's

    replica = signed_in._replica
    for until, expected in ((record.until, 200), (NOW, 403)):
        mine = replace(record, sid=sid_of(HANDLE), until=until)
        replica.state = type(replica.state)(replica.state.records.changed(Changes(sessions={mine.sid: mine})))
        reply = asyncio.run(signed_in(raw))
        assert status(reply) == expected
        assert header(reply, b"Location") == []
    assert SID in signed_in._replica.sessions


def test_signing_out_goes_on_to_the_provider_where_the_control_plane_says_so_and_comes_back_once() -> None:
    desk = Known(onward="https://idp.example/end")
    left = ask(asked(b"/.zt/logout", method=b"POST", Sec_Fetch_Site=b"same-origin", Cookie=COOKIE), desk)
    ((_, told),) = desk.asked
    state = str(told["state"]).encode()

    assert (told["sid"], told["back"]) == (sid_of(HANDLE), "https://portal.example")
    assert status(left) == 200
    assert header(left, b"Refresh") == [b"0; url=https://idp.example/end?state=" + state]
    assert b'href="https://idp.example/end?state=' + state in left
    cookies = header(left, b"Set-Cookie")
    assert [value.partition(b";")[0] for value in cookies] == [b"__Host-zt-session=", b"__Host-zt-leaving=" + state]

    back = b"/.zt/signed-out?state=" + state
    home = ask(asked(back, Cookie=b"__Host-zt-leaving=" + state))
    assert status(home) == 200
    assert b"__Host-zt-leaving=; " in header(home, b"Set-Cookie")[0]
    for cookie in (b"", b"__Host-zt-leaving=" + b"x" * 43, (b"__Host-zt-leaving=" + state + b"; ") * 2):
        assert status(ask(asked(back, Cookie=cookie))) == 403


def test_without_a_session_or_a_provider_that_offers_it_signing_out_ends_here() -> None:
    for desk, cookie in ((Known(), COOKIE), (Known(onward="https://idp.example/end"), b"")):
        left = ask(asked(b"/.zt/logout", method=b"POST", Sec_Fetch_Site=b"same-origin", Cookie=cookie), desk)

        assert (status(left), header(left, b"Refresh")) == (200, [])
        assert len(header(left, b"Set-Cookie")) == 1
