"""A browser signs in through a real nginx at a real OpenID provider, keeps a cookie, and signs out."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest

from tests.control_support import TENANT, Control
from tests.e2e.lab import HOST, Lab
from tests.hook_support import END, KEY, GateApp, LoopThread, credential, listening
from tests.peers import find_peer
from tests.providers import Provider, provider
from zt_engine.adapters.keys_fetch import key_source
from zt_engine.adapters.nginx_process import listen_text
from zt_engine.adapters.person_oidc import OidcPersons
from zt_engine.adapters.provider_oidc import ClientProof, OidcProvider
from zt_engine.adapters.sealing import FileSealer
from zt_engine.adapters.tokens_jwt import TrustedIssuer
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.device_certificates import DeviceCertificates
from zt_engine.control_plane.sessions import SessionRules, Sessions
from zt_engine.core.decision import Decision, Effect, Unmet
from zt_engine.core.errors import InputError
from zt_engine.core.issuer import IssuerConfig, IssuerMapping
from zt_engine.core.session import SessionRecord, sid_of
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.ports.sessions import Begun, Finished
from zt_engine.sidecar.browser.signing_in import BrowserSignIn
from zt_engine.sidecar.browser.stepping_up import StepUp
from zt_engine.sidecar.browser.wire import BrowserListener
from zt_engine.sidecar.hooks.answers import deny_head
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.hooks.pages import DeniedPages
from zt_engine.sidecar.replica import Changes, Replica

pytestmark = pytest.mark.filterwarnings("ignore")  # of the provider, whose thread is in this process
CLIENT = "portal-browser"
SESSION = "__Host-zt-session"


class Desk:
    """The control plane without the way to it: its own sessions, and a stream that tells at once."""

    def __init__(self, control: Control, sessions: Sessions, replica: Replica) -> None:
        self._control = control
        self._sessions = sessions
        self._replica = replica

    async def begin(self, asked: Mapping[str, object]) -> Begun:
        told: dict[str, Any] = {**asked}
        begun = await asyncio.to_thread(self._sessions.begin, now=self._now(), **told)
        return Begun(begun.location, begun.ticket, begun.seconds)

    async def finish(self, told: Mapping[str, object]) -> Finished:
        given: dict[str, Any] = {**told}
        done = await asyncio.to_thread(self._sessions.finish, now=self._now(), **given)
        self.tell()
        return Finished(done.handle, done.sid, done.to, done.seconds, done.wish)

    async def refresh(self, sid: str) -> None:
        self._sessions.refresh(sid, now=self._now())
        self.tell()

    async def end(self, sid: str, *, back: str = "", state: str = "") -> str:
        location = await asyncio.to_thread(
            self._sessions.sign_out, sid, back=back, state=state, reason="signed out", actor="test", now=self._now()
        )
        self.tell()
        if location is None:
            raise InputError("SESSION_NOT_FOUND", "the session has ended")
        return location

    def tell(self) -> None:
        """Bring the sidecar's records up to date, as the stream would."""
        with self._control.store.reading(TENANT) as tx:
            held = {one.record.sid: one.record for one in tx.sessions.page(after="", limit=100)}
        known: dict[str, SessionRecord | None] = dict.fromkeys(self._replica.sessions)
        changes = Changes(sessions={**known, **held})
        self._replica.state = msgspec.structs.replace(
            self._replica.state, records=self._replica.state.records.changed(changes)
        )

    def _now(self) -> int:
        return int(self._control.clock.now())


class Site:
    """nginx with TLS, a hook that denies whoever has no session, a sign-in desk, and a provider."""

    def __init__(self, folder: Path, issuing: Provider, *, onward: bool = False) -> None:
        self.provider, provider = issuing, issuing.issuer
        self.control = Control()
        self.control.clock.advance(time.time() - self.control.clock.now())
        self.replica = Replica()
        config = IssuerConfig(
            issuer=provider, audiences=(CLIENT,), algorithms=("RS256",), keys=f"{provider}/jwks",
            mapping=IssuerMapping(), max_lifetime=86_400,
        )  # fmt: skip
        source = key_source(config)
        asyncio.run(source.refresh(self.control.clock.now()))
        self.sessions = Sessions(
            self.control.plane,
            provider=OidcProvider(
                provider, proof=ClientProof(CLIENT, secret_file=self._secret(folder)), scopes=("offline_access",),
                now=self.control.clock.now,
            ),
            people=OidcPersons(TrustedIssuer(config, source)),
            sealer=FileSealer(b"k" * 32),
            rules=SessionRules(client_id=CLIENT, onward=onward),
        )  # fmt: skip
        self.desk = Desk(self.control, self.sessions, self.replica)
        shown = Credentials([credential()])
        sign_in = BrowserSignIn(
            hooks=[NginxHook(shown)],
            desk=self.desk,
            replica=self.replica,
            certificates=DeviceCertificates(),
            clock=self.control.clock,
            denied=DeniedPage(registry(), default_language="en", signs_in=True),
            page=SignOutPage(default_language="en"),
            more=StepUp(
                desk=None, replica=self.replica, certificates=DeviceCertificates(), clock=self.control.clock, table=dict
            ).pages,
        )  # fmt: skip
        self.thread = LoopThread()
        self.listener = self.thread.call(lambda: BrowserListener(sign_in))
        sock = listening()
        sock.setblocking(False)
        self.thread.run(self.listener.listen(sock))
        authority, certificate, key = write_server_certificate(
            folder / "tls", [HOST.decode()], now=self.control.clock.now()
        )
        self.authority = authority
        executable = find_peer("nginx (wheel)") or find_peer("nginx (Debian)")
        assert executable is not None
        (folder / "nginx").mkdir()
        self.app = Signed(self.replica)
        self.lab = Lab(
            executable, folder / "nginx", app=self.app, certificate=str(certificate), certificate_key=str(key),
            browser=(listen_text(sock),),
        )  # fmt: skip

    @staticmethod
    def _secret(folder: Path) -> Path:
        path = folder / "secret"
        path.write_text("a secret of the client")
        return path

    def browser(self) -> httpx.Client:
        """A browser that has never been here: it keeps cookies, and follows nothing by itself."""

        context = ssl.create_default_context(cafile=str(self.authority))
        transport = httpx.HTTPTransport(verify=context)
        return httpx.Client(
            transport=Resolved(transport, self.lab.address), base_url="https://portal.example",
            headers={"accept": "text/html", "accept-language": "ja"},
        )  # fmt: skip

    def close(self) -> None:
        self.lab.__exit__()
        self.thread.run(self.listener.close(grace=1.0))
        self.thread.close()
        self.control.__exit__()


class Resolved(httpx.BaseTransport):
    """Sends what is for the site to where nginx listens, under the site's own name."""

    def __init__(self, inner: httpx.HTTPTransport, address: tuple[str, int]) -> None:
        self._inner = inner
        self._address = address

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host, port = self._address
        sent = httpx.Request(
            request.method,
            request.url.copy_with(host=host, port=port),
            headers=request.headers,  # its Host stays the site's
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": "portal.example"},
        )
        return self._inner.handle_request(sent)

    def close(self) -> None:
        self._inner.close()


TOO_OLD = Decision(effect=Effect.STEP_UP, reasons=("REAUTH_REQUIRED",), unmet=(Unmet("REAUTH_REQUIRED", max_age=300),))


class Signed(GateApp):
    """Lets in whoever has a session; everybody else is to sign in."""

    def __init__(self, replica: Replica) -> None:
        super().__init__(credential())
        self._replica = replica
        self.youngest = 0
        """When a sign-in has to have been at the earliest; an older one is to be made anew."""
        page = DeniedPage(registry(), default_language="en", signs_in=True)
        self.pages = DeniedPages(page, Credentials([credential()]))

    def answer(self, path: bytes, method: bytes, headers: Any, names: Any, uid: Any, head: bytes = b"") -> bytes:

        before = len(self.authorised)
        answer = super().answer(path, method, headers, names, uid, head)
        if len(self.authorised) > before:
            session = self.authorised[-1].session
            record = self._replica.sessions.get(sid_of(session)) if session else None
            if record is not None and (record.auth_time or 0) < self.youngest:
                return deny_head(TOO_OLD, scheme="", has_credential=True) + b"d-8" + END
            if record is None:
                self.deny = Decision.deny("AUTH_REQUIRED", step_up=True)
                try:
                    return super().answer(path, method, headers, names, uid, head)
                finally:
                    self.deny = None
        return answer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if find_peer("nginx (wheel)") is None and find_peer("nginx (Debian)") is None:
        if os.environ.get("CI"):
            pytest.fail("no nginx")
        pytest.skip(reason="no nginx on this machine")
    with provider() as issuing:
        found = Site(tmp_path_factory.mktemp("browser"), issuing)
        yield found
        found.close()


def sign_in(browser: httpx.Client, link: str, person: str = "tanaka") -> httpx.Response:
    """Follow the link of a page to the provider, sign in there, and come back."""
    away = browser.get(link)
    assert away.status_code == 302, away.text
    form = parse_qs(urlsplit(away.headers["location"]).query)
    assert form["code_challenge_method"] == ["S256"]
    back = httpx.post(away.headers["location"], data={"sub": person}, trust_env=False)
    return browser.get(back.headers["location"])


def link_of(page: httpx.Response) -> str:
    """The way to sign in that a page shows."""
    found = re.search(r'<a class="act" href="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1].replace("&amp;", "&")


def test_a_browser_is_shown_the_way_signs_in_and_gets_the_page_it_asked_for(site: Site) -> None:
    with site.browser() as browser:
        refused = browser.get("/cases/1?page=2")
        assert refused.status_code == 401
        assert "サインインする" in refused.text

        back = sign_in(browser, link_of(refused))

        assert (back.status_code, back.headers["location"]) == (303, "/cases/1?page=2")
        cookie = next(value for value in back.headers.get_list("set-cookie") if value.startswith(SESSION))
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
        assert browser.get("/cases/1?page=2").status_code == 200


def test_an_answer_of_the_provider_counts_in_the_browser_that_asked_and_once(site: Site) -> None:
    with site.browser() as browser, site.browser() as thief:
        away = browser.get("/.zt/login?to=/cases/1")
        back = httpx.post(away.headers["location"], data={"sub": "tanaka"}, trust_env=False).headers["location"]

        stolen = thief.get(back)
        assert (stolen.status_code, SESSION in str(stolen.headers)) == (403, False)
        # The thief has used it up; better nobody than somebody else.
        assert browser.get(back).status_code == 403


@pytest.mark.parametrize("to", ["//evil.example/", "https://evil.example/", "/\\evil.example", "/.zt/logout"])
def test_nobody_is_sent_elsewhere_after_signing_in(site: Site, to: str) -> None:
    with site.browser() as browser:
        answer = browser.get("/.zt/login", params={"to": to})

    assert (answer.status_code, "location" in answer.headers) == (403, False), answer.text


def test_signing_out_takes_a_page_of_this_site_and_ends_the_session_at_once(site: Site) -> None:
    with site.browser() as browser:
        sign_in(browser, "/.zt/login?to=/")
        assert browser.get("/cases/1").status_code == 200

        assert "サインアウトする" in browser.get("/.zt/logout").text
        assert browser.post("/.zt/logout", headers={"sec-fetch-site": "cross-site"}).status_code == 403
        assert browser.post("/.zt/logout").status_code == 403
        assert browser.get("/cases/1").status_code == 200

        done = browser.post("/.zt/logout", headers={"sec-fetch-site": "same-origin"})
        assert done.status_code == 200
        assert "サインアウトしました" in done.text
        assert browser.get("/cases/1").status_code == 401


@pytest.mark.parametrize(
    "path", ["/.zt/", "/.zt/other", "/.zt/callback", "/.zt/callback?state=x&code=y", "/.zt/login/x"]
)
def test_what_was_not_begun_is_a_page_and_no_session(site: Site, path: str) -> None:
    with site.browser() as browser:
        answer = browser.get(path)

    assert (answer.status_code, SESSION in str(answer.headers)) == (403, False)
    assert "text/html" in answer.headers["content-type"]


def test_forty_requests_of_a_page_without_a_session_get_an_answer_for_programs_and_no_cookie(site: Site) -> None:
    with site.browser() as browser:
        answers = [browser.get(f"/cases/{number}", headers={"accept": "application/json"}) for number in range(40)]

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json()["code"] for answer in answers} == {"AUTH_REQUIRED"}
    assert not any("set-cookie" in answer.headers for answer in answers)


def test_the_listener_answers_nobody_but_the_proxy(site: Site) -> None:
    assert KEY  # the proxy's
    with httpx.Client(trust_env=False) as stranger:
        answer = stranger.get(f"http://{site.lab.block.browser[0]}/", headers={"x-original-uri": "/.zt/login"})

    assert answer.status_code in (401, 403)
    assert "location" not in answer.headers


def test_a_page_that_wants_a_fresh_sign_in_asks_the_provider_for_one_and_is_opened_by_that_alone(site: Site) -> None:
    def says(age: int) -> None:
        claims = {"auth_time": int(time.time()) - age}
        httpx.put(f"{site.provider.issuer}/users/tanaka", json=claims, trust_env=False).raise_for_status()

    with site.browser() as browser:
        says(4000)
        sign_in(browser, "/.zt/login?to=/")
        site.app.youngest = int(time.time()) - 300
        try:
            refused = browser.get("/cases/1?page=2")
            assert refused.status_code == 401 and 'max_age="300"' in refused.headers["www-authenticate"]
            asked = browser.get(link_of(refused), headers={"sec-fetch-site": "same-origin"}).headers["location"]
            assert parse_qs(urlsplit(asked).query) == {"to": ["/cases/1?page=2"], "max_age": ["300"]}
            away = browser.get(asked).headers["location"]
            assert parse_qs(urlsplit(away).query)["max_age"] == ["300"]

            told = sign_in(browser, asked)  # the provider takes no notice
            assert (told.status_code, "SIGN_IN_UNMET" in told.text) == (403, True)
            says(10)
            back = sign_in(browser, link_of(told))
            assert (back.status_code, back.headers["location"]) == (303, "/cases/1?page=2")
            assert browser.get("/cases/1?page=2").status_code == 200
        finally:
            site.app.youngest = 0


def test_a_code_of_somebody_else_s_sign_in_is_not_redeemed_here(site: Site) -> None:
    """RFC 9700, 4.5: a code that an attacker got is put into the answer to a sign-in of their own."""
    with site.browser() as victim, site.browser() as attacker:
        backs = []
        for browser, person in ((victim, "tanaka"), (attacker, "mallory")):
            away = browser.get("/.zt/login?to=/cases/1").headers["location"]
            backs.append(httpx.post(away, data={"sub": person}, trust_env=False).headers["location"])
        codes = [re.search(r"code=([^&]+)", back) for back in backs]
        assert codes[0] is not None and codes[1] is not None
        refused, before = site.provider.refused, site.provider.redeemed
        answer = attacker.get(backs[1].replace(codes[1][0], codes[0][0]))

    assert (answer.status_code, "SIGN_IN_CODE" in answer.text) == (403, True)
    assert SESSION not in str(answer.headers)
    assert (site.provider.refused, site.provider.redeemed) == (refused + 1, before)
