"""ASGI 3 middleware: a request is decided before the application sees it, a response before anybody else sees it.

The raw target is required: a server that hands over only a decoded path leaves open what was asked for, and one whose
decoded path says something else would let the application do what nobody authorised. The ruling stands in
`scope["zt_engine"]`, where no client can put anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from zt_engine.embed.responses import carried_out, labels_of
from zt_engine.embed.ruling import Asked, Decides, Ruling

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY = "zt_engine"
REFUSED_SOCKET = 1008
"""RFC 6455, 7.4.1: policy violation. Before the handshake a server answers 403 for it."""
STARTS = frozenset({"http.response.start", "websocket.http.response.start", "websocket.accept"})
"""Messages with the headers of a response."""
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class ZeroTrustASGI:
    """Wraps an application. `lifespan` passes; a protocol that is neither HTTP nor WebSocket is not served."""

    def __init__(self, app: App, engine: Decides) -> None:
        self._app = app
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decide and hand on."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._app(scope, receive, send)
            return
        if kind not in ("http", "websocket"):
            raise RuntimeError(f"zt_engine: `{kind}` is not decided about, and so not served")
        asked = asked_of(scope)
        ruling = await asyncio.wrap_future(self._engine.submit(asked))
        if not ruling.allowed:
            await (_refuse(send, ruling) if kind == "http" else _refuse_socket(scope, receive, send, ruling))
            return
        await self._app({**scope, KEY: ruling}, receive, _Guarded(self._engine, asked, ruling, scope, send).send)


class _Guarded:
    """The way back: nothing leaves before the label of the response was judged, that of a WebSocket as well."""

    def __init__(self, engine: Decides, asked: Asked, ruling: Ruling, scope: Scope, send: Send) -> None:
        self._engine = engine
        self._asked = asked
        self._ruling = ruling
        self._scope = scope
        self._send = send
        self._silenced = False

    async def send(self, message: Message) -> None:
        if self._silenced:
            return
        if message["type"] not in STARTS:
            await self._send(message)
            return
        headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        labels = labels_of(headers)
        if labels:
            denial = await asyncio.wrap_future(self._engine.late(self._asked, self._ruling, labels))
            if denial is not None:
                self._silenced = True
                await _refuse_late(message["type"], self._scope, self._send, denial)
                return
        await self._send({**message, "headers": carried_out(headers, self._ruling)})


def asked_of(scope: Scope) -> Asked:
    """Return the request of a scope. Without a raw path the target is empty, which is refused as ambiguous."""
    raw = scope.get("raw_path") or b""
    if unquote_to_bytes(raw) != str(scope.get("path", "")).encode("utf-8", "surrogateescape"):
        raw = b""  # what was asked for is not what the application is about to do
    query = scope.get("query_string") or b""
    client = scope.get("client")
    tls = (scope.get("extensions") or {}).get("tls") or {}
    chain = tls.get("client_cert_chain") or ()
    return Asked(
        method=str(scope.get("method", "GET")),
        target=raw + b"?" + query if raw and query else raw,
        headers=tuple((bytes(name), bytes(value)) for name, value in scope["headers"]),
        scheme=SCHEMES.get(str(scope.get("scheme", "http")), ""),
        address=str(client[0]) if client else "",
        certificate=_first(chain) if tls.get("client_cert_error") is None else b"",
    )


def _first(chain: Any) -> bytes:
    return str(next(iter(chain), "")).encode("ascii", "replace")


async def _refuse(send: Send, ruling: Ruling) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in ruling.headers]
    await send({"type": "http.response.start", "status": ruling.status, "headers": headers})
    await send({"type": "http.response.body", "body": ruling.body})


async def _refuse_socket(scope: Scope, receive: Receive, send: Send, ruling: Ruling) -> None:
    await receive()  # websocket.connect
    await _turn_away(scope, send, ruling)


async def _refuse_late(kind: str, scope: Scope, send: Send, ruling: Ruling) -> None:
    await (_refuse(send, ruling) if kind == "http.response.start" else _turn_away(scope, send, ruling))


async def _turn_away(scope: Scope, send: Send, ruling: Ruling) -> None:
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": REFUSED_SOCKET, "reason": ruling.reason})
        return
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in ruling.headers]
    await send({"type": "websocket.http.response.start", "status": ruling.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": ruling.body})
