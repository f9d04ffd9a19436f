"""Lanes: questions that hundreds ask at once are answered past the framework, which takes a millisecond for each.

A lane belongs to a route and answers what is of the usual form; it hands on what is not (an odd parameter, a body with
a fault), and the route says what is wrong. Who asks, how often and how much was judged before, as for every route.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from starlette.types import Message, Receive, Scope, Send

Lane = Callable[[Scope, Receive, Send], Awaitable[Receive | None]]
"""Returns None when it has answered, or what the route receives the body from."""
RouteT = TypeVar("RouteT", bound=Callable[..., Any])
_MARK: Final = "lane"
DIGITS: Final = 15


def beside(lane: Lane) -> Callable[[RouteT], RouteT]:
    """Have a lane answer what it can of a route. Stands below the decorator that makes the route."""

    def marked(route: RouteT) -> RouteT:
        setattr(route, _MARK, lane)
        return route

    return marked


def lane_of(route: object) -> Lane | None:
    """Return the lane of a route."""
    found: Lane | None = getattr(route, _MARK, None)
    return found


async def reply(
    send: Send, body: bytes, *, kind: str, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with a body."""
    await begin(send, kind=kind, status=status, headers=((b"content-length", b"%d" % len(body)), *headers))
    await send({"type": "http.response.body", "body": body})


async def begin(send: Send, *, kind: str, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Send the head of an answer."""
    head = [(b"content-type", kind.encode("ascii")), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})


async def body_of(receive: Receive) -> bytes:
    """Return the body of a question; what is too large is refused by whoever hands out `receive`."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


def again(body: bytes, receive: Receive) -> Receive:
    """Return what a body is received from that was read already."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def numbers(scope: Scope, *names: str) -> Mapping[str, int] | None:
    """Return the parameters of a question, each 0 or a whole number; None when there is anything else."""
    found = dict.fromkeys(names, 0)
    text: bytes = scope.get("query_string", b"")
    for pair in text.split(b"&") if text else ():
        name, _, value = pair.decode("latin-1").partition("=")
        if name not in found or not (value.isascii() and value.isdigit() and len(value) <= DIGITS):
            return None
        found[name] = int(value)
    return found
