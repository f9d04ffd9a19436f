"""One connection to the AuthZEN listener: llhttp behind our own protocol, bounded JSON bodies, one request at a time.

The same rules as for proxies (`sidecar/connection.py`), but for the body. A caller's name comes with each request, or
once with the TLS handshake.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, cast

import httptools
import structlog

from zt_engine.sidecar.authzen import replies
from zt_engine.sidecar.authzen.pending import Asked, Pending
from zt_engine.sidecar.authzen.wire import MAX_BODY

if TYPE_CHECKING:
    from zt_engine.sidecar.authzen.server import AuthzenServer

log = structlog.get_logger()

MAX_HEAD = 16 * 1024
MAX_HEADERS = 48
MOST_TOGETHER = 8
KNOWN = frozenset((b"authorization", b"content-length", b"content-type", b"host", b"x-request-id", b"zt-pep-key"))
"""What is read, or framed by: each of them comes once."""
REFUSED = frozenset((b"transfer-encoding", b"trailer", b"upgrade"))
STATUS = slice(9, 12)
STRANGERS = frozenset((b"401", b"404", b"405"))
"""What is answered without a look at credentials, or for want of one."""
VERSIONS = frozenset(("1.0", "1.1"))


class Turn:
    """The answers of one event-loop turn: sealed with one append to the log, then written."""

    def __init__(self, server: AuthzenServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._answers: list[Pending] = []
        self._waiting: list[AuthzenConnection] = []

    def add(self, connection: AuthzenConnection, answer: Pending) -> None:
        """Queue an answer; the first of a turn schedules the seal behind everything that is readable now."""
        if not self._waiting:
            self._loop.call_soon(self._seal)
        self._waiting.append(connection)
        self._answers.append(answer)
        if len(self._waiting) >= MOST_TOGETHER:
            self._seal()

    def _seal(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        answers, self._answers = self._answers, []
        try:
            responses = self._server.app.seal(answers)
        except Exception as error:  # INVARIANT: whatever breaks denies.
            for connection in waiting:
                connection.fail()
            log.exception("turn.failed", error=type(error).__name__)
            return
        now = self._loop.time()
        for connection, response in zip(waiting, responses, strict=True):
            connection.send(response, now)


class AuthzenConnection(asyncio.Protocol):
    """One connection of one caller. Any rule of HTTP broken: one refusal at most, then closed and deaf."""

    __slots__ = (
        "_begun", "_body", "_complete", "_dead", "_head_bytes", "_headers", "_known", "_last", "_last_one", "_lines",
        "_names", "_parser", "_pieces", "_refusal", "_server", "_started", "_task", "_tls", "_transport", "_url",
        "_waiting",
    )  # fmt: skip

    def __init__(self, server: AuthzenServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._names: tuple[str, ...] = ()
        self._tls = False
        self._task: asyncio.Task[None] | None = None
        self._dead = self._last_one = self._known = False
        self._last = server.time()
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._clear()

    def _clear(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._lines = 0
        self._body: list[bytes] = []
        self._pieces: list[bytes] = []
        self._head_bytes = 0
        self._url = b""
        self._refusal = replies.FRAMING
        self._begun = self._complete = self._waiting = False
        self._started = 0.0

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        self._tls, self._names = tls is not None, certificate_names(tls)
        if not self._server.admit(self):
            self._refuse(replies.BUSY)

    def eof_received(self) -> bool:
        self._last_one = True
        owed = self._waiting and not self._dead
        self._dead = not owed
        return owed and not self._tls  # over TLS nothing can be said after the end

    def connection_lost(self, exc: Exception | None) -> None:
        self._dead = True
        self._parser = cast("httptools.HttpRequestParser", None)
        if self._task is not None:
            self._task.cancel()
        self._server.forget(self)

    def pause_writing(self) -> None:
        if not self._dead:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._dead:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._dead:
            return
        if self._waiting:
            self._refuse(replies.FRAMING)
            return
        if not self._begun:
            try:
                known = self._server.app.repeat(data, self._names)
            except Exception as error:  # INVARIANT: whatever breaks denies.
                self.fail()
                log.exception("answer.failed", error=type(error).__name__)
                return
            if known is not None:  # the parser is between two requests, and stays there
                self._begun = self._waiting = True
                self._server.turn.add(self, known)
                return
        self._pieces.append(data)
        if not self._body:
            self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD + MAX_BODY:
            self._refuse(replies.TOO_LARGE)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            self._refuse(self._refusal)
            return
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(replies.FRAMING)
            return
        if self._complete:
            self._finish()
        elif self._lines > MAX_HEADERS:
            self._refuse(replies.TOO_LARGE)

    # -- what the parser calls; whatever it raises refuses the request with `_refusal`

    def on_message_begin(self) -> None:
        if self._begun:
            self._refusal = replies.FRAMING
            raise ValueError("a second request before the answer to the first")
        self._begun = True
        self._started = self._server.time()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines += 1
        lowered = name.lower()
        if lowered == b"expect":
            self._refusal = replies.EXPECTATION
        if lowered in REFUSED or lowered == b"expect" or (lowered in KNOWN and lowered in self._headers):
            raise ValueError("a header that is not served, or twice")
        if self._lines > MAX_HEADERS:
            self._refusal = replies.TOO_LARGE
            raise ValueError("too many headers")
        self._headers[lowered] = value

    def on_headers_complete(self) -> None:
        if self._parser.get_http_version() not in VERSIONS:
            raise ValueError("another version of HTTP")
        length = self._headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 9 or int(length) > MAX_BODY:
            self._refusal = replies.TOO_LARGE
            raise ValueError("a body that is too large")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._complete = True
        self._last_one = not self._parser.should_keep_alive()  # llhttp knows it only in here

    # -- one request

    def _finish(self) -> None:
        whole = len(self._pieces) == 1 and not self._last_one
        asked = Asked(
            self._url,
            self._parser.get_method(),
            self._headers,
            b"".join(self._body),
            self._names,
            self._pieces[0] if whole else b"",
        )
        self._waiting = True
        try:
            answer = self._server.app.answer(asked)
        except Exception as error:  # INVARIANT: whatever breaks denies.
            self.fail()
            log.exception("answer.failed", error=type(error).__name__)
            return
        if isinstance(answer, Pending):
            self._server.turn.add(self, answer)
        else:
            self._task = self._server.start(self._later(answer))

    async def _later(self, answer: Coroutine[Any, Any, Pending]) -> None:
        try:
            pending = await answer
        except Exception as error:  # INVARIANT: whatever breaks denies.
            self.fail()
            log.exception("answer.failed", error=type(error).__name__)
            return
        finally:
            self._task = None
        if not self._dead:
            self._server.turn.add(self, pending)

    def send(self, response: bytes, now: float) -> None:
        """Write a sealed answer and be ready for the next request."""
        if self._dead:
            return
        if not self._known:
            self._known = response[STATUS] not in STRANGERS and response != self._server.app.metadata
        if self._server.draining:
            self._last_one = True
        if self._last_one:
            head, blank, body = response.partition(b"\r\n\r\n")
            self._transport.write(head + b"\r\nConnection: close" + blank + body)
            self._dead = True
            self._transport.close()
            return
        self._transport.write(response)
        if self._pieces:  # and not a repeat, which the parser never saw
            self._clear()
        self._begun = self._waiting = False
        if self._known:
            self._last = now

    def overdue(self, now: float) -> bool:
        """Whether this connection has used up its time; one that waits for us has not."""
        limits = self._server.limits
        if self._dead:
            return now - self._last > limits.linger_seconds
        if self._waiting:
            return False
        if not self._known and now - self._last > limits.stranger_seconds:
            return True
        if self._started:
            return now - self._started > limits.request_seconds
        return now - self._last > limits.idle_seconds

    def expire(self) -> None:
        """End a connection whose time is up; only one that began a request is told why, and only once."""
        if self._started and not self._dead:
            self._refuse(replies.SLOW)
        else:
            self._dead = True
            self._transport.abort()

    def give_way(self) -> bool:
        """End a stranger's connection without a word for somebody who may be a caller; False while it waits for us."""
        if self._known or (self._waiting and not self._dead):
            return False
        self._dead = True
        self._transport.abort()
        return True

    def drain(self) -> None:
        """Close as soon as no answer is owed."""
        if not self._begun and not self._dead:
            self._dead = True
            self._transport.close()

    def fail(self) -> None:
        """Refuse a request that we failed to answer."""
        if not self._dead:
            self._refuse(replies.BROKEN)

    def _refuse(self, response: bytes) -> None:
        """Say why, say no more, and listen to nothing: what still comes is dropped until somebody hangs up."""
        self._dead = True
        self._last = self._server.time()
        self._transport.write(response)
        if self._last_one or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()


def certificate_names(tls: ssl.SSLObject | None) -> tuple[str, ...]:
    """Return the DNS and URI names of the peer's certificate, which TLS has verified; none without one."""
    shown: Any = tls.getpeercert() if tls is not None else None
    return tuple(_names(shown.get("subjectAltName", ()))) if shown else ()


def _names(alternatives: Iterable[tuple[str, str]]) -> Iterable[str]:
    return (name for kind, name in alternatives if kind in ("DNS", "URI"))
