"""A real Chromium for tests: one browser a module, a fresh profile a test, and one check that pages keep nobody out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from tests.peers import find_peer

AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""The rules of axe-core that JIS X 8341-3 AA and its successors ask for, and those that only make pages better."""
MAIN_ACTIONS = """() => [...document.querySelectorAll('main .act, main button[type=submit]')]
    .filter(one => !one.matches('.quiet, .grave') && one.checkVisibility()).map(one => one.innerText)"""
"""What a page asks its reader to do: one thing. What is quieter, and what is grave, stands beside it."""
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}
SHOTS = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
_AXE = Axe().axe_script
_FINDINGS = """async options => (await axe.run(document, options)).violations.flatMap(
    rule => rule.nodes.map(node => `${rule.id}: ${node.html.slice(0, 200)}`))"""
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking")


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """A headless Chromium; skipped where there is none, which is a failure in CI."""
    with driving() as driver:
        browser = launched(driver, *arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def driving() -> Iterator[Playwright]:
    """Playwright, for tests that launch more than one browser: a profile that is kept, a second person."""
    with sync_playwright() as driver:
        yield driver


def launched(driver: Playwright, *arguments: str) -> Browser:
    """Start a browser of this driver."""
    return driver.chromium.launch(executable_path=program(), args=[*ARGUMENTS, *arguments])


def program() -> str:
    """The path of Chromium."""
    found = find_peer("chromium")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `chromium` is missing")
        pytest.skip(reason="no chromium on this machine")
    return str(found)


@contextmanager
def profile(browser: Browser, *, language: str = "ja", **options: Any) -> Iterator[BrowserContext]:
    """A fresh profile: no cookie, no storage. `language` is what the browser asks for (`Accept-Language`)."""
    options.setdefault("viewport", DESKTOP)
    options.setdefault("ignore_https_errors", True)
    context = browser.new_context(locale={"ja": "ja-JP", "en": "en-GB"}[language], **options)
    context.set_default_timeout(15_000)
    try:
        yield context
    finally:
        context.close()


def findings(page: Page) -> list[str]:
    """What axe-core finds in a page, as `rule: element` lines, and a second main action: none is right."""
    if not page.evaluate("'axe' in window"):  # half a megabyte, once for each document
        page.evaluate(_AXE)
    options = {"runOnly": {"type": "tag", "values": AA}, "resultTypes": ["violations"]}
    found: list[str] = page.evaluate(_FINDINGS, options)
    actions: list[str] = page.evaluate(MAIN_ACTIONS)
    return found + ([f"more than one main action: {actions}"] if len(actions) > 1 else [])


def screenshot(page: Page, name: str) -> None:
    """Take the picture that docs show, if the environment asks for pictures (`SCREENSHOTS=1`)."""
    if os.environ.get("SCREENSHOTS"):
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
