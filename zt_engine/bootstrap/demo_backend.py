"""The demo's backend: a real HTTP server that knows nothing of access control and shows what reached it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec

IDENTITY = ("zt-subject", "zt-device", "zt-groups", "zt-max-label", "zt-trust", "zt-obligations", "zt-decision")


class Seen(msgspec.Struct, frozen=True):
    """One request as it arrived: the target's very bytes, and the headers about who asks."""

    method: str
    target: str
    identity: dict[str, str]


class DemoBackend:
    """Serves documents on a free loopback port. A context manager."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_version = "demo-backend"
            timeout = 30
            disable_nagle_algorithm = True

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                identity = {name: self.headers.get(name, "") for name in IDENTITY}
                backend.seen.append(Seen(self.command, self.path, identity))
                document = {
                    "served": f"{self.command} https://{self.headers.get('Host', '')}{self.path}",
                    "label": identity["zt-max-label"],
                    "told_by_the_proxy": identity,
                }
                body = json.dumps(document, indent=2).encode() + b"\n"
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Zt-Label", identity["zt-max-label"])
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815  # names of http.server

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                """Say nothing: the demo prints what happened."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def address(self) -> str:
        """Where it listens, as nginx spells it."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
