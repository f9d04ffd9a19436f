"""An identity provider's token endpoint over real HTTP: it turns refresh tokens over, and a second use is a theft.

It also does whatever providers do on a bad day: `mood` says how it answers.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qs

Mood = Literal[
    "well",
    "html",
    "html_200",
    "error_500",
    "error_429",
    "refuses",
    "broken_json",
    "huge",
    "slow",
    "hangs_up",
    "no_client",
    "not_for_client",
]


class StrictProvider:
    """A provider at a free port. Use it as a context."""

    def __init__(self) -> None:
        self.mood: Mood = "well"
        self.good: set[str] = {"r0"}
        self.used: set[str] = set()
        self.thefts = 0
        self.refreshes = 0
        self.asked = threading.Event()
        self.go = threading.Event()
        """A slow one answers when it is set."""
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"provider": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()

    def described(self) -> dict[str, Any]:
        """Its discovery document."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "end_session_endpoint": f"{self.issuer}/end?tenant=a",
        }

    def turned(self, token: str) -> dict[str, Any] | None:
        """Use a refresh token; None where it is none any more."""
        with self._lock:
            self.refreshes += 1
            if token in self.used:
                self.thefts += 1
                self.good.clear()
            if token not in self.good:
                return None
            self.good.remove(token)
            self.used.add(token)
            fresh = f"r{len(self.used)}-{self.refreshes}"
            self.good.add(fresh)
            return {"access_token": "a", "token_type": "Bearer", "refresh_token": fresh}


class _Handler(BaseHTTPRequestHandler):
    provider: StrictProvider
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body is written apart from the head

    def do_GET(self) -> None:
        self._answer(200, json.dumps(self.provider.described()).encode())

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        provider, mood = self.provider, self.provider.mood
        provider.asked.set()
        if mood == "slow":  # it has used the token, and takes its time to say so
            turned = provider.turned(form["refresh_token"][0])
            provider.go.wait(30)
            self._answer(200, json.dumps(turned).encode())
        elif mood == "hangs_up":
            provider.turned(form["refresh_token"][0])
            self.close_connection = True
        elif mood == "refuses":
            self._answer(400, b'{"error":"invalid_grant"}')
        elif mood != "well":
            status, body = {
                "html": (502, b"<html>gateway</html>"), "html_200": (200, b"<html>please accept</html>"),
                "error_500": (500, b'{"error":"server_error"}'), "error_429": (429, b""),
                "broken_json": (200, b'{"refresh_token":7}'), "huge": (200, b"[" + b"1," * 300_000),
                "no_client": (401, b'{"error":"invalid_client"}'),
                "not_for_client": (400, b'{"error":"unauthorized_client"}'),
            }[mood]  # fmt: skip
            self._answer(status, body)
        else:
            turned = provider.turned(form["refresh_token"][0])
            body = b'{"error":"invalid_grant"}' if turned is None else json.dumps(turned).encode()
            self._answer(400 if turned is None else 200, body)

    def _answer(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""
