"""Keys in a real Chromium with a virtual authenticator: registered, used to step up and come back, lost.

The control plane's pages and a host behind nginx are two sites to the browser. What is wrong with answers is for the
unit tests; here is shown that browsers, pages and proxies work together, and how often somebody is asked for anything.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, expect

from tests.browser.chromium import PHONE, chromium, findings, profile, screenshot
from tests.control_support import TENANT
from tests.e2e.lab import HOST, Lab
from tests.e2e.test_browser_sign_in import Desk
from tests.hook_support import END, GateApp, LoopThread, credential, listening
from tests.peers import find_peer
from tests.portal_server import ServedPortal
from zt_engine.adapters.nginx_process import listen_text
from zt_engine.adapters.webauthn_ceremony import WebAuthnKeys
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.device_certificates import DeviceCertificates
from zt_engine.control_plane.passkeys import PASSKEYS, Passkeys
from zt_engine.control_plane.passkeys_proving import Proving
from zt_engine.core.decision import Decision, Effect, Unmet
from zt_engine.core.session import sid_of
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.ports.webauthn import StepUpBegun, StepUpRaised
from zt_engine.sidecar.browser.signing_in import BrowserSignIn
from zt_engine.sidecar.browser.stepping_up import StepUp
from zt_engine.sidecar.browser.wire import BrowserListener
from zt_engine.sidecar.hooks.answers import deny_head
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.hooks.pages import DeniedPages
from zt_engine.sidecar.replica import Replica

TABLE = {"pwd": 1, "mfa": 2, "swk": 3, "phr": 3, "hwk": 3, "phrh": 4}
TOO_WEAK = Decision(
    effect=Effect.STEP_UP, reasons=("OVERLAY_ACR",), unmet=(Unmet("OVERLAY_ACR", acr="phr", max_age=300),)
)


class KeyDesk:
    """The control plane for a session that proves itself, and a stream that tells at once."""

    def __init__(self, portal: ServedPortal, told: Desk) -> None:
        self._proving = Proving(portal.control.plane)
        self._plane = portal.control.plane
        self._told = told

    async def begin(self, asked: Any) -> StepUpBegun:
        fields = {name: value for name, value in asked.items() if name not in ("acr_values", "max_age")}
        fields["wanted"] = tuple(fields["wanted"])
        fields["asked"] = urlencode({"acr_values": asked["acr_values"], "max_age": asked["max_age"]})
        begun = await asyncio.to_thread(self._proving.begin, now=self._plane.now(), **fields)
        return StepUpBegun(begun.location, begun.ticket, begun.seconds)

    async def finish(self, told: Any) -> StepUpRaised:
        raised = await asyncio.to_thread(self._proving.finish, now=self._plane.now(), **told)
        self._told.tell()
        return StepUpRaised(raised.to, raised.version)


class Gate(GateApp):
    """Lets in whoever has a session; `/secret/` takes a sign-in that is strong and fresh."""

    def __init__(self, replica: Replica) -> None:
        super().__init__(credential())
        self._replica = replica
        self.pages = DeniedPages(
            DeniedPage(registry(), default_language="en", signs_in=True), Credentials([credential()])
        )

    def answer(self, path: bytes, method: bytes, headers: Any, names: Any, uid: Any, head: bytes = b"") -> bytes:
        before = len(self.authorised)
        allowed = super().answer(path, method, headers, names, uid, head)
        if len(self.authorised) == before:
            return allowed
        request = self.authorised[-1]
        record = self._replica.sessions.get(sid_of(request.session)) if request.session else None
        if record is None:
            return (
                deny_head(Decision.deny("AUTH_REQUIRED", step_up=True), scheme="", has_credential=False) + b"d-7" + END
            )
        strong = TABLE.get(record.acr, 0) >= TABLE["phr"]
        if "/secret/" in request.target.url and not strong:
            return deny_head(TOO_WEAK, scheme="", has_credential=True) + b"d-8" + END
        return allowed


class World:
    """The pages of a control plane, a provider at another site, and a host behind nginx."""

    def __init__(self, folder: Path) -> None:
        (folder / "nginx").mkdir(parents=True)
        self.portal = ServedPortal(folder / "portal", organisation="○○省", language="ja")
        plane = self.portal.control.plane
        keys = WebAuthnKeys(rp_id="localhost", origin=self.portal.url, name="○○省")
        self.keys = Passkeys(plane, keys)
        plane.extras[PASSKEYS] = self.keys
        for person in ("tanaka", "suzuki"):
            self.portal.person(person, acr="pwd", amr=("pwd",))
        self.replica = Replica()
        desk = Desk(self.portal.control, self.portal.office.sessions, self.replica)
        certificates, clock = DeviceCertificates(), self.portal.control.clock
        step_up = StepUp(
            desk=KeyDesk(self.portal, desk),
            replica=self.replica,
            certificates=certificates,
            clock=clock,
            table=lambda: TABLE,
        )
        site = BrowserSignIn(
            hooks=[NginxHook(Credentials([credential()]))],
            desk=desk,
            replica=self.replica,
            certificates=certificates,
            clock=clock,
            denied=DeniedPage(registry(), default_language="en", signs_in=True),
            page=SignOutPage(default_language="en"),
            more=step_up.pages,
        )
        self.thread = LoopThread()
        self.listener = self.thread.call(lambda: BrowserListener(site))
        sock = listening()
        sock.setblocking(False)
        self.thread.run(self.listener.listen(sock))
        _, certificate, key = write_server_certificate(folder / "tls", [HOST.decode()], now=clock.now())
        executable = find_peer("nginx (wheel)") or find_peer("nginx (Debian)")
        assert executable is not None
        self.lab = Lab(
            executable,
            folder / "nginx",
            app=Gate(self.replica),
            certificate=str(certificate),
            certificate_key=str(key),
            browser=(listen_text(sock),),
        )
        self.site = f"https://{HOST.decode()}:{self.lab.address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.lab.__exit__()
        self.thread.run(self.listener.close(grace=1.0))
        self.thread.close()
        self.portal.__exit__()

    def held(self, person: str) -> list[Any]:
        found = self.keys.of("https://idp.example", person)
        return sorted(found, key=lambda key: key.name)

    def acr(self, person: str) -> set[str]:
        """What the person's sessions at the host say."""
        with self.portal.control.store.reading(TENANT) as tx:
            found = tx.sessions.of_person("https://idp.example", person)
        return {held.record.acr for held in found if held.record.host == HOST.decode()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if find_peer("nginx (wheel)") is None and find_peer("nginx (Debian)") is None:
        if os.environ.get("CI"):
            pytest.fail("no nginx")
        pytest.skip(reason="no nginx on this machine")
    with World(tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest.fixture(scope="module")
def browser(world: World) -> Iterator[Browser]:
    with chromium(f"--host-resolver-rules=MAP {HOST.decode()} {world.lab.address[0]}") as made:
        yield made


class Person:
    """Somebody with a browser and a key in it; counts what they are asked for."""

    def __init__(self, world: World, context: BrowserContext, name: str) -> None:
        self.world, self.name = world, name
        self.page: Page = context.new_page()
        self.cdp: CDPSession = context.new_cdp_session(self.page)
        self.cdp.send("WebAuthn.enable")
        self.key = self.plug("internal")
        self.prompts: list[str] = []
        self.page.on("framenavigated", self._saw)

    def _saw(self, frame: Any) -> None:
        if "/authorize?" in frame.url:
            self.prompts.append("provider")

    def plug(self, transport: str, **more: Any) -> str:
        """Have an authenticator."""
        options = {
            "protocol": "ctap2", "transport": transport, "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True, **more,
        }  # fmt: skip
        found: str = self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]
        return found

    def unplug(self, key: str) -> None:
        self.cdp.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": key})

    def sign_in(self) -> None:
        """At the provider's page, which a prompt is."""
        self.page.get_by_role("link", name=self.name).click()

    def act(self, name: str) -> None:
        """Press the one button or follow the one link of this name."""
        self.page.get_by_role("button", name=name).or_(self.page.get_by_role("link", name=name)).first.click()

    def register(self, name: str) -> None:
        """Register the key that is plugged in."""
        self.page.goto(f"{self.world.portal.url}/my/keys/new")
        if "/authorize?" in self.page.url:
            self.sign_in()
        self.page.get_by_label("キーの名前").fill(name)
        self.act("登録を始める")
        self.page.get_by_role("status").get_by_text("キーを登録しました").wait_for()


def forget(world: World) -> None:
    """Nobody has a key or a session."""
    with world.portal.control.store.writing(TENANT) as tx:
        for name in ("tanaka", "suzuki"):
            for key in tx.passkeys.of_person("https://idp.example", name):
                tx.passkeys.remove(key.id)
            for held in tx.sessions.of_person("https://idp.example", name):
                tx.sessions.remove(held.record.sid)


@pytest.fixture(autouse=True)
def fresh(world: World) -> None:
    forget(world)


def test_keys_from_the_first_to_the_lost_one(world: World, browser: Browser) -> None:
    """Registered, a second one, used for a page that needs it, lost: with one sign-in at each site."""
    with profile(browser) as context:
        person = Person(world, context, "tanaka")
        page, secret = person.page, f"{world.site}/secret/plan?page=2"
        person.register("職場の端末")
        page.goto(f"{world.portal.url}/my/keys/new")
        person.act("登録を始める")  # the same one once more
        expect(page.get_by_role("alert")).to_contain_text("すでに登録されています")
        assert findings(page) == []
        person.unplug(person.key)
        person.plug("usb")
        person.register("USBキー")
        assert {key.name for key in world.held("tanaka")} == {"職場の端末", "USBキー"}
        assert person.prompts == ["provider"]

        page.goto(secret)  # nobody is signed in at the host yet
        person.act("サインインする")
        person.sign_in()
        page.wait_for_url(secret)
        person.act("サインインする")  # the sign-in is too weak for this page
        page.wait_for_url(f"{world.portal.url}/step-up/*")
        expect(page.get_by_text(secret)).to_be_visible()
        assert findings(page) == []
        screenshot(page, "keys-step-up-ja")
        person.act("キーを使う")
        page.wait_for_url(secret)
        expect(page.get_by_text("backend")).to_be_visible()
        assert person.prompts == ["provider", "provider"]  # one for each site, and none for the key
        assert world.acr("tanaka") == {"phr"}
        assert {key.name: key.used_at is not None for key in world.held("tanaka")} == {
            "職場の端末": False,
            "USBキー": True,
        }

        page.goto(f"{world.portal.url}/my/keys")
        screenshot(page, "keys-list-ja")
        page.get_by_role("link", name="USBキー").click()
        assert findings(page) == []
        screenshot(page, "keys-one-ja")
        person.act("紛失を報告する")
        expect(page.get_by_role("status")).to_contain_text("紛失を受け付け")
        assert findings(page) == []
        assert ([key.name for key in world.held("tanaka")], world.acr("tanaka")) == (["職場の端末"], set())


def test_who_has_no_key_or_cannot_use_it_signs_in_at_the_provider(world: World, browser: Browser) -> None:
    with profile(browser) as context:
        person = Person(world, context, "tanaka")
        page = person.page
        page.goto(f"{world.site}/.zt/login?to=/secret/plan")
        person.sign_in()
        person.act("サインインする")
        page.wait_for_url("**/authorize?*")  # at once
        assert person.prompts == ["provider", "provider"]

        person.register("端末")
        person.cdp.send("WebAuthn.setUserVerified", {"authenticatorId": person.key, "isUserVerified": False})
        page.goto(f"{world.site}/secret/plan")
        person.act("サインインする")
        page.wait_for_url("**/step-up/*")
        person.act("キーを使う")
        expect(page.get_by_role("alert")).to_contain_text("確認できませんでした")
        person.act("キーを使わずにサインインする")
        page.wait_for_url("**/authorize?*")
        asked = world.portal.provider.asked[-1]
        assert (asked["redirect_uri"], asked["acr_values"]) == (f"{world.site}/.zt/callback", "phr")


def test_on_a_phone_in_the_dark_no_page_keeps_anybody_out(world: World, browser: Browser) -> None:
    with profile(browser, language="en", viewport=PHONE, color_scheme="dark") as context:
        person = Person(world, context, "suzuki")
        page, url = person.page, world.portal.url
        page.goto(f"{url}/my/keys")
        person.sign_in()
        fit(page, "none")
        page.goto(f"{url}/my/keys/new")
        fit(page, "new")
        person.act("Begin")
        page.wait_for_url("**/my/keys?done=added&key=*")
        fit(page, "added")
        page.goto(f"{world.site}/.zt/login?to=/secret/plan")
        person.sign_in()
        person.act("Sign in")
        page.wait_for_url("**/step-up/*")
        fit(page, "step-up")


def fit(page: Page, name: str) -> None:
    """A page is readable by everybody, and nothing of it is beside the screen."""
    screenshot(page, f"keys-{name}-en-phone-dark")
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_javascript_the_pages_say_what_to_do_instead(world: World, browser: Browser) -> None:
    with profile(browser) as able:
        Person(world, able, "tanaka").register("端末")
    with profile(browser, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{world.portal.url}/my/keys/new")
        page.get_by_role("link", name="tanaka").click()
        expect(page.get_by_text("JavaScriptを有効にする")).to_be_visible()
        expect(page.get_by_role("button", name="登録を始める")).to_have_count(0)

        page.goto(f"{world.site}/.zt/login?to=/secret/plan")
        page.get_by_role("link", name="tanaka").click()
        page.get_by_role("link", name="サインインする").click()
        page.wait_for_url("**/step-up/*")
        expect(page.get_by_text("代わりに、職員アカウントでサインインしてください")).to_be_visible()
        page.get_by_role("link", name="キーを使わずにサインインする").click()
        page.wait_for_url("**/authorize?*")
