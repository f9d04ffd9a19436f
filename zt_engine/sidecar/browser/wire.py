"""One request a connection, within limits: what a proxy hands on of a browser that signs in.

A sign-in is rare and waits for others, so it has a listener of its own and costs the decision loop nothing but turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable

import httptools
import msgspec
import structlog

from zt_engine.sidecar.connection import names_of, peer_uid
from zt_engine.sidecar.hooks.credentials import Peer

log = structlog.get_logger()

MAX_HEAD = 32 * 1024
MAX_BODY = 64 * 1024
"""Enough for any form of a page of ours."""
MAX_CONNECTIONS = 256
READ_SECONDS = 5.0
ANSWER_SECONDS = 20.0
HEAD_END = b"\r\n\r\n"
REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 2\r\nConnection: close\r\n\r\n"


FRAMING = frozenset((b"content-length", b"transfer-encoding", b"te"))
"""What says how a body comes. It has been read by then, and is nothing that a hook would judge."""


class Raw(msgspec.Struct):
    """One request as it was read. A proxy that vouches for the client's target in a header may ask for another one."""

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    names: tuple[bytes, ...]
    peer: Peer
    body: bytes = b""


Answer = Callable[[Raw], Awaitable[bytes]]


class _Reader:
    """What llhttp says of a request."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = False

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("a second request behind the body of the first")

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in FRAMING:
            self.headers.append((name, value))

    def on_body(self, part: bytes) -> None:
        self.body += part
        if len(self.body) > MAX_BODY:
            raise ValueError("a body that no form has")

    def on_message_complete(self) -> None:
        self.complete = True


class BrowserListener:
    """Serves sockets until it is closed."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Task[None]] = set()

    async def listen(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Serve an already bound socket; with `tls`, whoever connects has shown a proxy's certificate."""
        if sock.family == socket.AF_UNIX:
            self._servers.append(await asyncio.start_unix_server(self._serve, sock=sock, limit=MAX_HEAD))
        else:
            self._servers.append(await asyncio.start_server(self._serve, sock=sock, limit=MAX_HEAD, ssl=tls))

    async def close(self, *, grace: float) -> None:
        """Take no more, and let those that wait finish."""
        for server in self._servers:
            server.close()
        if self._open:
            await asyncio.wait(self._open, timeout=grace)
        for task in self._open:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._open) >= MAX_CONNECTIONS:
                writer.write(BUSY)
            else:
                self._open.add(task)
                writer.write(await self._answered(reader, writer))
            await asyncio.wait_for(writer.drain(), READ_SECONDS)
        except (OSError, TimeoutError):
            pass
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), READ_SECONDS)

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        found = _Reader()
        parser = httptools.HttpRequestParser(found)
        try:
            async with asyncio.timeout(READ_SECONDS):
                parser.feed_data(await reader.readuntil(HEAD_END))
                while not found.complete:
                    part = await reader.read(MAX_BODY)
                    if not part:
                        return REFUSED
                    parser.feed_data(part)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError):
            return REFUSED
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return REFUSED
        tls = writer.get_extra_info("peercert")
        names = tuple(name for name, _ in found.headers)
        raw = Raw(
            method=parser.get_method(),
            target=found.target,
            headers={**dict(found.headers), b"": b""},
            names=names,
            peer=names_of(tls) if tls is not None else peer_uid(writer.get_extra_info("socket")),
            body=found.body,
        )
        try:
            return await asyncio.wait_for(self.answer(raw), ANSWER_SECONDS)
        except Exception as error:  # INVARIANT: whatever breaks signs nobody in.
            log.exception("browser.failed", error=type(error).__name__)
            return BUSY
