"""The ASGI middleware without a server: which messages leave, and which do not."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import pytest

from zt_engine.embed.asgi import App, Message, ZeroTrustASGI, asked_of
from zt_engine.embed.ruling import Asked, Ruling

ALLOWED = Ruling(
    allowed=True, status=200, reason="", decision_id="d-1", request_id="r-1", subject="tanaka", device="", groups=(),
    label="C1", trust=80, obligations={},
)  # fmt: skip
LATE = Ruling(
    allowed=False, status=403, reason="LATE_DENY", decision_id="d-2", request_id="r-1", subject="tanaka", device="",
    groups=(), label="C1", trust=0, obligations={}, headers=(("Zt-Reason", "LATE_DENY"),), body=b"denied",
)  # fmt: skip


class Decider:
    """Allows everything, and grants C1."""

    def submit(self, asked: Asked) -> Future[Ruling]:
        return done(ALLOWED)

    def late(self, asked: Asked, ruling: Ruling, labels: tuple[str, ...]) -> Future[Ruling | None]:
        return done(None if set(labels) <= {"C0", "C1"} else LATE)


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def sent(*messages: Message, response: bool = True) -> list[Message]:
    """What leaves when an application answers a WebSocket handshake with these."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        left.append(message)

    left: list[Message] = []
    extensions: dict[str, Any] = {"websocket.http.response": {}} if response else {}
    scope = {
        "type": "websocket", "scheme": "wss", "path": "/ws", "raw_path": b"/ws", "query_string": b"",
        "headers": [(b"host", b"portal.example")], "client": ("192.0.2.7", 1), "extensions": extensions,
    }  # fmt: skip
    application: App = app
    asyncio.run(ZeroTrustASGI(application, Decider())(scope, receive, send))
    return left


@pytest.mark.parametrize(
    "first", [{"type": "websocket.http.response.start", "status": 200}, {"type": "websocket.accept"}]
)
def test_a_handshake_that_is_answered_above_the_granted_label_is_denied_late(first: Message) -> None:
    body = {"type": "websocket.http.response.body", "body": b"secret"}

    left = sent({**first, "headers": [(b"Zt-Label", b"C3")]}, body, {"type": "websocket.send", "text": "secret"})

    assert [message["type"] for message in left] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert (left[0]["status"], left[0]["headers"], left[1]["body"]) == (403, [(b"Zt-Reason", b"LATE_DENY")], b"denied")


def test_where_a_server_takes_no_response_to_a_handshake_it_is_closed() -> None:
    left = sent({"type": "websocket.accept", "headers": [(b"zt-label", b"C3")]}, response=False)

    assert left == [{"type": "websocket.close", "code": 1008, "reason": "LATE_DENY"}]


def test_a_handshake_within_the_granted_label_and_what_follows_it_leave() -> None:
    messages: list[Message] = [
        {"type": "websocket.accept", "headers": [(b"zt-label", b"C1")]},
        {"type": "websocket.send", "text": "hello"},
    ]

    assert sent(*messages) == messages
    assert sent({"type": "websocket.accept"}) == [{"type": "websocket.accept", "headers": []}]


@pytest.mark.parametrize(
    "change", [{"raw_path": None}, {"raw_path": b""}, {"raw_path": b"/other"}, {"path": "/ws/../other"}]
)
def test_a_server_that_does_not_say_what_was_asked_for_byte_by_byte_asks_for_nothing(change: dict[str, Any]) -> None:
    scope = {"type": "http", "method": "GET", "path": "/ws", "raw_path": b"/ws", "query_string": b"a", "headers": []}

    assert asked_of(scope).target == b"/ws?a"
    assert asked_of({**scope, **change}).target in (b"", b"?a")
