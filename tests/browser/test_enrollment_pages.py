"""From the invitation to the first day with a device, in a real Chromium, with the real agent and a real provider."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
import oidc_provider_mock
import pytest
from playwright.sync_api import Browser, Page, Route

from tests.browser.chromium import DESKTOP, PHONE, chromium, findings, profile, screenshot
from tests.control_support import NOW, URL
from tests.hook_support import LoopThread
from tests.peers import ROOT
from tests.portal_enroll_support import DISK, LINUX, PATCH, Office
from tests.sidecar_support import wait_for
from tests.stream_server import free_port
from zt_engine.bootstrap.control import ControlProgram
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.config import load_control

PERSON = "tanaka"
MOST_CLICKS = 5
PATIENCE = 60_000
"""Milliseconds for a page: the agent works beside it on the same machine."""
ONLY_TO_LOOK_AT = frozenset({"unknown", "approval", "left", "welcome"})
"""What other pages have all the parts of."""
BROWSER = """#!/bin/sh
printf '%s\\n' "$1" > {handed}.new && mv {handed}.new {handed}
"""
"""What the agent calls to open a browser: it hands the address to the Chromium of the test."""


class Ministry:
    """A control plane over TLS, the provider people sign in at, and the machine that is enrolled: this one."""

    def __init__(self, folder: Path, issuer: str) -> None:
        self.folder = folder / "zt"
        self.machine = folder / "machine"
        self.url = f"https://localhost:{(port := free_port())}"
        now = time.time()
        keys = httpx.get(f"{issuer}/jwks", trust_env=False).content
        choices = Choices(
            pack="jp-gov",
            control_listen=f"127.0.0.1:{port}",
            issuer=issuer,
            audience="https://portal.example",
            jwks="keys/jwks.json",
        )
        install(self.folder, choices, now=now)
        ca, chain, key = write_server_certificate(folder / "tls", ["localhost"], now=now)
        chain.write_bytes(chain.read_bytes() + ca.read_bytes())
        for name, content in (
            ("jwks.json", keys),
            ("client.secret", b"a-secret-of-the-portal\n"),
            ("session.key", b"k" * 32 + b"\n"),
        ):
            path = self.folder / "keys" / name
            path.touch(mode=0o600)
            path.write_bytes(content)
        config = self.folder / "zt.toml"
        text = config.read_text(encoding="utf-8")
        served = f'url = "{self.url}"\ncert_file = "{chain}"\nkey_file = "{key}"\nca_file = "{ca}"\n'
        served += 'organisation = "○○省"\nhelp_contact = "ヘルプデスク 内線 1234"\n'
        before, section, after = text.partition("\n[control]")
        assert section
        text = before + section + after.replace("\n", f"\n{served}", 1)
        text += f'\n[enrollment]\nissuer = "{issuer}"\nclient_id = "zt-agent"\n'
        text += f'\n[sign_in]\nissuer = "{issuer}"\nclient_id = "portal"\nsecret_file = "keys/client.secret"\n'
        config.write_text(text, encoding="utf-8")
        self.thread = LoopThread()
        self.program = ControlProgram(load_control(config, {}))
        self.thread.run(self.program.start())
        self.api = httpx.Client(
            base_url=self.url,
            verify=False,
            trust_env=False,
            headers={"Authorization": f"Bearer {(self.folder / 'keys/admin.key').read_text().strip()}"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()
        self.thread.run(self.program.stop())
        self.thread.close()

    def invite(self, **changes: Any) -> str:
        """Invite the person; return the link."""
        body = {"subject": PERSON, "ownership": "corp", "ceiling": 200, **changes}
        made = self.api.post("/v1/invitations", json=body, headers={"Idempotency-Key": os.urandom(8).hex()})
        return str(made.json()["link"])


class Agent:
    """The agent on a machine, as the person runs it: one command, and what it asks answered with yes."""

    def __init__(self, folder: Path, command: str, language: str) -> None:
        folder.mkdir(parents=True)
        programs = folder / "bin"
        programs.mkdir()
        self._handed = folder / "handed"
        self._write(programs / "xdg-open", BROWSER.format(handed=shlex.quote(str(self._handed))))
        self._write(
            programs / "zt", f"#!/bin/sh\nexec {sys.executable} -c 'from zt_engine.cli import main; main()' \"$@\"\n"
        )
        self._environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "LANG": {"ja": "ja_JP.UTF-8", "en": "C.UTF-8"}[language],
        }
        self._process = self._start(command)

    def _start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=self._environment["HOME"],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def report(self) -> None:
        """Report once more, as the page says; without asking for updates again, which takes a machine seconds."""
        process = self._start("zt agent report --quick")
        said, _ = process.communicate(timeout=120)
        assert process.returncode in (0, 1), said

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def address(self) -> str:
        """Where it wants the person to sign in."""
        wait_for(lambda: self._handed.exists() or self._process.poll() is not None, "an address", seconds=60)
        assert self._handed.exists(), self._process.communicate()[0]
        return self._handed.read_text().strip()

    def finish(self) -> str:
        """Answer its question, and wait until it is done."""
        said, _ = self._process.communicate("y\n", timeout=120)
        assert self._process.returncode == 0, said
        return said


class Clicks:
    """Counts what a person presses."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __call__(self, page: Page, name: str) -> None:
        self.done.append(name)
        page.get_by_role("button", name=name, exact=True).or_(page.get_by_role("link", name=name, exact=True)).click()


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        # Out of the box it knows only clients with a secret; an agent is a public client (RFC 8252, 8.4).
        methods = ["none", "client_secret_basic", "client_secret_post"]
        patch.setattr("oidc_provider_mock._app.AuthorizationCodeGrant.TOKEN_ENDPOINT_AUTH_METHODS", methods)
        users = [oidc_provider_mock.User(sub=PERSON), oidc_provider_mock.User(sub="suzuki")]
        with oidc_provider_mock.run_server_in_thread(require_nonce=True, user_claims=users) as server:
            yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(scope="module")
def ministry(tmp_path_factory: pytest.TempPathFactory, provider: str) -> Iterator[Ministry]:
    with Ministry(tmp_path_factory.mktemp("ministry"), provider) as one:
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


def sign_in(page: Page, press: Clicks, person: str = PERSON) -> None:
    """Press the one button of the provider that says who one is."""
    press(page, person)


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")  # the provider's own
def test_from_the_invitation_to_the_welcome_it_takes_five_clicks_and_one_command(
    ministry: Ministry, browser: Browser, tmp_path: Path
) -> None:
    press = Clicks()
    with profile(browser, language="ja", permissions=["clipboard-read", "clipboard-write"]) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(ministry.invite())
        assert page.get_by_label("招待のリンクまたはコード").input_value()
        assert page.locator("h1").inner_text() == "端末登録の招待が届きました"
        press(page, "サインインして進む")
        sign_in(page, press)
        page.wait_for_url("**/enroll/notice")
        press(page, "確認しました。次へ")
        command = page.get_by_label("実行するコマンド").input_value()
        press(page, "コピーして次へ")
        page.wait_for_url("**/enroll/progress/*")
        assert page.evaluate("navigator.clipboard.readText()") == command

        agent = Agent(tmp_path / "machine", command, "ja")
        tab = context.new_page()
        tab.goto(agent.address())
        sign_in(tab, press)
        tab.close()
        # It looks again by itself, and nobody presses anything.
        page.get_by_role("heading", name="端末のターミナルで、収集する情報に同意してください").wait_for()
        agent.finish()
        page.get_by_role("heading", name="接続できました。").wait_for()

        assert len(press.done) <= MOST_CLICKS, press.done
        assert findings(page) == []

        press(page, "再確認")
        page.get_by_text("端末からの新しい報告は、まだ届いていません").wait_for()
        agent.report()
        press(page, "再確認")
        page.get_by_text("新しい報告を確認しました").wait_for()


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")  # the provider's own
def test_without_scripts_one_pastes_and_the_back_button_and_a_second_tab_are_at_the_right_place(
    ministry: Ministry, browser: Browser
) -> None:
    press, link = Clicks(), ministry.invite()
    with profile(browser, language="en", java_script_enabled=False) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(link)
        page.get_by_label("Link or code of your invitation").fill(link)
        press(page, "Sign in and go on")
        page.wait_for_url("**/oauth2/authorize*")
        assert "code=" + link.partition("code=")[2][:26] not in page.url, "the provider is not told the code"
        sign_in(page, press)
        page.wait_for_url("**/enroll/notice")
        press(page, "I have read this. Continue")
        assert page.get_by_label("The command").input_value().startswith("zt agent enroll ")
        press(page, "Copy and continue")
        page.wait_for_url("**/enroll/progress/*")
        waiting = page.url.rstrip("?")
        page.go_back()
        assert page.url == f"{ministry.url}/enroll/install"
        tab = context.new_page()
        tab.goto(f"{waiting}?pause=1")
        tab.get_by_text("Refreshing is paused.").wait_for()
        tab.goto(f"{ministry.url}/.zt/logout")
        press(tab, "Sign out")
        page.reload()
        page.wait_for_url("**/oauth2/authorize*")


# -- every page, in both languages


class Shown(NamedTuple):
    """A page as it left the control plane."""

    status: int
    headers: dict[str, str]
    body: bytes


def every_page(language: str) -> dict[str, Shown]:
    """Every page of the journey, and one of each way it can break off, in one language."""
    shown: dict[str, Shown] = {}

    def keep(name: str, answer: httpx.Response) -> None:
        # Nothing may lead away from a page while it is looked at.
        headers = {key: value for key, value in answer.headers.items() if key not in ("refresh", "set-cookie")}
        shown[name] = Shown(answer.status_code, headers, answer.content)

    with Office(organisation="○○省" if language == "ja" else "Ministry of Tests") as office:
        office.fresh()
        visitor = office.browser(language=language)
        keep("invitation", visitor.get("/enroll", **LINUX))
        keep("elsewhere", visitor.get("/enroll", user_agent="Android Mobile"))
        keep("sign-in", visitor.send("/enroll", {"code": office.code}))
        person = office.carrying(language=language)
        keep("notice", person.get("/enroll/notice"))
        keep("install", person.get("/enroll/install"))
        keep("waiting", person.get(office.progress))
        keep("unknown", person.send("/enroll", {"code": "?"}))
        keep("foreign", office.carrying(subject="suzuki", language=language).get("/enroll/notice"))
        office.begin(state="waiting", status="enrolled")
        keep("approval", person.get(office.progress))
        office.fresh()
        person = office.carrying(language=language)
        office.begin(state="complete", report_received_at=NOW - 60)
        office.words.best, office.words.missing = "", (DISK, PATCH)
        keep("left", person.get(office.progress))
        keep("checked", person.get(f"{office.progress}?since={NOW}"))
        office.words.best = "C1"
        keep("further", person.get(office.progress))
        office.words.best, office.words.missing = "C2", ()
        keep("welcome", person.get(office.progress))
    return shown


@pytest.mark.timeout(300)
@pytest.mark.parametrize("language", ["ja", "en"])
def test_no_page_keeps_anybody_out_and_at_320_pixels_nothing_is_cut_off(browser: Browser, language: str) -> None:
    with ThreadPoolExecutor(1) as aside:  # Playwright's own loop runs in this thread
        shown = aside.submit(every_page, language).result()
    faults: dict[str, list[str]] = {}
    with profile(browser, language=language) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        blocked: list[str] = []
        page.on("console", lambda said: blocked.append(said.text) if "Content Security" in said.text else None)
        page.route("**/*", lambda route: serve(route, shown))
        for name in shown:
            if name in ONLY_TO_LOOK_AT and not os.environ.get("SCREENSHOTS"):
                continue
            page.goto(f"{URL}/{name}")
            faults[name] = findings(page)
            page.set_viewport_size({"width": 320, "height": 640})
            if page.evaluate("document.documentElement.scrollWidth") > 320:
                faults[name].append("wider than 320 pixels")
            page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
            take(page, f"enroll-{name}-{language}")
    assert [fault for found in faults.values() for fault in found] == []
    assert blocked == []


def serve(route: Route, shown: dict[str, Shown]) -> None:
    """Answer with a page, as it came."""
    one = shown.get(route.request.url.rsplit("/", 1)[-1])
    if one is None:
        route.fulfill(status=404, body="")
        return
    route.fulfill(status=one.status, headers=one.headers, body=one.body)


def take(page: Page, name: str) -> None:
    """Take the pictures that docs show; with `SCREENSHOTS=all` also those to look at, in the dark and on a phone."""
    screenshot(page, name)
    if os.environ.get("SCREENSHOTS") == "all":
        page.emulate_media(color_scheme="dark")
        screenshot(page, f"{name}-dark")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        screenshot(page, f"{name}-phone")
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
