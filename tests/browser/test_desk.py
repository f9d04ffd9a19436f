"""The desk in a real Chromium: a help desk invites, an approver approves by keyboard, the security team quarantines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from device_inventory.inventory import FactChange, SourceFacts
from tests.browser.chromium import DESKTOP, PHONE, chromium, findings, profile, screenshot
from tests.control_support import a_device
from tests.desk_support import invitation, invite, ledger, wait
from tests.portal_server import ServedPortal, served_portal
from tests.world import HEALTHY, facts
from zt_engine.control_plane.enrollment import PARTS, EnrollmentParts
from zt_engine.core.classification import Level
from zt_engine.core.identity import SubjectRecord

LEVELS = {
    "C1": Level(code="C1", rank=100, ja="機密性1（平）", en="Level 1"),
    "C2": Level(code="C2", rank=200, ja="機密性2（取扱注意）", en="Level 2 (sensitive)"),
    "C3": Level(code="C3", rank=300, ja="機密性3・秘", en="Level 3 secret"),
}
NAMES = ("田中𠮷彦のノートPC", "会議室B", "大使館受付", "在外公館 3", "査証課 02")
PEOPLE = {"sato": "helpdesk", "suzuki": "approver", "yamada": "security", "kato": "viewer", "ito": "owner"}


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPortal]:
    extras = {PARTS: EnrollmentParts(levels=lambda: LEVELS)}
    folder = tmp_path_factory.mktemp("tls")
    with served_portal(folder, organisation="○○省", language="ja", extras=extras) as one:
        for name, role in PEOPLE.items():
            one.person(name, roles=(role,))
        stock(one)
        yield one


def stock(portal: ServedPortal) -> None:
    """A small fleet: some wait, some are in service, one is in quarantine."""
    control, now = portal.control, portal.control.plane.now()
    told = facts({**HEALTHY, "disk.encrypted": False, "os.id": "ubuntu", "os.version": "24.04"}, now - 240)
    change = FactChange(fact="disk.encrypted", source="agent", at=now - 86_400, status="observed", value=False)
    managed = facts({"mdm.compliant": True}, now - 7200, "mdm_server")
    sources = {
        "agent": SourceFacts(source="agent", received_at=now - 240, facts=told),
        "intune": SourceFacts(source="intune", received_at=now - 7200, facts=managed),
    }  # fmt: skip
    common: dict[str, Any] = {"report_received_at": now - 240, "created_at": now - 40 * 86_400, "ceiling": 200}
    for number, name in enumerate(NAMES):
        control.put(
            a_device(f"pc-{number}", name=name, model="ThinkPad X13 Gen 4", sources=sources, history=(change,),
                     status=("active", "active", "enrolled", "quarantined", "lost")[number], **common)
        )  # fmt: skip
    for number, (model, line) in enumerate(
        [("ThinkPad X13", "ThinkPad X13"), ("Latitude 5440", "ThinkPad T14"), ("Mini 9", "")]
    ):
        serial = str(number + 1) * 64
        wait(
            control,
            f"new-{number}",
            name=("藤原の端末", "受付の端末", "不明な端末")[number],
            model=model,
            serial_hash=serial,
            **common,
        )
        if line:
            ledger(control, line, serial, owner=("藤原 陽子", "受付係")[number])
    invite(
        control,
        invitation("inv-1", assigned="watanabe", not_after=now + 60_000, approval=True),
        invitation("inv-2", assigned="nakamura", not_after=now + 9_000, ownership="byod", ceiling=100),
    )
    with control.store.writing(control.plane.settings.tenant) as tx:
        for name in ("takahashi", "takeda", "tamura"):
            tx.situation.put_subject(
                SubjectRecord(
                    id=name,
                    issuer="https://idp.example",
                    version=1,
                    status="active",
                    groups=(),
                    compartments=(),
                    clearance=100,
                    org="領事局",
                    valid_until=None,
                )
            )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


def signed_in(context: BrowserContext, portal: ServedPortal, person: str, path: str = "/desk") -> Page:
    """A page of somebody who signed in on the way to it."""
    page = context.new_page()
    page.goto(f"{portal.url}{path}")
    page.get_by_role("link", name=person, exact=True).click()
    page.wait_for_url(f"{portal.url}{path}")
    return page


def test_a_helpdesk_finds_somebody_in_the_directory_and_invites_them(portal: ServedPortal, browser: Browser) -> None:
    with profile(browser, language="en") as context:
        page = signed_in(context, portal, "sato", "/desk/invite")
        page.get_by_text("Look in the directory", exact=True).click()
        page.get_by_label("How the staff id begins").fill("tak")
        page.get_by_role("button", name="Look").click()
        page.get_by_role("link", name="Choose this person: takeda").click()
        assert page.get_by_label("Staff id (the id they sign in with)").input_value() == "takeda"
        page.get_by_label("Somebody else has to approve").check()
        page.get_by_role("button", name="Make the invitation").click()

        screenshot(page, "desk-invited-en-desktop")
        code = page.locator("#code").inner_text()
        assert len(code) == 26
        assert code in page.get_by_label("Text to send").inner_text()
        assert findings(page) == []
        assert page.get_by_role("link", name="日本語").count() == 0, "it would lead away from the code"
        page.reload()
        assert page.locator("#code").inner_text() == code
        page.get_by_role("link", name="To the invitations").click()
        assert page.get_by_role("cell", name="takeda", exact=True).count() == 1
        assert code not in page.content()


def test_an_approver_approves_by_keyboard_alone(portal: ServedPortal, browser: Browser) -> None:
    with profile(browser, language="en") as context:
        page = signed_in(context, portal, "suzuki", "/desk/waiting")

        _tab_to(page, "藤原の端末")
        page.keyboard.press("Enter")
        page.wait_for_url("**/desk/devices/new-0")
        _tab_to(page, "Approve")
        page.keyboard.press("Enter")
        page.wait_for_url("**/desk/devices/new-0/approve")
        _tab_to(page, "reason")
        page.keyboard.type("bought for 藤原, seen at the counter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/desk/devices/new-0?done=approve")

        assert page.get_by_role("status").inner_text().startswith("The device is approved.")
    device = portal.control.device("new-0")
    assert (device.status, device.approved_by) == ("active", "suzuki")


def test_the_security_team_quarantines_without_scripts_and_whoever_comes_second_is_told(
    portal: ServedPortal, browser: Browser
) -> None:
    scriptless = profile(browser, language="ja", java_script_enabled=False)
    with scriptless as context, profile(browser, language="ja") as other:
        late = signed_in(other, portal, "sato", "/desk/devices/pc-0/lost")
        page = signed_in(context, portal, "yamada", "/desk/devices/pc-0")
        page.get_by_role("link", name="隔離する").click()
        page.get_by_label("理由").fill("不審な通信のため")
        page.get_by_role("button", name="隔離する").click()
        assert "端末を隔離しました。" in page.get_by_role("status").inner_text()

        late.get_by_label("理由").fill("電車に置き忘れ")
        late.get_by_role("button", name="紛失を記録する").click()

        assert late.get_by_role("heading", level=1).inner_text() == "ほかの方が先に操作しました"
        assert "不審な通信のため" in late.locator("main").inner_text()
        assert findings(late) == []
        screenshot(late, "desk-changed-ja")
    assert portal.control.device("pc-0").status == "quarantined"


PAGES = {
    "devices": "/desk",
    "device": "/desk/devices/pc-1",
    "waiting-device": "/desk/devices/new-1",
    "waiting": "/desk/waiting",
    "invitations": "/desk/invitations",
    "invite": "/desk/invite?begins=ta",
    "confirm": "/desk/devices/new-1/approve",
    "revoke": "/desk/devices/pc-1/revoke",
    "withdraw": "/desk/invitations/inv-1/withdraw",
    "enrollments": "/desk/enrollments?state=open",
    "enrollment": "/desk/enrollments/enr-new-1",
}


LOOKS: tuple[tuple[Any, Any], ...] = (("light", DESKTOP), ("dark", PHONE))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("language", ["ja", "en"])
def test_no_page_of_the_desk_keeps_anybody_out(portal: ServedPortal, browser: Browser, language: str) -> None:
    found = {}
    with profile(browser, language=language) as context:
        page = signed_in(context, portal, "ito")
        for number, (name, path) in enumerate(PAGES.items()):
            # What is light and wide in one language is dark and narrow in the other.
            judged = LOOKS[(number + (language == "en")) % 2]
            for scheme, size in LOOKS if os.environ.get("SCREENSHOTS") else (judged,):
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size(size)
                page.goto(f"{portal.url}{path}")
                for details in page.locator("main details").all():
                    details.evaluate("one => { one.open = true }")
                wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
                assert not wide, (name, size)
                screenshot(page, f"desk-{name}-{language}-{'phone' if size == PHONE else 'desktop'}")
                if (scheme, size) == judged:
                    found[name] = findings(page)

    assert {name: what for name, what in found.items() if what} == {}


def _tab_to(page: Page, name: str) -> None:
    """Press Tab until what has the focus says `name`, or is called so."""
    for _ in range(60):
        page.keyboard.press("Tab")
        held = page.evaluate("[document.activeElement.innerText, document.activeElement.id]")
        if name in held:
            return
    raise AssertionError(f"no Tab leads to `{name}`")
