"""A real Chromium signs out: its policy lets it go on to the provider without a script; the pages keep nobody out."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import PHONE, chromium, findings, profile
from tests.unit.test_browser_site import ask, asked
from tests.unit.test_session_pages import COOKIE, Known
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.sidecar.browser.answers import page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@contextmanager
def served(reply: Callable[[bytes, bytes], bytes]) -> Iterator[str]:
    """A server that answers method and path with whole answers; yields its origin."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            method, path, _ = (self.rfile.readline() or b"GET / x").split(b" ", 2)
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            self.wfile.write(reply(method, path))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_chromium_goes_on_to_the_provider_from_the_page_of_a_form_that_may_only_lead_here(browser: Browser) -> None:
    def provider(method: bytes, path: bytes) -> bytes:
        return page(b"<!doctype html><title>provider</title>", "default-src 'none'")

    with served(provider) as there:
        desk = Known(onward=f"{there.replace('127.0.0.1', 'localhost')}/end")

        def site(method: bytes, path: bytes) -> bytes:
            return ask(asked(path, method=method, Sec_Fetch_Site=b"same-origin", Cookie=COOKIE), desk)

        with served(site) as here, profile(browser, java_script_enabled=False) as opened:
            shown = opened.new_page()
            shown.goto(f"{here}/.zt/logout")
            shown.get_by_role("button").click()
            shown.wait_for_url("**/end?state=*")

            assert shown.title() == "provider"


@pytest.mark.parametrize("language", ["ja", "en"])
def test_the_pages_of_signing_out_and_of_being_signed_in_keep_nobody_out(browser: Browser, language: str) -> None:
    pages = SignOutPage(default_language="ja")
    onward = pages.done(accept_language=language, onward="https://idp.example/end")
    with profile(browser, language=language, viewport=PHONE, color_scheme="dark") as opened:
        shown = opened.new_page()
        for body in (onward, pages.already(accept_language=language)):
            shown.set_content(body.decode())
            assert findings(shown) == []
