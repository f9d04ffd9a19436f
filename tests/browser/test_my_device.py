"""One's own devices in a real Chromium: what is held, in both languages; reported lost in one browser, over in all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page

from device_inventory.inventory import FactChange, SourceFacts
from tests.browser.chromium import DESKTOP, PHONE, chromium, findings, profile, screenshot
from tests.control_support import a_device, held_key
from tests.portal_server import ServedPortal, served_portal
from tests.world import HEALTHY, facts
from zt_engine.control_plane.enrollment import PARTS, EnrollmentParts
from zt_engine.control_plane.remedies import Unmet
from zt_engine.core.classification import Level

LEVELS = {
    "C1": Level(code="C1", rank=100, ja="機密性1", en="Level 1"),
    "C2": Level(code="C2", rank=200, ja="機密性2（取扱注意）", en="Level 2 (sensitive)"),
    "C3": Level(code="C3", rank=300, ja="機密性3", en="Level 3"),
}
NAME = "田中𠮷彦のノートPC"


class Missing:
    """Two things keep it from C2, one from C3."""

    def unmet(self, record: Any, *, now: int) -> Sequence[Unmet]:
        return (
            Unmet(code="FIX_DISK", label="C2", fact="disk.encrypted"),
            Unmet(code="FIX_PATCH", label="C2", fact="patch.oldest_pending_days"),
            Unmet(code="FIX_KEY_PROTECTION", label="C3", fact="device.key_protection"),
        )

    def labels(self, record: Any, *, now: int) -> str:
        return "C1"


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPortal]:
    parts = EnrollmentParts(readiness=Missing(), levels=lambda: LEVELS)
    folder = tmp_path_factory.mktemp("tls")
    with served_portal(folder, organisation="○○省", language="ja", extras={PARTS: parts}) as one:
        one.person("tanaka")
        one.person("suzuki")
        now = one.control.plane.now()
        for number in (1, 2, 3):
            one.control.put(laptop(f"laptop-{number}", now=now))
        one.control.put(laptop("byod-1", now=now, ownership="byod", created_at=now - 99 * 86_400))
        one.control.put(laptop("laptop-9", now=now, owner="suzuki", assigned=("suzuki",)))
        one.control.call("GET", "/v1/devices/laptop-1", who="helpdesk")
        one.control.call("POST", "/v1/devices/laptop-2/quarantine", {"reason": "画面の破損"}, who="helpdesk")
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


def laptop(device_id: str, *, now: int, **members: Any) -> Any:
    told = facts({**HEALTHY, "disk.encrypted": False, "os.id": "ubuntu", "os.version": "24.04"}, now - 240)
    agent = SourceFacts(source="agent", received_at=now - 240, facts=told)
    managed = facts({"mdm.compliant": True, "disk.encrypted": True}, now - 7200, "mdm_server")
    change = FactChange(fact="disk.encrypted", source="agent", at=now - 86_400, status="observed", value=False)
    device = a_device(
        device_id,
        name=NAME,
        model="ThinkPad X1",
        serial_hash="ab12" * 16,
        ceiling=200,
        approved_by="admin:sato",
        report_received_at=now - 240,
        report_seq=412,
        created_at=now - 40 * 86_400,
        sources={"agent": agent, "intune": SourceFacts(source="intune", received_at=now - 7200, facts=managed)},
        history=(change,),
        keys=(held_key(device_id, not_after=now + 80_000), held_key(f"old-{device_id}", not_after=now - 9)),
    )
    return replace(device, **members)


def sign_in(page: Page, portal: ServedPortal, path: str = "/my", person: str = "tanaka") -> None:
    page.goto(portal.url + path)
    page.get_by_role("link", name=person, exact=True).click()
    page.wait_for_url(portal.url + path)


PAGES = {
    "home": "/",
    "my-devices": "/my",
    "my-device": "/my/devices/laptop-1",
    "my-device-lost": "/my/devices/laptop-1/lost",
    "my-device-end": "/my/devices/byod-1/end",
    "not-mine": "/my/devices/laptop-9",
    "sign-out": "/.zt/logout",
    "no-page": "/nowhere",
}
SIZES: tuple[tuple[str, Any, Any], ...] = (("ja", "light", DESKTOP), ("en", "dark", PHONE))


@pytest.mark.parametrize(("language", "scheme", "viewport"), SIZES)
def test_every_page_keeps_nobody_out(
    portal: ServedPortal, browser: Browser, language: str, scheme: Any, viewport: Any
) -> None:
    with profile(browser, language=language, color_scheme=scheme, viewport=viewport) as context:
        page = context.new_page()
        sign_in(page, portal)
        for name, path in PAGES.items():
            page.goto(portal.url + path)
            assert page.locator("html").get_attribute("lang") == language
            screenshot(page, f"{name}-{language}")
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            assert findings(page) == [], name
            # 320 pixels wide at 100 % is 1280 at 400 %: nothing has to be scrolled sideways (WCAG 1.4.10).
            page.set_viewport_size({"width": 320, "height": 700})
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, name
            page.set_viewport_size(viewport)


def test_the_first_press_of_the_tab_key_leads_past_the_menu(portal: ServedPortal, browser: Browser) -> None:
    with profile(browser, language="en") as context:
        page = context.new_page()
        sign_in(page, portal, "/my/devices/laptop-1")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "All my devices"


def test_a_loss_reported_in_one_browser_ends_the_other_at_its_next_request(
    portal: ServedPortal, browser: Browser
) -> None:
    with profile(browser) as lost, profile(browser, viewport=PHONE, java_script_enabled=False) as other:
        on_the_laptop, on_a_phone = lost.new_page(), other.new_page()
        sign_in(on_the_laptop, portal)
        sign_in(on_a_phone, portal)
        on_a_phone.get_by_role("link", name="紛失を報告する").nth(1).click()
        assert on_a_phone.get_by_role("heading", level=1).inner_text() == "紛失を報告しますか？"
        first = on_a_phone.url
        on_a_phone.get_by_role("button", name="紛失を報告する").click()
        on_a_phone.get_by_role("heading", name="この端末は紛失として登録されています").wait_for()
        screenshot(on_a_phone, "my-device-reported-lost-ja")

        on_the_laptop.reload()
        assert on_the_laptop.url.startswith("http://127.0.0.1")  # asked who they are, at the provider
        on_a_phone.go_back()
        on_a_phone.goto(first)
        assert "紛失として登録されています" in on_a_phone.inner_text("main")
        assert on_a_phone.get_by_role("button").count() == 0


def test_a_second_tab_that_reports_the_same_loss_does_no_harm(portal: ServedPortal, browser: Browser) -> None:
    with profile(browser, language="en") as context:
        one, two = context.new_page(), context.new_page()
        sign_in(one, portal, "/my/devices/laptop-3/lost")
        two.goto(one.url)
        for page in (one, two):
            page.get_by_role("button", name="Report it lost").click()
            page.get_by_role("heading", name="This device is reported lost").wait_for()
    losses = [event for event in portal.control.audit() if event.action == "device.lost"]
    assert [event.object for event in losses].count("device:laptop-3") == 1


def test_signing_out_works_in_a_browser_and_ends_the_session(portal: ServedPortal, browser: Browser) -> None:
    with profile(browser, language="en") as context:
        page = context.new_page()
        sign_in(page, portal)
        page.get_by_role("link", name="Sign out").click()
        page.get_by_role("button", name="Sign out").click()
        assert page.get_by_role("heading", level=1).inner_text() == "You are signed out"
        page.goto(portal.url + "/my")
        assert page.url.startswith("http://127.0.0.1")


def test_a_browser_that_keeps_no_cookies_is_told_so_and_not_sent_round(portal: ServedPortal, browser: Browser) -> None:
    with profile(browser, language="en") as context:
        page = context.new_page()
        page.goto(portal.url + "/my")
        context.clear_cookies()
        page.get_by_role("link", name="tanaka", exact=True).click()
        assert page.get_by_role("heading", level=1).inner_text() == "Signing in needs cookies."
        screenshot(page, "no-cookies-en")
        assert findings(page) == []


def test_the_language_stays_as_it_was_chosen(portal: ServedPortal, browser: Browser) -> None:
    with profile(browser, language="ja") as context:
        page = context.new_page()
        sign_in(page, portal)
        page.get_by_role("link", name="English").click()
        page.goto(portal.url + "/")
        assert page.get_by_role("heading", level=1).inner_text() == "What would you like to do?"
