"""A real Chromium without a client certificate proves its device: real nginx, the whole sidecar, a real agent.

Only the sign-in is left out: the session is one that the stream would have told of. No person is asked for anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route
from playwright.sync_api import Error as PlaywrightError

from device_inventory.agent.browser_proof import keep_hosts
from device_inventory.agent.browser_proof_listener import BrowserProofs
from device_inventory.agent.state import Held, Home, KeyRef, State
from tests.browser.chromium import PHONE, chromium, findings, profile, screenshot
from tests.e2e.lab import Backend
from tests.hook_support import LoopThread, listening
from tests.integration.test_device_proof_agent import free_ports
from tests.peers import find_peer
from tests.sidecar_support import InProcess, edit, installation, laptop, logged
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.nginx_process import NginxProcess, listen_text, reserve
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.nginx_hook import find_proxy, nginx_block, write_key_include
from zt_engine.cli.agent_proof import refusal_page
from zt_engine.config import load
from zt_engine.core.session import SessionRecord, sid_of
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.sidecar.browser.device_proof import DeviceProofs
from zt_engine.sidecar.browser.proxied import browser_hooks
from zt_engine.sidecar.browser.signing_in import BrowserSignIn
from zt_engine.sidecar.browser.wire import BrowserListener
from zt_engine.sidecar.hooks.snippet import render
from zt_engine.sidecar.replica import Changes

HOST = "portal.example"
HANDLE = "h" * 43
EVIL = "https://evil.example"
ASKED = "navigator.permissions.query({name: 'local-network-access'}).then(found => found.state, () => '')"
PAGE = b"<!doctype html><html lang=en><title>Case 1</title><h1>Case 1</h1>"


class Site:
    """nginx with TLS as it is printed, the whole sidecar, its pages for browsers, a backend, and one agent."""

    def __init__(self, nginx: Path, folder: Path, opa: str) -> None:
        self.sandbox = installation(folder / "zt", opa, listen=f"unix:{folder}/zt.sock")
        self.agent_port = free_ports()
        lines = f'device_proof_port = {self.agent_port}\nbrowser_listen = ["unix:{folder}/nobody.sock"]\n'
        edit(self.sandbox, "zt.toml", ("[sidecar]\n", f"[sidecar]\n{lines}"))
        self.laptop = laptop(self.sandbox)
        self.sidecar = InProcess(self.sandbox)
        self.backend = Backend()
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(PAGE), PAGE)
        self.backend.answers[b"/cases/1"] = answer
        self.thread = LoopThread()
        self._session()
        program, settings = self.sidecar.program, load(self.sandbox.config, {})
        assert program.wiring.device_proofs is not None
        proofs = DeviceProofs(
            replica=program.replica, verifier=program.wiring.device_proofs,
            issuers={config.issuer for config in program.wiring.trusted.issuers}, clock=SystemClock(),
            port=self.agent_port,
        )  # fmt: skip
        pages: Any = {
            "hooks": browser_hooks(program.wiring.credentials, {"nginx"}), "desk": None, "replica": program.replica,
            "certificates": program.wiring.certificates, "clock": SystemClock(), "denied": program.wiring.denied,
            "page": SignOutPage(default_language="ja"), "more": proofs.pages,
        }  # fmt: skip
        self.listener = self.thread.call(lambda: BrowserListener(BrowserSignIn(**pages)))
        sock = listening()
        sock.setblocking(False)
        self.thread.run(self.listener.listen(sock))
        front = reserve("127.0.0.1")
        _, certificate, key = write_server_certificate(folder / "tls", [HOST], now=self.sandbox.now)
        proxy = find_proxy(settings, None)
        write_key_include(settings, proxy)
        block = nginx_block(
            settings, proxy, service="portal", backend=self.backend.address, listen=[listen_text(front)],
            sidecar=self.sidecar.program.addresses, certificate=certificate, certificate_key=key,
            browser=[listen_text(sock)],
        )  # fmt: skip
        (folder / "nginx").mkdir()
        self.address = front.getsockname()[:2]
        self.origin = f"https://{HOST}:{self.address[1]}"
        self.nginx = NginxProcess.start(nginx, http=render(block), folder=folder / "nginx", sockets=[front])
        self.home = self._enrolled(folder / "agent")
        self.events: list[tuple[str, dict[str, object]]] = []
        self.agent = self.agent_of()
        self.agent.attend()

    def _session(self) -> None:
        """Tell the sidecar of Tanaka's session, as the stream would."""
        replica, now = self.sidecar.program.replica, int(self.sandbox.now)
        issuer = next(iter(self.sidecar.program.wiring.trusted.issuers)).issuer
        known = SessionRecord(
            sid=sid_of(HANDLE.encode()), version=1, host=HOST, issuer=issuer, subject="tanaka", client_id="portal",
            claims={}, acr="phr", amr=("hwk", "user"), auth_time=now - 60, until=now + 7200,
        )  # fmt: skip
        records = replica.state.records.changed(Changes(sessions={known.sid: known}))
        replica.state = msgspec.structs.replace(replica.state, records=records)

    def _enrolled(self, folder: Path) -> Home:
        home, device = Home(folder), self.laptop.certificate
        home.prepare()
        home.write("zt-device-1.pem", device.key_pem)
        now = int(self.sandbox.now)
        held = Held(
            device_id="laptop-1", certificate=device.pem.decode(), chain="", x5t=device.x5t, not_before=now - 300,
            not_after=now + 86_400, protection="file",
        )  # fmt: skip
        key = KeyRef(kind="file", name="zt-device-1.pem")
        home.save(State(url="https://control.example", key=key, held=held))
        keep_hosts(home, [HOST])
        return home

    def agent_of(self) -> BrowserProofs:
        return BrowserProofs(self.home, SystemClock(), self.tell, page=refusal_page("ja"), port=self.agent_port)

    def tell(self, event: str, /, **facts: object) -> None:
        self.events.append((event, facts))

    def said(self, event: str) -> list[dict[str, object]]:
        return [facts for name, facts in self.events if name == event]

    def close(self) -> None:
        self.agent.close()
        self.nginx.stop()
        self.thread.run(self.listener.close(grace=1.0))
        self.thread.close()
        self.sidecar.close()
        self.backend.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[Site]:
    nginx = find_peer("nginx (wheel)") or find_peer("nginx (Debian)")
    if nginx is None:
        if os.environ.get("CI"):
            pytest.fail("no nginx")
        pytest.skip(reason="no nginx on this machine")
    found = Site(nginx, tmp_path_factory.mktemp("proof"), opa)
    yield found
    found.close()


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Browser]:
    with chromium(f"--host-resolver-rules=MAP {HOST} 127.0.0.1") as found:
        yield found


class Prompts:
    """Counts whatever a browser would ask its person."""

    def __init__(self, page: Page) -> None:
        self.count = 0
        page.on("dialog", self._seen)
        page.on("popup", self._seen)

    def _seen(self, _what: object) -> None:
        self.count += 1


def signed_in(context: BrowserContext, site: Site, **more: str) -> Page:
    """A page of a browser that holds Tanaka's session, and no client certificate."""
    cookies = {"__Host-zt-session": HANDLE, **more}
    context.add_cookies(
        [
            {
                "name": name,
                "value": value,
                "url": f"{site.origin}/",
                "secure": True,
                "httpOnly": True,
                "sameSite": "Lax",
            }
            for name, value in cookies.items()
        ]
    )
    return context.new_page()


def jar(context: BrowserContext) -> dict[str, Any]:
    return {cookie["name"]: cookie for cookie in context.cookies()}


def challenged(site: Site) -> str:
    """Where a program that holds the stolen session cookie is sent to have a device confirmed."""
    with httpx.Client(verify=False, trust_env=False) as thief:
        answer = thief.get(
            f"https://{site.address[0]}:{site.address[1]}/.zt/device?to=/cases/1",
            headers={"host": HOST, "cookie": f"__Host-zt-session={HANDLE}", "sec-fetch-site": "none"},
            extensions={"sni_hostname": HOST},
        )
    return str(answer.headers["location"])


def confirmed(page: Page, site: Site) -> None:
    """Open the page, and confirm the device when told to."""
    page.goto(f"{site.origin}/cases/1")
    page.get_by_role("link", name="この端末を確認する").click()
    page.wait_for_url(f"{site.origin}/cases/1")


def test_one_click_and_no_prompt_lead_from_a_refusal_through_the_agent_to_the_page_and_again_when_time_is_over(
    site: Site, browser: Browser
) -> None:
    with profile(browser) as context:
        page = signed_in(context, site)
        prompts = Prompts(page)
        refused = page.goto(f"{site.origin}/cases/1?page=2")
        assert refused is not None
        assert (refused.status, findings(page)) == (403, [])
        assert page.locator("h1").inner_text() == "このブラウザーでは、お使いの端末が確認されていません。"
        screenshot(page, "device-proof-ja")

        page.get_by_role("link", name="この端末を確認する").click()
        page.wait_for_url(f"{site.origin}/cases/1?page=2")

        assert site.backend.received[-1].values("zt-device") == [b"laptop-1"]
        proof = jar(context)["__Host-zt-proof"]
        assert (proof["secure"], proof["httpOnly"], proof["sameSite"], proof["path"]) == (True, True, "Lax", "/")
        assert len(proof["value"]) < 2048
        assert "__Host-zt-device" not in jar(context)

        context.clear_cookies(name="__Host-zt-proof")  # as the browser does when its time is over
        confirmed(page, site)

        assert jar(context)["__Host-zt-proof"]["value"] != proof["value"]
        assert page.locator("h1").inner_text() == "Case 1"
        assert prompts.count == 0
        asked = page.evaluate(
            "navigator.permissions.query({name: 'local-network-access'}).then(s => s.state, () => '')"
        )
        assert asked in ("prompt", "")  # it was never asked for
    events = [event for event in logged(site.sandbox) if event.get("effect") == "allow"]
    assert events[-1]["device"] == "laptop-1"


def test_a_stolen_session_cookie_and_a_relayed_challenge_open_nothing(site: Site, browser: Browser) -> None:
    with profile(browser) as victim, profile(browser, language="en") as thief:
        own = signed_in(victim, site)
        stolen = signed_in(thief, site)
        refused = stolen.goto(f"{site.origin}/cases/1")
        assert refused is not None
        assert refused.status == 403
        challenge = challenged(site)

        own.goto(challenge)  # the victim is led to her own agent with it

        assert own.url == f"{site.origin}/.zt/device?refused=DEVICE_PROOF_BROWSER"
        assert "このブラウザーで始められたものではありません" in own.inner_text("main")
        assert "__Host-zt-proof" not in jar(victim)
        assert "__Host-zt-proof" not in jar(thief)
        # The proof cookie alone, in a browser with another session or none, is worth nothing either.
        confirmed(own, site)
        proof = jar(victim)["__Host-zt-proof"]["value"]
    with profile(browser) as other:
        page = signed_in(other, site, **{"__Host-zt-session": "q" * 43, "__Host-zt-proof": proof})
        answer = page.goto(f"{site.origin}/cases/1")
        assert answer is not None
        assert answer.status == 401


def test_a_malicious_page_gets_nothing_out_of_the_agent_by_fetching_framing_or_leading_there(
    site: Site, browser: Browser
) -> None:
    told = {"host": HOST, "port": "443", "sid": sid_of(b"x"), "nonce": sid_of(b"y"), "state": "/"}
    agent = f"http://127.0.0.1:{site.agent_port}/zt-proof?"
    html = f"""<!doctype html><img src="{agent}{urlencode(told)}"><iframe src="{agent}{urlencode(told)}"></iframe>
    <script>window.seen = fetch({agent + urlencode(told)!r}, {{mode: 'no-cors', redirect: 'manual'}})
      .then(() => 'answered', () => 'failed')</script>"""
    given = len(site.said("agent.browser_answered"))

    def evil(route: Route) -> None:
        route.fulfill(body=html, content_type="text/html")

    with profile(browser) as context:
        context.route(f"{EVIL}/**", evil)
        page = context.new_page()
        prompts = Prompts(page)
        page.goto(f"{EVIL}/")
        page.wait_for_load_state("networkidle", timeout=5_000)

        assert len(site.said("agent.browser_answered")) == given

        page.goto(agent + urlencode({**told, "host": "evil.example"}))
        assert page.url.startswith("http://127.0.0.1:")
        assert "このサイトには、この端末の情報を伝えません" in page.content()
        assert findings(page) == []
        screenshot(page, "device-proof-other-site-ja")
        assert prompts.count == 0
    assert len(site.said("agent.browser_answered")) == given


def test_a_link_of_another_site_confirms_no_device_of_whoever_is_signed_in(site: Site, browser: Browser) -> None:
    html = f'<!doctype html><a href="{site.origin}/.zt/device?to=/cases/1">Win</a>'
    given = len(site.said("agent.browser_answered"))
    with profile(browser) as context:
        context.route(f"{EVIL}/**", lambda route: route.fulfill(body=html, content_type="text/html"))
        page = signed_in(context, site)
        page.goto(f"{EVIL}/")
        page.get_by_role("link", name="Win").click()
        page.wait_for_url(f"{site.origin}/**")

        assert "別のサイトからの操作のため" in page.inner_text("main")
        assert not {"__Host-zt-device", "__Host-zt-proof"} & set(jar(context))
    assert len(site.said("agent.browser_answered")) == given


def test_without_an_agent_the_refusal_says_what_to_start_and_then_the_same_link_works(
    site: Site, browser: Browser
) -> None:
    site.agent.close()
    try:
        with profile(browser, language="en", viewport=PHONE, color_scheme="dark") as context:
            page = signed_in(context, site)
            page.goto(f"{site.origin}/cases/1")
            link = page.get_by_role("link", name="Confirm this device")
            with pytest.raises(PlaywrightError, match="ERR_CONNECTION_REFUSED"):
                page.goto(f"{site.origin}{link.get_attribute('href')}")
            page.wait_for_url("chrome-error://**")

            page.goto(f"{site.origin}/cases/1")
            assert "systemctl --user start zt-agent" in page.inner_text("main")
            assert findings(page) == []
            screenshot(page, "device-proof-en-phone-dark")
            site.agent = site.agent_of()
            site.agent.attend()
            link.click()
            page.wait_for_url(f"{site.origin}/cases/1")
            assert page.locator("h1").inner_text() == "Case 1"
    finally:
        if not site.agent.port:
            site.agent = site.agent_of()
            site.agent.attend()
