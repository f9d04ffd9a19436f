"""What a browser is answered at `/.zt/`: sent away, taken back, or told what is wrong, whatever it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import FakeClock
from tests.hook_support import KEY, credential
from zt_engine.adapters.dev_issuer import DevDeviceCa
from zt_engine.bootstrap.device_certificates import DeviceCertificates
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.session import SessionRecord
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.ports.sessions import Begun, Finished
from zt_engine.sidecar.browser.answers import answer
from zt_engine.sidecar.browser.signing_in import BrowserSignIn
from zt_engine.sidecar.browser.wire import Raw
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.replica import Changes, Replica

NOW = 1_790_000_000
SID = "a" * 43


class Desk:
    """The control plane: lets everybody in, unless it has been told to fail."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def _told(self, what: str, told: Mapping[str, object]) -> None:
        self.asked.append((what, dict(told)))
        if self.failure is not None:
            raise self.failure

    async def begin(self, asked: Mapping[str, object]) -> Begun:
        self._told("begin", asked)
        return Begun("https://idp.example/authorize", "ticket", 600)

    async def finish(self, told: Mapping[str, object]) -> Finished:
        self._told("finish", told)
        return Finished("h" * 43, SID, "/cases/1", 900)

    async def refresh(self, sid: str) -> None:
        self._told("refresh", {"sid": sid})

    async def end(self, sid: str, *, back: str = "", state: str = "") -> str:
        self._told("end", {"sid": sid, "back": back, "state": state})
        return ""


AUTHORITY = DevDeviceCa(now=NOW)
LAPTOP = AUTHORITY.issue("laptop-1", now=NOW)
DENIED, PAGE = DeniedPage(registry(), default_language="en"), SignOutPage(default_language="en")


def site(desk: Desk, *, denied: DeniedPage = DENIED, said: dict[str, Any] | None = None, **parts: Any) -> BrowserSignIn:
    """`said` is what the session that the stream tells of says of its sign-in."""
    replica = Replica()
    known = SessionRecord(
        sid=SID, version=1, host="portal.example", issuer="https://idp.example", subject="tanaka", client_id="p",
        claims={}, until=NOW + 900, **(said or {}),
    )  # fmt: skip
    replica.state = type(replica.state)(replica.state.records.changed(Changes(sessions={SID: known})))
    certificates = DeviceCertificates()
    certificates.replace(AUTHORITY.pem, where="test")
    return BrowserSignIn(
        hooks=[NginxHook(Credentials([credential()]))], desk=desk, replica=replica, certificates=certificates,
        clock=FakeClock(float(NOW)), denied=denied, page=PAGE, **parts,
    )  # fmt: skip


def asked(uri: bytes, *, method: bytes = b"GET", **headers: bytes) -> Raw:
    sent = {
        b"Host": b"zt-sidecar", b"X-Original-URI": uri, b"X-Original-Method": method,
        b"X-Original-Host": b"portal.example", b"X-Original-Proto": b"https", b"X-Original-Port": b"443",
        b"X-Real-IP": b"203.0.113.7", b"Zt-Request-Id": b"r1", b"Zt-Pep-Key": KEY,
        **{name.replace("_", "-").encode(): value for name, value in headers.items()},
    }  # fmt: skip
    return Raw(method=method, target=uri, headers={**sent, b"": b""}, names=tuple(sent), peer=None)


def ask(raw: Raw, desk: Desk | None = None) -> bytes:
    return asyncio.run(site(desk or Desk())(raw))


def status(reply: bytes) -> int:
    return int(reply[9:12])


def test_a_browser_with_a_device_s_certificate_signs_in_for_that_device() -> None:
    desk = Desk()
    shown = {"Zt_Client_Verify": b"SUCCESS", "Zt_Client_Cert": LAPTOP.escaped}

    assert status(ask(asked(b"/.zt/login?to=/cases/1", **shown), desk)) == 302
    assert status(ask(asked(b"/.zt/callback?state=s&code=c", **shown), desk)) == 303
    assert [told["device_id"] for _, told in desk.asked] == ["laptop-1", "laptop-1"]


def test_a_certificate_that_proves_no_device_signs_nobody_in() -> None:
    other = DevDeviceCa(now=NOW).issue("laptop-1", now=NOW)
    desk = Desk()

    reply = ask(asked(b"/.zt/login", Zt_Client_Verify=b"SUCCESS", Zt_Client_Cert=other.escaped), desk)

    assert (status(reply), desk.asked) == (403, [])


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (InputError("SIGN_IN_STATE", "over"), 403),
        (InputError("A_CODE_OF_TOMORROW", "?"), 403),
        (UnavailableError("STREAM_DOWN", "silent"), 503),
        (UnavailableError("SIGN_IN_PROVIDER", "silent"), 503),
        (UnavailableError("SIGN_IN_CLIENT", "refused"), 503),
    ],
)
def test_what_the_control_plane_refuses_or_leaves_open_is_a_page_and_no_cookie(
    failure: Exception, expected: int
) -> None:
    for uri in (b"/.zt/login", b"/.zt/callback?state=s&code=c"):
        reply = ask(asked(uri), Desk(failure))

        assert status(reply) == expected
        assert b"Set-Cookie" not in reply


@pytest.mark.parametrize(
    "change",
    [
        {"Zt_Pep_Key": b"x" * 32}, {"X_Original_Proto": b"http"}, {"X_Original_Host": b"a,b"}, {"Zt_Subject": b"root"},
        {"X_Original_Method": b"get"},
    ],
)  # fmt: skip
def test_a_request_that_a_hook_would_refuse_begins_nothing(change: dict[str, bytes]) -> None:
    desk = Desk()

    assert status(ask(asked(b"/.zt/login", **change), desk)) in (401, 403)
    assert desk.asked == []


def test_a_ticket_that_came_twice_is_none() -> None:
    desk = Desk()
    ask(asked(b"/.zt/callback?state=s&code=c", Cookie=b"__Host-zt-login=a; __Host-zt-login=b"), desk)
    ask(asked(b"/.zt/callback?state=s&code=c", Cookie=b"x=1; __Host-zt-login=a"), desk)

    assert [told["ticket"] for _, told in desk.asked] == ["", "a"]


@given(st.binary(max_size=200), st.binary(max_size=100), st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD"]))
def test_no_bytes_of_a_query_or_a_cookie_are_more_than_a_page(query: bytes, cookie: bytes, method: bytes) -> None:
    for path in (b"/.zt/login", b"/.zt/callback", b"/.zt/logout", b"/.zt/"):
        reply = ask(asked(path + b"?" + query, method=method, Cookie=cookie))
        head = reply.partition(b"\r\n\r\n")[0]

        assert status(reply) in (200, 302, 303, 401, 403)
        assert head.count(b"\r\nLocation: ") == (status(reply) in (302, 303))
        assert len(query) < 8 or query not in head or query in ask(asked(path, method=method, Cookie=cookie))
        assert b"Cache-Control: no-store" in head


@given(st.text(max_size=40))
def test_no_value_ends_its_line(value: str) -> None:
    if "\r" in value or "\n" in value:
        with pytest.raises(ValueError, match="line end"):
            answer(302, b"", ("Location", value))
