"""Where compartments hide a thing, what is not there and what is not for somebody look the same behind every proxy."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.bundles import compiled
from tests.fakes.decision_log import FakeDecisionLog
from tests.fastcgi_support import encoded
from tests.peers import ROOT
from tests.world import ISSUER, NOW, World, subject
from zt_engine.core.session import SessionRecord, sid_of
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.sidecar.app import DecisionApp
from zt_engine.sidecar.hooks.apache import ApacheHook
from zt_engine.sidecar.hooks.caddy import CaddyHook
from zt_engine.sidecar.hooks.credentials import Credential, Credentials, key_digest
from zt_engine.sidecar.hooks.denials import Denials
from zt_engine.sidecar.hooks.envoy import EnvoyHook
from zt_engine.sidecar.hooks.haproxy import HaproxyHook
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.hooks.pages import PATH, DeniedPages
from zt_engine.sidecar.hooks.traefik import TraefikHook
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.recorder import Numbers, Origin
from zt_engine.sidecar.replica import Changes

KEY, NAME, HANDLE = b"0123456789abcdef", "front.proxy.internal", b"h" * 43
CORP, HOST = ROOT / "policies/corp", b"support.corp.example"
"""A portal on which each customer's tickets are a compartment, and a machine nobody knows is good enough."""
HOOKS = (NginxHook, CaddyHook, HaproxyHook, EnvoyHook, TraefikHook)
KINDS = [*(hook.name for hook in HOOKS), "apache"]
COOKIE = b"__Host-zt-session=" + HANDLE
PAGE, DATA = b"text/html", b"application/json"


class Site:
    """A sidecar for Fujii, a customer who is signed in and holds the compartment `customer:mine`."""

    def __init__(self, opa: str) -> None:
        world = World(compiled(opa, CORP), pack=CORP)
        groups = {"employment": "customer", "compartments": ("customer:mine",), "clearance": 100}
        world.subjects["fujii"] = subject("fujii", **groups)
        world.publish()
        told = SessionRecord(
            sid=sid_of(HANDLE), version=1, host=HOST.decode(), issuer=ISSUER, subject="fujii", client_id="portal",
            claims={"locale": "ja-JP"}, acr="mfa", amr=("pwd", "otp"), auth_time=NOW - 60, until=NOW + 900,
        )  # fmt: skip
        situation = world.replica.situation
        assert situation is not None
        records = world.replica.state.records.changed(Changes(sessions={told.sid: told}))
        world.replica.adopt(records, situation, now=NOW)
        shown = Credentials(
            Credential(
                kind, hook=kind, channel="open", enforces=("no_store",), proof="mtls" if kind == "traefik" else "key",
                **{"names": frozenset((NAME,))} if kind == "traefik" else {"key_digests": (key_digest(KEY),)},  # type: ignore[arg-type]
            )
            for kind in KINDS
        )  # fmt: skip
        page, meters = DeniedPage(registry(), default_language="en", signs_in=True, confirms=True), Meters()
        self.app = DecisionApp(
            hooks=[hook(shown) for hook in HOOKS], pages=DeniedPages(page, shown), denials=Denials(page),
            authorizer=world.authorizer(), decision_log=FakeDecisionLog(), clock=world.clock, numbers=Numbers("s-1"),
            meters=meters, origin=Origin("sidecar-1", "default").members(),
        )  # fmt: skip
        self.apache = ApacheHook(self.app, shown, Denials(page), meters)

    def ask(self, kind: str, target: bytes, accept: bytes, languages: bytes = b"en") -> bytes:
        """What a proxy is answered, with the page that nginx asks for in a second request."""
        if kind == "apache":
            params = {**_params(target, accept), b"HTTP_ACCEPT_LANGUAGE": languages}
            (answer,) = self.app.seal([self.apache.ask(encoded(params))])
            return answer
        path, headers = _question(kind, target, accept)
        headers[b"Accept-Language"] = languages
        peer = (NAME,) if kind == "traefik" else None
        line = b"GET %b HTTP/1.1\r\n\r\n" % path
        pending: Any = self.app.answer(path, b"GET", {**headers, b"": b""}, tuple(headers), peer, line)
        (answer,) = self.app.seal([pending])
        reason = re.search(rb"\r\nZt-Reason: ([A-Z_]+)\r\n", answer)
        if kind != "nginx" or reason is None:
            return answer
        own = re.search(rb"\r\nZt-Language: ([^\r]*)\r\n", answer)
        shown = {b"Zt-Pep-Key": KEY, b"Zt-Reason": reason[1], b"Zt-Decision": b"d", b"X-Original-URI": target}
        shown |= {b"Accept-Language": languages, b"Zt-Language": b"" if own is None else own[1]}
        more: Any = self.app.answer(PATH, b"GET", {**shown, b"Accept": accept, b"": b""}, tuple(shown), None)
        return answer + (more if isinstance(more, bytes) else b"".join(self.app.seal([more])))


def _question(kind: str, target: bytes, accept: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """What each proxy says of the browser's request, in the words of its own hook."""
    path, client = b"/v1/hooks/" + kind.encode(), {b"Host": HOST, b"Cookie": COOKIE, b"Accept": accept}
    place = {b"Proto": b"https", b"Port": b"443"}
    names = b"X-Original-" if kind in ("nginx", "haproxy") else b"X-Forwarded-"
    if kind == "envoy":
        path += target
        number = {b"Content-Length": b"0", b"X-Request-Id": b"b467db65-0602-4ffe-a02c-b9960aaa3d76"}
    else:
        place |= {b"Host": HOST, b"URI": target, b"Method": b"GET"}
        number = {} if kind == "traefik" else {b"Zt-Request-Id": b"r-1"}
    address = b"X-Forwarded-For" if kind in ("caddy", "traefik") else b"X-Real-IP"
    key = {} if kind == "traefik" else {b"Zt-Pep-Key": KEY}
    said = {names + name: value for name, value in place.items()}
    return path, client | said | number | key | {address: b"203.0.113.7"}


def _params(target: bytes, accept: bytes) -> dict[bytes, bytes]:
    return {
        b"REQUEST_URI": target, b"REQUEST_METHOD": b"GET", b"ZT_HOST": HOST, b"ZT_SCHEME": b"https",
        b"SERVER_PORT": b"443", b"REMOTE_ADDR": b"203.0.113.7", b"UNIQUE_ID": b"aw@qE-mv", b"ZT_PEP_KEY": KEY,
        b"HTTP_COOKIE": COOKIE, b"HTTP_ACCEPT": accept,
    }  # fmt: skip


@pytest.fixture(scope="module")
def site(opa: str) -> Site:
    return Site(opa)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("accept", [PAGE, DATA])
def test_what_is_hidden_and_what_is_not_there_have_one_answer_but_for_the_decision_s_id(
    site: Site, kind: str, accept: bytes
) -> None:
    mine = site.ask(kind, b"/tickets/mine/1", accept)
    hidden, nothing = (site.ask(kind, target, accept) for target in (b"/tickets/eagle/1", b"/tickets/nowhere-at-all/1"))
    ids = re.compile(rb"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|s-1-[0-9A-Za-z-]+")

    assert b" 200 " in mine[:40] or mine.startswith(b"Status: 200"), mine
    assert b"403" in hidden[:40], hidden
    assert b"COMPARTMENT_MISSING" in hidden and b"eagle" not in hidden
    assert ids.sub(b"N", hidden) == ids.sub(b"N", nothing)
    assert hidden != nothing  # each has a number of its own


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_is_in_the_language_asked_for_else_in_the_person_s_own_behind_every_proxy(
    site: Site, kind: str
) -> None:
    """Fujii's ID token says Japanese; the sidecar's own default is English."""
    for languages, expected in (
        (b"en", b"en"),
        (b"ja", b"ja"),
        (b"de, fr", b"ja"),
        (b"", b"ja"),
        (b"de, en;q=0.1", b"en"),
    ):
        refused = site.ask(kind, b"/tickets/eagle/1", PAGE, languages)
        assert b'<html lang="%b">' % expected in refused, languages
