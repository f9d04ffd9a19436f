"""People's pages for a real browser: a served control plane over TLS, and a provider at another site to sign in at."""

from __future__ import annotations

import html
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import uvicorn

from tests.hook_support import LoopThread
from tests.portal_support import FakeProvider, PortalOffice
from tests.stream_server import free_port
from zt_engine.adapters.direct_answer import DirectProtocol
from zt_engine.bootstrap.demo_tls import write_server_certificate


class ProviderSite(FakeProvider):
    """The provider with a page of its own, at another site: one link for each person that may sign in."""

    def __init__(self) -> None:
        super().__init__()
        site = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                body = site.page(asked).encode() if "redirect_uri" in asked else b""
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.people: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def authorization_url(self, **query: Any) -> str:
        self.asked.append(query)
        asked = {name: value for name, value in query.items() if value is not None}
        return f"http://127.0.0.1:{self._server.server_port}/authorize?{urlencode(asked)}"

    def page(self, asked: dict[str, str]) -> str:
        """Return the page: each link goes back as that person."""
        links = "".join(
            f'<p><a href="{html.escape(self._back(asked, person))}">{html.escape(person)}</a></p>'
            for person in self.people
        )
        return f'<!doctype html><html lang="en"><title>Sign in</title><h1>Sign in</h1>{links}</html>'

    @staticmethod
    def _back(asked: dict[str, str], person: str) -> str:
        query = urlencode({"state": asked["state"], "code": f"{person}|{asked['nonce']}"})
        return f"{asked['redirect_uri']}?{query}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class ServedPortal:
    """`office` is the control plane, `url` where its pages are, and `person` adds somebody who can sign in."""

    def __init__(self, folder: Path, **parts: Any) -> None:
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.provider = ProviderSite()
        self.office = PortalOffice(provider=self.provider, url=self.url, **parts)
        self.control = self.office.control
        self.control.clock.advance(time.time() - self.control.clock.now())
        _, chain, key = write_server_certificate(folder, ["localhost"], now=time.time())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self.control.app, host="127.0.0.1", port=self.port, http=DirectProtocol, lifespan="off", ws="none",
                log_config=None, access_log=False, ssl_context_factory=lambda _config, _default: context,
            )
        )  # fmt: skip
        self._thread = LoopThread()
        self._serving = self._thread.call(lambda: self._thread.loop.create_task(self._server.serve()))
        until = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < until, "the pages are not served"
            threading.Event().wait(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True

        async def ended() -> None:
            await self._serving

        self._thread.run(ended())
        self._thread.close()
        self.provider.close()
        self.office.__exit__()

    def person(self, subject: str, **said: Any) -> None:
        """Let somebody sign in; `roles=("helpdesk",)` makes them an administrator at the desk."""
        roles = said.pop("roles", ())
        self.office.people.known[subject] = {**said, **({"claims": {"roles": list(roles)}} if roles else {})}
        self.provider.people.append(subject)


@contextmanager
def served_portal(folder: Path, **parts: Any) -> Iterator[ServedPortal]:
    """Serve the pages."""
    with ServedPortal(folder, **parts) as portal:
        yield portal
