"""HTTP/1.1 as a sidecar asks its control plane: llhttp on one connection, which is kept for the next question.

A client of general use takes about two milliseconds of processor for a small request, and a fleet that hears of one
change asks hundreds of them within a second. Here is only what is needed: no redirects, no proxies, no cookies, no
compression, bounded heads, and a body that is read as fast as it is wanted.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import SplitResult, urlencode, urlsplit

import httptools

HEAD_BYTES = 32 << 10
HELD_BYTES = 512 << 10
"""So much of a body may wait to be taken; then nothing more is read until it is."""
SPARE = 4
"""Connections that are kept for one address."""


class WireError(Exception):
    """There is no answer, or none that ends as it says it does."""


class Wire(asyncio.Protocol):
    """One connection; one question at a time."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.idle_since = 0.0
        self._transport = cast("asyncio.Transport", None)
        self._parser: httptools.HttpResponseParser | None = None
        self._head = 0
        self._body: deque[bytes] = deque()
        self._held = 0
        self._paused = self._whole = self._framed = self._kept = False
        self._failed = ""
        self._woken = asyncio.Event()

    # -- the transport's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # uvloop's transports are asyncio's by their methods only.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._parser is None:
            self._fail("it speaks without being asked")
            return
        self._head += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no answer in HTTP/1.1: {type(error).__name__}")
        if not self.status and self._head > HEAD_BYTES:
            self._fail("the head of the answer does not end")
        self._woken.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; a body that has no other end ends with the connection."""
        if self.status and not self._framed and not self._failed and exc is None:
            self._whole = True
        self._failed = self._failed or "the connection was closed"
        self._kept = False
        self._woken.set()

    def _fail(self, why: str) -> None:
        self._failed = self._failed or why
        self._transport.abort()

    # -- the parser's

    def on_message_begin(self) -> None:
        """Refuse a second answer."""
        if self.status:
            raise WireError("it answers twice")  # the parser reads no further

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what the head says."""
        if not self.status:  # trailers say nothing
            self.headers[name.lower().decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Know what kind of answer it is."""
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        self._framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        if self.status < 200:
            raise WireError("it wants to speak something else")

    def on_body(self, body: bytes) -> None:
        """Keep a piece until it is taken."""
        self._body.append(body)
        self._held += len(body)
        if self._held > HELD_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Note that this was all."""
        assert self._parser is not None
        self._whole, self._kept = True, self._parser.should_keep_alive()

    # -- the client's

    @property
    def reusable(self) -> bool:
        """Whether another question may be asked here."""
        return self._whole and self._kept and not self._failed and not self._body and not self._transport.is_closing()

    def ask(self, head: bytes, content: bytes) -> None:
        """Send a question."""
        self._parser = httptools.HttpResponseParser(self)
        self.status, self.headers, self._head = 0, {}, 0
        self._whole = self._framed = self._kept = False
        self._transport.write(head + content)

    async def answered(self, seconds: float) -> None:
        """Wait for the head of the answer; WireError when there is none."""
        while not self.status and not self._failed:
            await self._more(seconds)
        if not self.status or self.status < 200:
            raise WireError(self._failed)

    async def body(self, seconds: float) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes; WireError when it ends too early or nothing comes for so many seconds."""
        while True:
            while self._body:
                piece = self._body.popleft()
                self._held -= len(piece)
                if self._paused and not self._held and not self._transport.is_closing():
                    self._paused = False
                    self._transport.resume_reading()
                yield piece
            if self._whole:
                return
            if self._failed:
                raise WireError(self._failed)
            await self._more(seconds)

    async def _more(self, seconds: float) -> None:
        self._woken.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            raise WireError(f"nothing came for {seconds:g} s") from None

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class Answer:
    """What an address answers; the body is read once."""

    def __init__(self, wire: Wire, seconds: float) -> None:
        self.status = wire.status
        self.headers: Mapping[str, str] = wire.headers
        self._wire = wire
        self._seconds = seconds

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes."""
        return self._wire.body(self._seconds)


class WireClient:
    """Asks; keeps connections that were idle for no longer than `idle` seconds."""

    def __init__(self, *, verify: ssl.SSLContext | bool, connect: float, silence: float, idle: float) -> None:
        self._verify = verify
        self._connect = connect
        self._silence = silence
        self._idle = idle
        self._spare: dict[tuple[str, str], list[Wire]] = {}
        self._open: set[Wire] = set()

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        url: str,
        *,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> AsyncGenerator[Answer, None]:
        """Ask, and yield the answer; WireError when there is none, also from its body."""
        at = urlsplit(url)
        wire = self._spared(at) or await self._connected(at)
        try:
            wire.ask(_head(method, at, parameters or {}, headers or {}, content), content or b"")
            await wire.answered(self._silence)
            yield Answer(wire, self._silence)
        finally:
            self._open.discard(wire)
            if wire.reusable:
                wire.idle_since = time.monotonic()
                spare = self._spare.setdefault((at.scheme, at.netloc), [])
                spare.append(wire)
                while len(spare) > SPARE:
                    spare.pop(0).close()
            else:
                wire.close()

    def _spared(self, at: SplitResult) -> Wire | None:
        spare = self._spare.get((at.scheme, at.netloc), [])
        while spare:
            wire = spare.pop()
            if wire.reusable and time.monotonic() - wire.idle_since < self._idle:
                self._open.add(wire)
                return wire
            wire.close()
        return None

    async def _connected(self, at: SplitResult) -> Wire:
        secure = at.scheme == "https"
        context = self._verify if isinstance(self._verify, ssl.SSLContext) else None
        if secure and context is None:
            context = ssl.create_default_context()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect):
                _, wire = await loop.create_connection(
                    Wire, at.hostname or "", at.port or (443 if secure else 80), ssl=context if secure else None
                )
        except (OSError, TimeoutError, ValueError) as error:
            raise WireError(f"no connection: {type(error).__name__}") from error
        self._open.add(wire)
        return wire

    async def close(self) -> None:
        """Close every connection."""
        for wire in (*self._open, *(one for spare in self._spare.values() for one in spare)):
            wire.close()
        self._spare.clear()


def _head(
    method: str, at: SplitResult, parameters: Mapping[str, str], headers: Mapping[str, str], content: bytes | None
) -> bytes:
    target = (at.path or "/") + (f"?{urlencode(parameters)}" if parameters else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {at.netloc.rpartition('@')[2]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if content is not None:
        lines.append(f"Content-Length: {len(content)}")
    text = "\r\n".join(lines)
    if text.count("\r\n") != len(lines) - 1 or text.count("\n") != len(lines) - 1:
        raise ValueError("a header may not hold a line break")
    return f"{text}\r\n\r\n".encode("ascii")
