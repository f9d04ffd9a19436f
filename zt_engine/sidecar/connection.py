"""One connection to the decision listener: llhttp behind our own protocol, raw bytes, hard limits.

llhttp refuses what is not HTTP/1 grammar but limits nothing, so this file counts bytes, headers and seconds, and
refuses what a hook request never has: a body, an upgrade, a second request before the answer to the first.
Requests of one event-loop turn are answered together, after one append to the decision log.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

import httptools
import msgspec
import structlog

if TYPE_CHECKING:
    from zt_engine.sidecar.hooks.credentials import Peer
    from zt_engine.sidecar.listener import DecisionServer

log = structlog.get_logger()

CRLF = b"\r\n"
HEAD_END = b"\r\n\r\n"
VERSIONS = frozenset((b"1\r\n", b"0\r\n"))
CLOSING = b"\r\nConnection: close\r\n"


class Limits(msgspec.Struct, frozen=True):
    """What one connection may cost. Seconds and bytes."""

    head_bytes: int = 16 * 1024 + 16 * 1024
    headers: int = 48
    connections: int = 1024
    request_seconds: float = 5.0
    """From the first byte of a request to its last."""
    idle_seconds: float = 75.0
    """Longer than the proxy's upstream keep-alive (nginx: 60), so that the proxy is the one who closes."""
    stranger_seconds: float = 2.0
    """From connecting to the first answer that takes a proxy's credential: others may not hold a connection."""
    drain_seconds: float = 1.0
    """When stopping: how long an idle connection may be used for one more request, so that nobody asks a closed one."""
    linger_seconds: float = 1.0
    """How long a refused peer may take to read its refusal and hang up."""


class Application(Protocol):
    """What the listener serves. `strangers`, if it has them, are its answers to whoever showed no credential."""

    def repeat(self, head: bytes, peer: Peer) -> Any | None:
        """Answer a request from its bytes, if these are a whole head whose answer is known; None: read it."""
        ...

    def answer(
        self,
        path: bytes,
        method: bytes,
        headers: dict[bytes, bytes],
        names: tuple[bytes, ...],
        peer: Peer,
        head: bytes,
    ) -> Any:
        """Decide one request. The result is given back to `seal`; if it raises, the connection is refused.

        `head` are the bytes it was read from, if they came in one piece and the connection goes on; else empty.
        """
        ...

    def seal(self, answers: list[Any]) -> list[bytes]:
        """Make the answers of one turn durable, in order, and return their bytes; if it raises, all are refused."""
        ...


def refusal(status: bytes, code: str) -> bytes:
    """Return a complete refusal that closes the connection."""
    return (
        b"HTTP/1.1 "
        + status
        + b"\r\ncontent-length: 0\r\ncache-control: no-store\r\nzt-reason: "
        + code.encode()
        + b"\r\nconnection: close\r\n\r\n"
    )


REFUSED = b"4"
"""How the status of an answer to a stranger begins: cheap to look at, so that nothing else is compared as a whole."""
BAD_REQUEST = refusal(b"400 Bad Request", "HOOK_FRAMING")
# Not 431: a large cookie is a client's doing, and 403 is what a proxy can hand on to a client with a reason.
TOO_LARGE = refusal(b"403 Forbidden", "HOOK_TOO_LARGE")
BROKEN = refusal(b"403 Forbidden", "INTERNAL_ERROR")
BUSY = refusal(b"503 Service Unavailable", "HOOK_BUSY")
TIMED_OUT = refusal(b"408 Request Timeout", "HOOK_SLOW")


class Connection(asyncio.Protocol):
    """One connection of one proxy. Any rule broken: one refusal at most, then closed and deaf."""

    __slots__ = (
        "_begun", "_complete", "_dead", "_head", "_headers", "_known", "_last", "_last_one", "_limits", "_parser",
        "_peer", "_server", "_size", "_started", "_transport", "_turn", "_url", "_waiting", "on_header",
    )  # fmt: skip

    def __init__(self, server: DecisionServer) -> None:
        self._server = server
        self._limits = server.limits
        self._turn = server.turn
        self._headers: dict[bytes, bytes] = {}
        # INVARIANT: the parser stores each header straight into the dict, in C. A repeated name is found by counting
        # lines: a dict shorter than the number of header lines means that the names must be read one by one.
        self.on_header: Callable[[bytes, bytes], None] = self._headers.__setitem__
        self._parser = httptools.HttpRequestParser(self)
        self._head: list[bytes] = []
        self._size = 0
        self._url = b""
        self._begun = False
        self._complete = False
        self._waiting = False
        self._dead = False
        self._known = False
        self._started = 0.0
        self._last = server.time()
        self._last_one = False
        self._peer: Peer = None
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("peercert")
        self._peer = names_of(tls) if tls is not None else peer_uid(transport.get_extra_info("socket"))
        if not self._server.admit(self):
            self._dead = True
            self._server.refused("connections")
            self._transport.write(BUSY)
            self._transport.close()

    def eof_received(self) -> bool:
        # Who hangs up after a whole request still gets its answer (RFC 9112, 9.6); after half a one there is none.
        self._last_one = True
        owed = self._waiting and not self._dead
        self._dead = not owed
        return owed

    def connection_lost(self, exc: Exception | None) -> None:
        self._dead = True
        # The parser holds this object and is held by it: together they would stay until the collector comes by.
        self._parser = cast("httptools.HttpRequestParser", None)
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
            self._refuse(BAD_REQUEST, "pipelined")
            return
        self._size += len(data)
        if self._size > self._limits.head_bytes:
            self._refuse(TOO_LARGE, "bytes")
            return
        if not self._head:
            try:
                answer = self._server.app.repeat(data, self._peer)
            except Exception as error:  # INVARIANT: whatever breaks denies.
                self.fail()
                log.exception("answer.failed", error=type(error).__name__)
                return
            if answer is not None:  # the parser is between two requests, and stays there
                self._begun = self._waiting = True
                self._turn.add(self, answer)
                return
        self._head.append(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            self._refuse(BAD_REQUEST, "pipelined")
            return
        except httptools.HttpParserUpgrade as error:
            # A proxy that hands its client's wish on asks us all the same; whether it may is its hook's to say. This
            # connection does not change its protocol, so the next request finds a parser that never heard of it.
            if error.args[0] != len(data) or not self._complete or self._parser.get_method() == b"CONNECT":
                self._refuse(BAD_REQUEST, "grammar")
                return
            self._last_one = False
            method, self._parser = self._parser.get_method(), httptools.HttpRequestParser(self)
            self._finish(method)
            return
        except httptools.HttpParserError:
            self._refuse(BAD_REQUEST, "grammar")
            return
        if self._complete:
            self._finish(self._parser.get_method())
        elif len(self._headers) > self._limits.headers:
            self._refuse(TOO_LARGE, "headers")

    # -- what the parser calls

    def on_message_begin(self) -> None:
        if self._begun:
            raise ValueError("a second request before the answer to the first")
        self._begun = True
        self._started = self._server.time()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, _body: bytes) -> None:
        raise ValueError("a hook request has no body")

    def on_message_complete(self) -> None:
        self._complete = True
        self._last_one = not self._parser.should_keep_alive()  # llhttp knows it only in here

    # -- one request

    def _finish(self, method: bytes) -> None:
        whole = len(self._head) == 1
        head = self._head[0] if whole else b"".join(self._head)
        headers = self._headers
        lines = head.count(b"\n") - 2  # llhttp refuses a line feed that ends no line, so this counts lines
        if lines > self._limits.headers:
            self._refuse(TOO_LARGE, "headers")
            return
        line = b"%b %b HTTP/1." % (method, self._url)
        # llhttp also takes RTSP, HTTP/2.0, two blanks and empty lines around a request; a proxy sends none of them.
        if not head.startswith(line) or head[len(line) : len(line) + 3] not in VERSIONS or head[-4:] != HEAD_END:
            self._refuse(BAD_REQUEST, "line")
            return
        names = tuple(headers)
        if len(names) != lines:
            names = spelled_names(head)
            if b"" in names:
                self._refuse(BAD_REQUEST, "line")
                return
        headers[b""] = b""
        self._waiting = True
        again = head if whole and not self._last_one else b""
        try:
            answer = self._server.app.answer(self._url, method, headers, names, self._peer, again)
        except Exception as error:  # INVARIANT: whatever breaks denies.
            self.fail()
            log.exception("answer.failed", error=type(error).__name__)
            return
        self._turn.add(self, answer)

    def send(self, response: bytes, now: float) -> None:
        """Write a sealed answer and be ready for the next request."""
        if self._dead:
            return
        server = self._server
        if not self._known:
            if response not in server.strangers:
                self._known = True
                server.recognise(self)
            elif now - self._last > self._limits.stranger_seconds:
                # The sweeper spares who waits for an answer, and somebody who asks without a pause always does.
                self._last_one = True
        if response.startswith(REFUSED, 9) and response in server.strangers:
            origin = origin_of(self._peer, self._transport)
            server.noticed.note(asked=self._url, headers=self._headers, origin=origin)
        if server.draining:
            self._last_one = True
            response = response.replace(CRLF, CLOSING, 1)
        self._transport.write(response)
        if self._last_one:
            self._dead = True
            self._transport.close()
            return
        if self._head:  # and not a repeat, which the parser never saw
            self._headers.clear()
            self._head.clear()
            self._url = b""
            self._complete = False
            self._started = 0.0
        self._size = 0
        self._begun = self._waiting = False
        if self._known:
            self._last = now

    def overdue(self, now: float) -> bool:
        """Whether this connection has used up its time."""
        if self._dead:
            return now - self._last > self._limits.linger_seconds
        if not self._known and now - self._last > self._limits.stranger_seconds:
            return not self._waiting
        if self._started:
            return not self._waiting and now - self._started > self._limits.request_seconds
        return now - self._last > self._limits.idle_seconds

    def expire(self) -> None:
        """End a connection whose time is up; only one that began a request is told why, and only once."""
        if self._started and not self._dead:
            self._refuse(TIMED_OUT, "time")
        else:
            self._dead = True
            self._transport.abort()

    def give_way(self) -> bool:
        """End a stranger's connection without a word for somebody who may be a proxy; False while it waits for us."""
        if self._waiting and not self._dead:
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
            self._refuse(BROKEN, "failed")

    def _refuse(self, response: bytes, why: str) -> None:
        """Say why, say no more, and listen to nothing.

        Closing while the peer still sends would reset the connection and take the refusal away from it, so what comes
        is read and dropped until the peer hangs up or the sweeper does.
        """
        self._dead = True
        self._last = self._server.time()
        self._server.refused(why)
        self._transport.write(response)
        if self._last_one or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()


def spelled_names(head: bytes) -> tuple[bytes, ...]:
    """Return the name of every header line in order, repeats included. The head has passed llhttp: no folded lines."""
    return tuple(line.partition(b":")[0] for line in head.split(CRLF)[1:-2])


def names_of(certificate: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of a certificate that TLS has verified: SAN DNS and URI, each once, sorted."""
    names = {value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "URI")}
    return tuple(sorted(names))


def peer_uid(sock: Any) -> int | None:
    """Return the user id at the other end of a Unix socket, None for TCP."""
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])


def origin_of(peer: Peer, transport: asyncio.BaseTransport) -> str:
    """Return where a connection comes from, for people."""
    if isinstance(peer, int):
        return f"user id {peer}"
    address = transport.get_extra_info("peername")
    shown = "" if peer is None else f" with the certificate of {', '.join(peer)}"
    return f"{address[0]}{shown}" if isinstance(address, tuple) else "unknown"
