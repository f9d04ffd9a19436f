"""The pages of an enrollment in a real Chromium; the whole way, agent and all, is in `test_sign_in_journey.py`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route

from tests.browser.chromium import DESKTOP, PHONE, chromium, findings, profile, screenshot
from tests.browser.enrolling import Clicks
from tests.control_support import NOW, URL
from tests.hook_support import LoopThread
from tests.portal_enroll_support import DISK, LINUX, PATCH, Office
from tests.providers import provider
from tests.stream_server import free_port
from zt_engine.bootstrap.control import ControlProgram
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.config import load_control

PERSON = "tanaka"
PATIENCE = 60_000
"""Milliseconds for a page: the agent works beside it on the same machine."""
ONLY_TO_LOOK_AT = frozenset({"unknown", "approval", "left", "welcome"})
"""What other pages have all the parts of."""


class Ministry:
    """A control plane over TLS, and the provider people sign in at."""

    def __init__(self, folder: Path, issuer: str) -> None:
        self.folder = folder / "zt"
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


@pytest.fixture(scope="module")
def ministry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministry]:
    with provider(PERSON) as issuing, Ministry(tmp_path_factory.mktemp("ministry"), issuing.issuer) as one:
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
    with profile(browser, language=language, color_scheme="light" if language == "ja" else "dark") as context:
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
