"""`/.zt/step-up` at a host: who may begin, what would be enough, and the way back to the page."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import FakeClock
from tests.hook_support import KEY, credential
from zt_engine.adapters.dev_issuer import DevDeviceCa
from zt_engine.bootstrap.browser_keys import assurance_of, key_pages
from zt_engine.bootstrap.device_certificates import DeviceCertificates
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.identity import assurance_level, step_up_satisfied
from zt_engine.core.session import SessionRecord, sid_of
from zt_engine.core.webauthn import PHR, PHRH
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.ports.webauthn import StepUpBegun, StepUpRaised
from zt_engine.sidecar.browser.signing_in import BrowserSignIn
from zt_engine.sidecar.browser.stepping_up import StepUp, enough
from zt_engine.sidecar.browser.wire import Raw
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.replica import Changes, Replica

NOW = 1_790_000_000
TABLE = {"pwd": 1, "pin": 1, "otp": 2, "mfa": 2, "swk": 3, "phr": 3, "hwk": 3, "phrh": 4}
HANDLE = "h" * 43
SID = sid_of(HANDLE.encode())
LOCATION = "https://control.example/step-up/" + "s" * 43
COOKIES = f"__Host-zt-session={HANDLE}; __Host-zt-step-up=ticket"
SAME = {"Sec_Fetch_Site": "same-origin", "Cookie": COOKIES}


class Desk:
    """The control plane: finds a key for everybody, unless it has been told to fail."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.asked: list[dict[str, Any]] = []
        self.version = 1

    async def begin(self, asked: Mapping[str, object]) -> StepUpBegun:
        return StepUpBegun(LOCATION, self._told(asked) or "ticket", 300)

    async def finish(self, told: Mapping[str, object]) -> StepUpRaised:
        self._told(told)
        return StepUpRaised("/cases/1", self.version)

    def _told(self, told: Mapping[str, object]) -> str:
        self.asked.append(dict(told))
        if self.failure is not None:
            raise self.failure
        return ""


AUTHORITY = DevDeviceCa(now=NOW)
LAPTOP = AUTHORITY.issue("laptop-1", now=NOW)


def record(**fields: Any) -> SessionRecord:
    told: dict[str, Any] = {
        "sid": SID, "version": 1, "host": "portal.example", "issuer": "https://idp.example", "subject": "tanaka",
        "client_id": "p", "claims": {}, "acr": "pwd", "until": NOW + 900,
    }  # fmt: skip
    return SessionRecord(**(told | fields))


class Site:
    """A host behind nginx, one session, and a desk."""

    def __init__(self, desk: Desk | None, *, known: SessionRecord | None = None) -> None:
        self.desk = desk
        self.replica = Replica()
        self.tell(known or record())
        certificates = DeviceCertificates()
        certificates.replace(AUTHORITY.pem, where="test")
        clock = FakeClock(float(NOW))
        pages = StepUp(
            desk=desk, replica=self.replica, certificates=certificates, clock=clock, table=lambda: TABLE
        ).pages
        self._site = BrowserSignIn(
            hooks=[NginxHook(Credentials([credential()]))], desk=None, replica=self.replica,
            certificates=certificates, clock=clock, denied=DeniedPage(registry(), default_language="en"),
            page=SignOutPage(default_language="en"), more=pages,
        )  # fmt: skip

    def tell(self, known: SessionRecord) -> None:
        records = self.replica.state.records.changed(Changes(sessions={known.sid: known}))
        self.replica.state = type(self.replica.state)(records)

    def get(self, uri: str, **headers: str) -> tuple[int, dict[str, str], str]:
        """Ask as nginx does; returns status, headers and body."""
        sent = {
            b"Host": b"zt-sidecar", b"X-Original-URI": uri.encode(), b"X-Original-Method": b"GET",
            b"X-Original-Host": b"portal.example", b"X-Original-Proto": b"https", b"X-Original-Port": b"443",
            b"X-Real-IP": b"203.0.113.7", b"Zt-Request-Id": b"r1", b"Zt-Pep-Key": KEY, b"Accept": b"text/html",
        }  # fmt: skip
        sent |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        raw = Raw(method=b"GET", target=uri.encode(), headers={**sent, b"": b""}, names=tuple(sent), peer=None)
        answer = asyncio.run(self._site(raw)).decode()
        head, _, body = answer.partition("\r\n\r\n")
        lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
        return int(head[9:12]), {name.lower(): value for name, _, value in lines}, body


def query(location: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def test_a_page_of_the_host_sends_the_browser_to_the_key_with_a_ticket_of_its_own() -> None:
    site = Site(Desk())

    status, headers, _ = site.get("/.zt/step-up?to=/cases/1%3Fpage%3D2&acr_values=phr&max_age=300", **SAME)

    assert (status, headers["location"]) == (302, LOCATION)
    assert headers["set-cookie"].startswith("__Host-zt-step-up=ticket; Path=/; Secure; HttpOnly; SameSite=Lax")
    assert site.desk is not None
    assert site.desk.asked == [
        {
            "sid": SID, "host": "portal.example", "device_id": "", "scheme": "https", "authority": "portal.example",
            "to": "/cases/1?page=2", "wanted": ["phr", "phrh"], "acr_values": "phr", "max_age": 300,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "said", [{"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {}, {"Origin": "https://evil.example"}]
)
def test_a_page_of_another_site_begins_nothing(said: dict[str, str]) -> None:
    site = Site(Desk())

    status, headers, body = site.get("/.zt/step-up?to=/", Cookie=COOKIES, **said)

    assert (status, "SESSION_CROSS_SITE" in body, "location" in headers) == (403, True, False)
    assert site.desk is not None
    assert site.desk.asked == []


def test_who_types_the_address_may_begin() -> None:
    assert Site(Desk()).get("/.zt/step-up?to=/", Cookie=COOKIES, Sec_Fetch_Site="none")[0] == 302


@pytest.mark.parametrize(
    ("site", "cookies"),
    [
        (Site(Desk()), ""),
        (Site(Desk()), "__Host-zt-session=" + "x" * 43),
        (Site(None), COOKIES),
        (Site(Desk(InputError("PASSKEY_NONE", "no key"))), COOKIES),
        (Site(Desk(InputError("PASSKEY_OFF", "no keys"))), COOKIES),
        (Site(Desk(InputError("SESSION_NOT_FOUND", "over"))), COOKIES),
        (Site(Desk(), known=record(acr="phrh", amr=("hwk", "other"))), COOKIES),
    ],
    ids=["no session", "unknown session", "no control plane", "no key", "no keys at all", "ended", "phrh by phr"],
)
def test_whom_no_key_would_help_is_sent_to_the_provider_with_what_is_asked_for(site: Site, cookies: str) -> None:
    asked = "/.zt/step-up?to=/cases/1%3Fpage%3D2&acr_values=gold&max_age=300"
    if cookies != COOKIES or site.desk is None or site.desk.failure is not None:
        asked = asked.replace("gold", "phr")

    status, headers, _ = site.get(asked, **{**SAME, "Cookie": cookies})

    assert (status, "set-cookie" in headers) == (302, False)
    assert urlsplit(headers["location"]).path == "/.zt/login"
    assert query(headers["location"])["to"] == "/cases/1?page=2"
    assert query(headers["location"])["max_age"] == "300"


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (InputError("PASSKEY_SESSION", "another"), 403),
        (InputError("SIGN_IN_RETURN", "elsewhere"), 403),
        (UnavailableError("STREAM_DOWN", "silent"), 503),
    ],
)
def test_what_the_control_plane_refuses_is_a_page_and_no_cookie(failure: Exception, status: int) -> None:
    for uri in ("/.zt/step-up?to=/", "/.zt/proven?code=c"):
        found, headers, _ = Site(Desk(failure)).get(uri, **SAME)
        assert (found, "set-cookie" in headers) == (status, False)


def test_coming_back_takes_the_ticket_away_and_leads_to_the_page() -> None:
    site = Site(Desk())

    status, headers, _ = site.get("/.zt/proven?code=abc", Cookie=COOKIES, Sec_Fetch_Site="cross-site")

    assert (status, headers["location"]) == (303, "/cases/1")
    assert headers["set-cookie"].startswith("__Host-zt-step-up=; ")
    assert site.desk is not None
    assert site.desk.asked == [
        {"sid": SID, "host": "portal.example", "device_id": "", "code": "abc", "ticket": "ticket"}
    ]


@pytest.mark.parametrize(
    ("uri", "cookies", "code"),
    [
        ("/.zt/proven?code=abc", "", "PASSKEY_SESSION"),
        ("/.zt/proven?code=abc", f"__Host-zt-session={HANDLE}", "PASSKEY_SESSION"),
        ("/.zt/proven?code=abc", "__Host-zt-step-up=ticket", "PASSKEY_SESSION"),
        ("/.zt/proven?code=abc", COOKIES + "; __Host-zt-step-up=other", "PASSKEY_SESSION"),
        ("/.zt/proven", COOKIES, "PASSKEY_CHALLENGE"),
        ("/.zt/proven?code=", COOKIES, "PASSKEY_CHALLENGE"),
        ("/.zt/proven?code=" + "x" * 129, COOKIES, "PASSKEY_CHALLENGE"),
        ("/.zt/proven?code=a%0d%0ab", COOKIES, "PASSKEY_CHALLENGE"),
    ],
)
def test_what_did_not_begin_here_raises_nothing(uri: str, cookies: str, code: str) -> None:
    site = Site(Desk())

    status, _, body = site.get(uri, Cookie=cookies)

    assert (status, code in body) == (403, True)
    assert site.desk is not None
    assert site.desk.asked == []


def test_the_device_whose_certificate_comes_along_is_part_of_it() -> None:
    site = Site(Desk())
    shown = {"Zt_Client_Verify": "SUCCESS", "Zt_Client_Cert": LAPTOP.escaped.decode()}

    site.get("/.zt/step-up?to=/", **SAME, **shown)
    site.get("/.zt/proven?code=c", **SAME, **shown)

    assert site.desk is not None
    assert [told["device_id"] for told in site.desk.asked] == ["laptop-1", "laptop-1"]


def test_the_browser_waits_until_what_it_proved_is_known_here() -> None:
    desk = Desk()
    desk.version = 2
    site = Site(desk)
    seen: list[int] = []

    async def told_late() -> None:
        step = StepUp(desk=desk, replica=site.replica, certificates=None, clock=FakeClock(0.0), table=lambda: TABLE)
        waiting = asyncio.ensure_future(step._known(SID, 2))
        await asyncio.sleep(0)
        seen.append(int(waiting.done()))
        site.tell(record(version=2))
        await waiting
        seen.append(int(waiting.done()))

    asyncio.run(told_late())
    assert seen == [0, 1]


# -- what is enough

names = st.sampled_from([*TABLE, "gold", "1", "user", ""])


@given(asked=st.lists(names, max_size=3), acr=names, amr=st.lists(names, max_size=3))
def test_what_is_enough_satisfies_everything_asked_for_and_is_never_weaker_than_before(
    asked: list[str], acr: str, amr: list[str]
) -> None:
    before = record(acr=acr, amr=tuple(name for name in amr if name))
    for name in enough(" ".join(asked), before, TABLE):
        assert name in (PHR, PHRH)
        after = record(acr=name, amr=("hwk" if name == PHRH else "swk", "user", "mfa"), auth_time=NOW)
        assert assurance_level(after, TABLE) >= assurance_level(before, TABLE)
        for one in asked:
            assert step_up_satisfied(after, acr=one, max_age=300, table=TABLE, now=NOW)


@pytest.mark.parametrize(
    ("asked", "before", "expected"),
    [
        ("", {}, (PHR, PHRH)),
        ("phr", {}, (PHR, PHRH)),
        ("mfa phr", {}, (PHR, PHRH)),
        ("phrh", {}, (PHRH,)),
        ("", {"acr": "phrh"}, (PHRH,)),
        ("", {"amr": ("hwk",)}, (PHR, PHRH)),
        ("gold", {}, ()),
        ("phr gold", {}, ()),
    ],
)
def test_which_keys_are_enough(asked: str, before: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert enough(asked, record(**before), TABLE) == expected


def test_before_there_is_a_policy_a_key_is_only_enough_for_what_it_is_called() -> None:
    assert enough("phr", record(), {}) == (PHR,)
    assert enough("mfa", record(), {}) == ()


def test_a_sidecar_serves_the_two_pages_and_asks_the_policy_in_force_each_time() -> None:
    authorizer: Any = SimpleNamespace(policy=None)
    table = assurance_of(authorizer)
    pages = key_pages(None, Replica(), DeviceCertificates(), FakeClock(float(NOW)), table)

    assert set(pages) == {(b"GET", b"/.zt/step-up"), (b"GET", b"/.zt/proven")}
    assert table() == {}
    authorizer.policy = SimpleNamespace(assurance=TABLE)
    assert table() == TABLE
