"""The pages of an enrollment in a real Chromium; the whole way, agent and all, is in `test_sign_in_journey.py`.

And those pages of keys and of the desk that nobody asks for: they are met when something is in the way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route

from tests.browser.chromium import DESKTOP, PHONE, chromium, findings, profile, screenshot
from tests.control_support import NOW, URL, a_device
from tests.desk_support import an_office, hidden, operate
from tests.desk_support import person as at_the_desk
from tests.passkey_support import KeyOffice
from tests.portal_enroll_support import DISK, LINUX, PATCH, Office

PATIENCE = 60_000
"""Milliseconds for a page."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


class Shown(NamedTuple):
    """A page as it left the control plane."""

    status: int
    headers: dict[str, str]
    body: bytes


def kept(answer: httpx.Response) -> Shown:
    """Nothing may lead away from a page while it is looked at."""
    headers = {key: value for key, value in answer.headers.items() if key not in ("refresh", "set-cookie")}
    return Shown(answer.status_code, headers, answer.content)


def pages_in_the_way(language: str) -> dict[str, Shown]:
    """What is shown where a key or an operation at the desk comes to nothing, and the pages that come after one."""
    shown: dict[str, Shown] = {}
    with KeyOffice() as keys:
        stale = keys.browser("suzuki", language=language, auth_time=None)
        shown["keys-first"] = kept(stale.get("/my/keys/new"))
        _, key = keys.with_key()
        person = keys.browser("tanaka", language=language)
        shown["keys-list"] = kept(person.get("/my/keys"))
        shown["keys-one"] = kept(person.get(f"/my/keys/{key.id}"))
        shown["keys-wrong"] = kept(person.post("/my/keys/new", {"ceremony": "x" * 43, "name": "k", "answer": "{}"}))
    with an_office() as desk:
        desk.control.put(a_device())
        late, first = (at_the_desk(desk, role, language=language) for role in ("helpdesk", "security"))
        late.get("/desk/devices/laptop-1/lost")
        form = hidden(late) | {"reason": "left on a train"}
        operate(first, "laptop-1", "revoke", "it is stolen")
        shown["desk-changed"] = kept(late.post("/desk/devices/laptop-1/lost", form))
        late.get("/desk/invite")
        form = hidden(late) | {"subject": "tanaka", "ownership": "corp", "ceiling": "200"}
        shown["desk-invited"] = kept(late.send("/desk/invite", form))
        shown["desk-not-done"] = kept(late.send("/desk/invite", form | {"subject": "suzuki"}))
    assert [one.status for one in shown.values()] == [200, 200, 200, 422, 409, 201, 422], shown
    return shown


def every_page(language: str) -> dict[str, Shown]:
    """Every page of the journey, and one of each way it can break off, in one language."""
    shown: dict[str, Shown] = {}

    def keep(name: str, answer: httpx.Response) -> None:
        shown[name] = kept(answer)

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


PAGES = {"enroll": every_page, "met": pages_in_the_way}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("which", PAGES)
def test_no_page_keeps_anybody_out_and_at_320_pixels_nothing_is_cut_off(
    browser: Browser, which: str, language: str
) -> None:
    with ThreadPoolExecutor(1) as aside:  # Playwright's own loop runs in this thread
        shown = aside.submit(PAGES[which], language).result()
    faults: dict[str, list[str]] = {}
    with profile(browser, language=language, color_scheme="light" if language == "ja" else "dark") as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        blocked: list[str] = []
        page.on("console", lambda said: blocked.append(said.text) if "Content Security" in said.text else None)
        page.route("**/*", lambda route: serve(route, shown))
        for name in shown:
            page.goto(f"{URL}/{name}")
            faults[name] = findings(page)
            page.set_viewport_size({"width": 320, "height": 640})
            if page.evaluate("document.documentElement.scrollWidth") > 320:
                faults[name].append("wider than 320 pixels")
            page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
            take(page, f"{which}-{name}-{language}")
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
