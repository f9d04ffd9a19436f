"""What stands around every route: who may call it, how often, with how large a body, and what nobody foresaw.

INVARIANT: only what is in the table is answered by a route, and everything in it either names its kind of caller or
is public by name. The table is made when the program starts; what is not in it does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

import msgspec
import structlog
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zt_engine.control_plane.access import CALLER, Identify, Refused
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.lanes import Lane
from zt_engine.control_plane.limits import RateLimiter
from zt_engine.control_plane.problem import problem, problem_of, status_of
from zt_engine.core.errors import InputError, ZtError
from zt_engine.pages.denied import wants_page

log = structlog.get_logger()

HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_REFUSALS: Final = (401, 403, 429)
_STRICT_TRANSPORT: Final = (b"strict-transport-security", b"max-age=31536000")
Pages = Callable[[Request, str, int], Response]
"""Shows a person what is wrong: a code, and the status of the answer."""
_KEPT = re.compile(r"%(?:2[fF5])")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One route: where, who (None: public), how often, how much."""

    path: str
    pattern: re.Pattern[str]
    methods: frozenset[str]
    identify: Identify | None
    at_once: Identify | None
    """Asked before `identify`, on the event loop."""
    refused: Refused | None
    """Answers whom `identify` refuses; None: a problem in JSON does."""
    lane: Lane | None
    rate: RateLimiter | None
    body: int


class Shell:
    """The ASGI application around the routes."""

    def __init__(
        self, app: ASGIApp, *, plane: ControlPlane, table: Sequence[Entry], pages: Pages | None = None
    ) -> None:
        """`pages` shows people what is wrong, where they are served pages at all."""
        self._app = app
        self._plane = plane
        self._table = table
        self._pages = pages
        secure = plane.settings.url.startswith("https:")
        self._headers = (*HEADERS, _STRICT_TRANSPORT) if secure else HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; nothing but HTTP is spoken here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        begun = False

        async def dressed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                given = list(message["headers"])
                names = {name.lower() for name, _ in given}
                message["headers"] = given + [pair for pair in self._headers if pair[0] not in names]
            await send(message)

        language = _header(scope, b"accept-language")
        default = self._plane.settings.language
        try:
            await self._answer(scope, receive, dressed)
        except ZtError as error:
            if begun:
                raise
            shown = await self._page(scope, error.code, status_of(error))
            answer = shown or problem_of(error, accept_language=language, default_language=default)
            await answer(scope, receive, dressed)
        except ClientDisconnect:
            # Nobody hears an answer, and whoever streams (an import) may have had some of it taken in.
            log.info("request.broken_off", method=scope["method"], route=_route_of(scope))
        except Exception as error:
            # What exactly went wrong is for the log; the caller learns that it was not he.
            log.exception("request.failed", method=scope["method"], route=_route_of(scope), error=type(error).__name__)
            if begun:
                raise
            shown = await self._page(scope, "CONTROL_FAILED", 500)
            failed = problem("CONTROL_FAILED", status=500, accept_language=language, default_language=default)
            await (shown or failed)(scope, receive, dressed)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = path_of(scope)
        entry = self._entry(scope["path"], scope["method"])
        if isinstance(entry, frozenset):
            allowed = {"Allow": ", ".join(sorted(entry))}
            await self._refuse("REQUEST_METHOD" if entry else "REQUEST_NOT_FOUND", scope, receive, send, allowed)
            return
        if entry.rate is not None:
            address = (scope.get("client") or ("", 0))[0]
            wait = entry.rate.admit(address, elapsed=self._plane.clock.elapsed())
            if wait > 0:
                await self._refuse("REQUEST_RATE", scope, receive, send, {"Retry-After": str(int(wait) + 1)})
                return
        if entry.identify is not None:
            try:
                asking = Request(scope)
                found = entry.at_once(self._plane, asking) if entry.at_once is not None else None
                scope[CALLER] = found or await run_in_threadpool(entry.identify, self._plane, asking)
            except ZtError as error:
                if entry.refused is not None:
                    refused = await run_in_threadpool(entry.refused, self._plane, Request(scope), error)
                    await refused(scope, receive, send)
                    return
                if not isinstance(error, InputError):
                    raise
                await self._unknown(error, scope, receive, send)
                return
        bounded: Receive | None = _bounded(scope, receive, entry.body)
        if entry.lane is not None and bounded is not None:
            bounded = await entry.lane(scope, bounded, send)
        if bounded is not None:
            await self._app(scope, bounded, send)

    def _entry(self, path: str, method: str) -> Entry | frozenset[str]:
        """Return the route, or the methods there are; none where there is no such path."""
        methods: set[str] = set()
        for entry in self._table:
            if entry.pattern.match(path) is not None:
                if method in entry.methods:
                    return entry
                methods |= entry.methods
        return frozenset(methods)

    async def _unknown(self, error: InputError, scope: Scope, receive: Receive, send: Send) -> None:
        """Whatever is wrong with a credential, it is one that proves nothing."""
        status = status_of(error)
        answer = problem_of(
            error,
            status=status if status in _REFUSALS else 401,
            accept_language=_header(scope, b"accept-language"),
            default_language=self._plane.settings.language,
        )
        await answer(scope, receive, send)

    async def _refuse(self, code: str, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]) -> None:
        status = {"REQUEST_METHOD": 405, "REQUEST_NOT_FOUND": 404, "REQUEST_RATE": 429}[code]
        answer = await self._page(scope, code, status) or problem(
            code,
            status=status,
            accept_language=_header(scope, b"accept-language"),
            default_language=self._plane.settings.language,
            headers=headers if code != "REQUEST_NOT_FOUND" else None,
        )
        await answer(scope, receive, send)

    async def _page(self, scope: Scope, code: str, status: int) -> Response | None:
        """Return a page for a person who asks; None for programs, and where there are no pages."""
        if self._pages is None or not wants_page(_header(scope, b"accept")):
            return None
        return await run_in_threadpool(self._pages, Request(scope), code, status)


class BodyTooLarge(HTTPException):
    """More came than a route takes; the framework hands it through."""

    def __init__(self, most: int) -> None:
        super().__init__(413, f"more than {most} bytes")


def _bounded(scope: Scope, receive: Receive, most: int) -> Receive:
    length = _header(scope, b"content-length")
    if length.isascii() and length.isdigit() and int(length[:20]) > most:
        raise InputError("REQUEST_TOO_LARGE", f"more than {most} bytes")
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        if message["type"] == "http.request":
            taken += len(message.get("body", b""))
            if taken > most:
                raise BodyTooLarge(most)
        return message

    return counted


def path_of(scope: Scope) -> str:
    """Return the path with every escape undone but those of `/` and `%`: what is one segment stays one.

    Issuers are URLs, and stand in paths. `routes.PathText` undoes what is left.
    """
    raw = scope.get("raw_path")
    if not raw:
        return str(scope["path"])
    text = raw.partition(b"?")[0].decode("ascii", "replace")
    return "".join(part if _KEPT.fullmatch(part) else unquote(part) for part in re.split(r"(%(?:2[fF5]))", text))


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _route_of(scope: Scope) -> str:
    """The route's own path, never the request's: that may hold what is nobody's business."""
    return str(getattr(scope.get("route"), "path", ""))
