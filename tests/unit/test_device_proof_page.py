"""`/.zt/device`: a browser goes to its agent and comes back with a cookie; whoever else brings an answer gets none."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from device_inventory.agent.browser_proof import read_asked, statement, way_back
from device_inventory.device import DeviceKey
from tests.fakes.clock import FakeClock
from tests.hook_support import credential
from tests.unit.test_browser_site import Desk, asked, status
from tests.unit.test_device_proof import key_of
from tests.world import device, situation
from zt_engine.adapters.certificates_x509 import X509CertificateVerifier
from zt_engine.adapters.dev_issuer import DevCertificate, DevDeviceCa
from zt_engine.adapters.device_proof_jws import JwsDeviceProofs
from zt_engine.bootstrap.device_certificates import DeviceCertificates
from zt_engine.core.device_proof import SECONDS, WAY_SECONDS, digest
from zt_engine.core.session import SessionRecord, sid_of
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.sidecar.browser.device_proof import TOLD, DeviceProofs
from zt_engine.sidecar.browser.signing_in import BrowserSignIn
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.replica import Replica

NOW = 1_790_000_000
ISSUER = "https://idp.example"
HANDLE = b"h" * 43
THEFT = b"t" * 43
AUTHORITY = DevDeviceCa(now=NOW)
LAPTOP = AUTHORITY.issue("laptop-1", now=NOW)
STRANGE = AUTHORITY.issue("laptop-9", now=NOW)


def session(handle: bytes = HANDLE, **fields: Any) -> SessionRecord:
    told: dict[str, Any] = {
        "sid": sid_of(handle), "version": 1, "host": "portal.example", "issuer": ISSUER, "subject": "tanaka",
        "client_id": "p", "claims": {}, "until": NOW + 3600, **fields,
    }  # fmt: skip
    return SessionRecord(**told)


class Site:
    """A sidecar's pages, and the browsers that ask them."""

    def __init__(self, *sessions: SessionRecord, **told: Any) -> None:
        self.clock = FakeClock(float(NOW))
        self.replica = Replica()
        held = device("laptop-1", keys=(DeviceKey(x5t=LAPTOP.x5t, not_after=NOW + 86_400),))
        records = self.replica.state.records.becoming([held], [], sessions or (session(), session(THEFT)))
        self.replica.adopt(records, situation(**told), now=NOW)
        certificates = DeviceCertificates()
        certificates.replace(AUTHORITY.pem, where="test")
        proofs = DeviceProofs(
            replica=self.replica,
            verifier=JwsDeviceProofs(X509CertificateVerifier(AUTHORITY.pem)),
            issuers={ISSUER},
            clock=self.clock,
            port=29170,
        )
        self.answered = BrowserSignIn(
            hooks=[NginxHook(Credentials([credential()]))], desk=Desk(), replica=self.replica,
            certificates=certificates, clock=self.clock, denied=DeniedPage(registry(), default_language="en"),
            page=SignOutPage(default_language="en"), more=proofs.pages,
        )  # fmt: skip


class Browser:
    """Keeps cookies, as a browser does."""

    def __init__(self, site: Site, handle: bytes = HANDLE) -> None:
        self._site = site
        self.cookies = {"__Host-zt-session": handle.decode()}

    def get(self, uri: str, **headers: bytes) -> bytes:
        # The way back begins at the agent, which is another site; everything else here is a link of the host's page.
        away = "proof=" in uri or "refused=" in uri
        headers = {
            "Sec_Fetch_Site": b"cross-site" if away else b"same-origin",
            "Sec_Fetch_Mode": b"navigate",
            **headers,
        }
        jar = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        reply = asyncio.run(self._site.answered(asked(uri.encode(), Cookie=jar.encode(), **headers)))
        for line in re.findall(r"Set-Cookie: ([^\r]*)", reply.decode("latin-1")):
            assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} <= set(line.split("; "))
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return reply

    @property
    def proof(self) -> str:
        return self.cookies.get("__Host-zt-proof", "")


def location(reply: bytes) -> str:
    found = re.search(rb"\r\nLocation: ([^\r]*)", reply)
    return found[1].decode() if found else ""


def agent(place: str, *, of: DevCertificate = LAPTOP, now: float = NOW, **changes: str) -> str:
    """What the agent answers to a browser that was sent to `place`: the path it goes back to."""
    parts = urlsplit(place)
    read = msgspec.structs.replace(read_asked(f"{parts.path}?{parts.query}"), **changes)
    back = urlsplit(way_back(read, statement(key_of(of), of.pem.decode(), read, now=now)))
    assert (back.scheme, back.path) == ("https", "/.zt/device")
    return f"{back.path}?{back.query}"


def refused(reply: bytes) -> str:
    assert status(reply) == 303
    return parse_qs(urlsplit(location(reply)).query)["refused"][0]


def shown(reply: bytes) -> str:
    """The code of a refusal."""
    return str(json.loads(reply.partition(b"\r\n\r\n")[2])["code"])


def test_a_browser_goes_to_its_agent_and_comes_back_to_the_page_it_wanted_with_a_proof() -> None:
    site = Site()
    browser = Browser(site)

    away = browser.get("/.zt/device?" + urlencode({"to": "/cases/1?page=2"}))
    parts = urlsplit(location(away))
    assert (status(away), parts.scheme, parts.netloc, parts.path) == (302, "http", "127.0.0.1:29170", "/zt-proof")
    back = browser.get(agent(location(away)))

    assert (status(back), location(back)) == (303, "/cases/1?page=2")
    assert browser.proof
    assert "__Host-zt-device" not in browser.cookies
    assert f"Max-Age={SECONDS}".encode() in back


def test_the_challenge_tells_the_agent_no_secret() -> None:
    browser = Browser(Site())
    place = location(browser.get("/.zt/device"))

    assert browser.cookies["__Host-zt-device"] not in place
    assert HANDLE.decode() not in place
    assert digest(browser.cookies["__Host-zt-device"].encode()) in place


def test_who_is_not_signed_in_is_sent_to_sign_in_first() -> None:
    for browser in (Browser(Site(), b"q" * 43), Browser(Site(session(until=NOW)))):
        reply = browser.get("/.zt/device?to=/cases/1")

        assert (status(reply), location(reply)) == (302, "/.zt/login?to=%2Fcases%2F1")


def test_a_session_that_began_with_a_certificate_is_sent_to_no_agent() -> None:
    reply = Browser(Site(session(device_id="laptop-1"))).get("/.zt/device")

    assert (status(reply), location(reply)) == (403, "")


@pytest.mark.parametrize("to", ["//evil.example/", "https://evil.example/", "/\\evil.example", "/.zt/logout", "x"])
def test_nobody_is_sent_elsewhere(to: str) -> None:
    browser = Browser(Site())
    place = location(browser.get("/.zt/device"))

    assert status(browser.get("/.zt/device?" + urlencode({"to": to}))) == 403
    assert status(browser.get(agent(place, state=to))) == 403
    assert not browser.proof


# -- adversaries


def test_the_phishing_relay_an_attacker_s_challenge_answered_by_the_victim_s_agent_gives_neither_a_proof() -> None:
    site = Site()
    attacker, victim = Browser(site, THEFT), Browser(site)
    place = location(attacker.get("/.zt/device"))

    back = victim.get(agent(place))

    assert refused(back) == "DEVICE_PROOF_BROWSER"
    assert not victim.proof
    assert not attacker.proof


def test_with_the_victim_s_stolen_session_the_relay_gives_no_proof_either() -> None:
    site = Site()
    attacker, victim = Browser(site), Browser(site)
    place = location(attacker.get("/.zt/device"))
    victim.get("/.zt/device")  # even while the victim confirms her own device

    assert refused(victim.get(agent(place))) == "DEVICE_PROOF_BROWSER"
    assert not victim.proof


def test_an_answer_that_was_seen_on_its_way_is_of_no_use_in_another_browser() -> None:
    site = Site()
    victim, thief = Browser(site), Browser(site)
    back = agent(location(victim.get("/.zt/device")))

    assert refused(thief.get(back)) == "DEVICE_PROOF_BROWSER"
    thief.get("/.zt/device")
    assert refused(thief.get(back)) == "DEVICE_PROOF_BROWSER"
    assert not thief.proof
    victim.get(back)
    assert victim.proof


def test_an_answer_that_is_played_again_gives_no_longer_time() -> None:
    site = Site()
    browser = Browser(site)
    back = agent(location(browser.get("/.zt/device?to=/cases/1")))
    browser.get(back)
    before = browser.proof
    site.clock.advance(WAY_SECONDS - 1)

    again = browser.get(back)  # the back button

    assert (status(again), location(again), browser.proof) == (303, "/cases/1", before)
    assert b"Set-Cookie" not in again
    browser.cookies.pop("__Host-zt-proof")
    assert refused(browser.get(back)) == "DEVICE_PROOF_BROWSER"


@pytest.mark.parametrize("late", [WAY_SECONDS + 1, -31])
def test_an_answer_that_was_made_too_early_or_too_late_earns_nothing(late: int) -> None:
    site = Site()
    browser = Browser(site)
    back = agent(location(browser.get("/.zt/device")), now=NOW - late)

    assert refused(browser.get(back)) in ("DEVICE_PROOF_STALE", "DEVICE_PROOF_FUTURE")
    assert not browser.proof


def test_an_answer_for_another_host_or_session_earns_nothing() -> None:
    browser = Browser(Site())
    place = location(browser.get("/.zt/device"))

    assert refused(browser.get(agent(place, host="pilot.example"))) == "DEVICE_PROOF_HOST"
    assert refused(browser.get(agent(place, sid=sid_of(THEFT)))) == "DEVICE_PROOF_SESSION"


def test_a_device_that_is_unknown_or_revoked_earns_nothing() -> None:
    unknown = Browser(Site())
    lost = Browser(Site(revocations=[{"kind": "device", "key": "laptop-1", "until": NOW + 60}]))
    over = Browser(Site(revocations=[{"kind": "cert", "key": LAPTOP.x5t, "until": NOW + 60}]))

    assert refused(unknown.get(agent(location(unknown.get("/.zt/device")), of=STRANGE))) == "DEVICE_UNKNOWN"
    assert refused(lost.get(agent(location(lost.get("/.zt/device"))))) == "DEVICE_REVOKED"
    assert refused(over.get(agent(location(over.get("/.zt/device"))))) == "CERT_REVOKED"


# -- manners


def test_a_browser_keeps_no_proof_for_longer_than_the_certificate_that_made_it() -> None:
    site = Site()
    site.clock.advance(86_400 - 100)
    now = site.clock.now()
    records = site.replica.state.records.becoming(
        site.replica.devices.values(), [], [session(until=NOW + 100_000)]
    )  # fmt: skip
    site.replica.adopt(records, situation(), now=now)
    browser = Browser(site)

    back = browser.get(agent(location(browser.get("/.zt/device")), now=now))

    assert b"; Max-Age=100\r\n" in back


def test_two_tabs_at_once_both_come_back_to_their_pages() -> None:
    browser = Browser(Site())
    first, second = (agent(location(browser.get(f"/.zt/device?to=/cases/{number}"))) for number in (1, 2))

    assert location(browser.get(second)) == "/cases/2"
    assert location(browser.get(first)) == "/cases/1"


def test_a_refused_answer_is_told_at_an_address_without_it_in_the_reader_s_language() -> None:
    browser = Browser(Site())
    back = browser.get(agent(location(browser.get("/.zt/device")), host="pilot.example"))
    assert "proof=" not in location(back)

    page = browser.get(location(back), Accept=b"text/html", Accept_Language=b"ja")

    assert status(page) == 403
    assert "別のサイトのものです" in page.decode()


@pytest.mark.parametrize("code", sorted(TOLD))
def test_a_code_is_told_to_a_browser_that_is_on_its_way_and_to_no_other(code: str) -> None:
    assert code in registry()
    browser = Browser(Site())
    link = "/.zt/device?" + urlencode({"refused": code})

    with capture_logs() as before:
        stranger = browser.get(link)
    browser.get("/.zt/device")
    with capture_logs() as after:
        told = browser.get(link)

    # That another browser began it is true wherever none was begun: the victim of a relay has to read it.
    neutral = code if code == "DEVICE_PROOF_BROWSER" else "DEVICE_UNPROVEN"
    assert (status(stranger), status(told)) == (403, 403)
    assert (shown(stranger), shown(told)) == (neutral, code)
    assert [(event["event"], event["code"]) for event in (*before, *after)] == [
        ("browser.refusal_shown", neutral), ("browser.refusal_shown", code)
    ]  # fmt: skip


@pytest.mark.parametrize("code", ["AUTH_REQUIRED", "<script>", "DEVICE_CLONED", "DEVICE_" + "A" * 99, ""])
def test_no_address_has_a_page_say_what_no_answer_is_refused_for(code: str) -> None:
    browser = Browser(Site())
    browser.get("/.zt/device")

    assert shown(browser.get("/.zt/device?" + urlencode({"refused": code}))) == "DEVICE_UNPROVEN"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Sec_Fetch_Site": b"cross-site"}, "SESSION_CROSS_SITE"),
        ({"Sec_Fetch_Site": b"same-site"}, "SESSION_CROSS_SITE"),
        ({"Sec_Fetch_Site": b""}, "SESSION_CROSS_SITE"),
        ({"Sec_Fetch_Mode": b"cors"}, "AUTH_REQUIRED"),
        ({"Sec_Fetch_Mode": b"no-cors"}, "AUTH_REQUIRED"),
    ],
)
def test_neither_a_page_of_another_site_nor_a_script_begins(headers: dict[str, bytes], code: str) -> None:
    browser = Browser(Site())
    reply = browser.get("/.zt/device?to=/cases/1", **headers)

    assert (shown(reply), location(reply)) == (code, "")
    assert b"Set-Cookie" not in reply


def test_who_types_the_address_begins() -> None:
    reply = Browser(Site()).get("/.zt/device", Sec_Fetch_Site=b"none")

    assert location(reply).startswith("http://127.0.0.1:29170/")


def test_a_script_that_has_an_answer_gets_no_proof_for_it() -> None:
    browser = Browser(Site())
    back = agent(location(browser.get("/.zt/device")))

    assert shown(browser.get(back, Sec_Fetch_Mode=b"cors")) == "AUTH_REQUIRED"
    assert not browser.proof


@given(st.dictionaries(st.sampled_from(["proof", "state", "to", "refused", "x"]), st.text(max_size=80), max_size=4))
def test_no_query_is_more_than_a_way_or_a_page_and_none_is_a_proof(query: dict[str, str]) -> None:
    browser = Browser(SITE)
    reply = browser.get("/.zt/device?" + urlencode(query))
    place = urlsplit(location(reply))

    assert status(reply) in (302, 303, 403)
    assert not browser.proof
    assert place.netloc in ("", "127.0.0.1:29170")
    assert not location(reply).startswith("//")


SITE = Site()
