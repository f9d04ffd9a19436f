"""The admin listener: is it alive, is it ready, and what has it done. For operators; never reachable by clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from zt_engine.sidecar.hooks.credentials import Peer
from zt_engine.sidecar.meters import Meters, exposition

_encode = msgspec.json.Encoder().encode
Gauges = Mapping[str, tuple[str, Callable[[], float]]]


class AdminApp:
    """Serves `/healthz`, `/readyz` and `/metrics`."""

    def __init__(self, *, readiness: Callable[[], dict[str, Any]], meters: Meters, gauges: Gauges) -> None:
        self._readiness = readiness
        self._meters = meters
        self._gauges = gauges

    def repeat(self, _head: bytes, _peer: Peer) -> None:
        """Nothing here is asked so often that reading it again would count."""

    def answer(
        self,
        path: bytes,
        method: bytes,
        _headers: dict[bytes, bytes],
        _names: tuple[bytes, ...],
        _peer: Peer,
        _head: bytes = b"",
    ) -> bytes:
        """Answer one request; nothing here is a decision."""
        if method != b"GET":
            return response(405, b"", "text/plain")
        if path == b"/healthz":
            return response(200, b'{"alive":true}\n', "application/json")
        if path == b"/readyz":
            state = self._readiness()
            return response(200 if state["ready"] else 503, _encode(state) + b"\n", "application/json")
        if path == b"/metrics":
            return response(200, exposition(self._meters, self._gauges), "text/plain; version=0.0.4; charset=utf-8")
        return response(404, b"", "text/plain")

    def seal(self, answers: list[bytes]) -> list[bytes]:
        """Give the answers as they are."""
        return answers


STATUS = {
    200: "OK",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


def response(status: int, body: bytes, content_type: str, *headers: str) -> bytes:
    """Return a complete answer with a body."""
    lines = "".join(f"{line}\r\n" for line in headers)
    head = (
        f"HTTP/1.1 {status} {STATUS[status]}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\n{lines}\r\n"
    )
    return head.encode("ascii") + body
