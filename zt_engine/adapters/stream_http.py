"""The sidecar's side of the change stream over HTTP: Server-Sent Events, acknowledgements, keys.

Whoever answers is believed nothing: every message is signed, and is verified by whoever receives it. Here only shape
and size are judged. A redirect is refused; an address that fails is left for the next one.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import msgspec

from zt_engine.adapters.http_wire import Answer, WireClient, WireError
from zt_engine.core.errors import ConfigError, InputError, Problem, UnavailableError, ZtError
from zt_engine.core.stream import KNOWN_KEYS_HEADER, MAX_MESSAGE_BYTES

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 8.0
"""A watermark comes every second; whoever says nothing for so long has nothing to say."""
IDLE_SECONDS = 3.0
"""A connection that nothing was asked on for so long is asked nothing more: servers end theirs after five seconds, and
what is sent just then is lost."""
ANSWER_BYTES = 1 << 20
REDIRECTS = frozenset({301, 302, 303, 307, 308})
EVENTS = "text/event-stream"
UNPROVEN = "it does not take what proves who asks"
"""The hint of a 401: what to do about it knows whoever made the statement."""
SPARE = 256
"""What the name and number of a message take beside its data."""


class Pace:
    """How long to wait before the next attempt: longer each time, and never as long as the others do.

    After a restart of the control plane everybody comes back at once, so the first wait is drawn as well.
    """

    def __init__(self, draw: Callable[[], float], *, first: float = 0.5, longest: float = 15.0) -> None:
        """`draw` gives numbers between 0 and 1."""
        self._draw = draw
        self._first = first
        self._longest = longest
        self._attempts = 0

    def succeeded(self) -> None:
        """Begin again with short waits."""
        self._attempts = 0

    def wait(self, *, least: float = 0.0) -> float:
        """Return the seconds to wait now; `least` is what the other side asks for."""
        most = min(self._longest, self._first * 2.0**self._attempts)
        self._attempts = min(self._attempts + 1, 16)
        return min(least, self._longest) + most * self._draw()


class EventParser:
    """Splits a stream of Server-Sent Events as our servers write them; keeps no more than one message."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Return the messages that are complete now, each as kind and data; InputError STREAM_TOO_LARGE."""
        rest = self._rest
        rest += data
        found = []
        while (end := rest.find(b"\n\n", max(0, self._searched - 1))) >= 0:
            message = bytes(rest[:end])
            del rest[: end + 2]
            self._searched = 0
            read = _message(message)
            if read is not None:
                found.append(read)
        self._searched = len(rest)
        if len(rest) > MAX_MESSAGE_BYTES + SPARE:
            raise InputError("STREAM_TOO_LARGE", "a message does not end")
        return found


def _message(text: bytes) -> tuple[str, bytes] | None:
    kind, data = "", b""
    for line in text.split(b"\n"):
        name, _, value = line.partition(b": ")
        if name == b"event":
            kind = value.decode("ascii", "replace")
        elif name == b"data":
            data = value
    return (kind, data) if kind and data else None


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the lines of what comes in pieces; InputError STREAM_TOO_LARGE for one that does not end."""
    rest = bytearray()
    async for data in chunks:
        rest += data
        while (end := rest.find(b"\n")) >= 0:
            yield bytes(rest[:end])
            del rest[: end + 1]
        if len(rest) > MAX_MESSAGE_BYTES:
            raise InputError("STREAM_TOO_LARGE", "a part does not end")


class StreamClient:
    """Speaks with one control plane at whichever of its addresses answers."""

    def __init__(
        self, urls: Sequence[str], *, statement: Callable[[], str], verify: ssl.SSLContext | bool = True
    ) -> None:
        """`statement` proves who asks, anew for every request."""
        self.said_date: float | None = None
        """What time the other end said it was in its last answer: good enough to date a statement by, no more."""
        self._urls = [url.rstrip("/") for url in urls]
        self._chosen = 0
        self._statement = statement
        self._client = WireClient(verify=verify, connect=CONNECT_SECONDS, silence=SILENCE_SECONDS, idle=IDLE_SECONDS)

    @property
    def url(self) -> str:
        """The address that is asked now."""
        return self._urls[self._chosen]

    def elsewhere(self) -> None:
        """Ask at the next address from now on."""
        self._chosen = (self._chosen + 1) % len(self._urls)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def messages(self, *, cursor: int, least: int) -> AsyncGenerator[tuple[str, bytes], None]:
        """Yield the messages that follow a cursor, until the other end has had enough.

        Raises UnavailableError STREAM_DOWN or STREAM_REFUSED, InputError STREAM_REDIRECT or STREAM_TOO_LARGE.
        """
        parameters = {"cursor": str(cursor), "least": str(least)}
        async with self._open("/v1/stream", parameters) as response:
            if response.headers.get("content-type", "").partition(";")[0] != EVENTS:
                raise UnavailableError("STREAM_REFUSED", f"`{self.url}` answers with no stream of events")
            parser = EventParser()
            async for data in response.pieces():
                for message in parser.feed(data):
                    yield message

    async def snapshot(self, *, least: int) -> AsyncIterator[bytes]:
        """Yield the signed parts of a snapshot."""
        async with self._open("/v1/snapshot", {"least": str(least)}) as response:
            async for part in lines(response.pieces()):
                yield part

    async def status(self, said: Mapping[str, Any], *, known: Iterable[str] = ()) -> bytes:
        """Say what was applied, and the ids of the stream's keys that are believed; return the signed answer."""
        return await self._ask("POST", "/v1/status", content=msgspec.json.encode(said), known=known)

    async def keys(self, *, known: Iterable[str] = ()) -> bytes:
        """Return the signed set of keys; one of those that are believed signs it, where the other end still has it."""
        return await self._ask("GET", "/v1/keys", known=known)

    async def call(self, path: str, body: Mapping[str, object]) -> bytes:
        """Ask for something that may be refused; InputError with the code of the problem, else as `status`."""
        content, url = msgspec.json.encode(body), self.url
        headers = {
            "Authorization": f"Bearer {self._statement()}", "Accept-Encoding": "identity",
            "Content-Type": "application/json",
        }  # fmt: skip
        try:
            asked = self._client.ask("POST", url + path, parameters={}, headers=headers, content=content)
            async with asked as response:
                answer = bytearray()
                async for data in response.pieces():
                    answer += data
                    if len(answer) > ANSWER_BYTES:
                        raise InputError("STREAM_TOO_LARGE", f"more than {ANSWER_BYTES} bytes")
        except WireError as error:
            raise UnavailableError("STREAM_DOWN", f"`{url}`: {error}") from error
        if response.status in (200, 201):
            return bytes(answer)
        raise refused(response.status, bytes(answer))

    @property
    def urls(self) -> tuple[str, ...]:
        """Every address, the one that is asked now first."""
        return (*self._urls[self._chosen :], *self._urls[: self._chosen])

    async def content(self, path: str, into: bytearray, *, size: int, url: str) -> None:
        """Fetch what has this path, going on behind what is there already; never more than `size` bytes.

        Raises UnavailableError STREAM_DOWN or STREAM_REFUSED, InputError STREAM_REDIRECT or STREAM_TOO_LARGE.
        """
        headers = {"Range": f"bytes={len(into)}-"} if into else {}
        async with self._open(path, {}, headers=headers, url=url, partial=bool(into)) as response:
            if response.status != 206:
                into.clear()
            elif not response.headers.get("content-range", "").startswith(f"bytes {len(into)}-"):
                into.clear()
                raise UnavailableError("STREAM_REFUSED", f"`{url}` goes on at another place")
            async for data in response.pieces():
                into += data
                if len(into) > size:
                    into.clear()
                    raise InputError("STREAM_TOO_LARGE", f"`{url}` sends more than {size} bytes")

    async def _ask(self, method: str, path: str, content: bytes | None = None, *, known: Iterable[str] = ()) -> bytes:
        # In a header and not in the body: a control plane of a version before refuses members it does not know.
        headers = {KNOWN_KEYS_HEADER: ",".join(sorted(known))}
        if content is not None:
            headers["Content-Type"] = "application/json"
        async with self._open(path, {}, method=method, content=content, headers=headers) as response:
            answer = bytearray()
            async for data in response.pieces():
                answer += data
                if len(answer) > ANSWER_BYTES:
                    raise InputError("STREAM_TOO_LARGE", f"more than {ANSWER_BYTES} bytes")
            return bytes(answer)

    @asynccontextmanager
    async def _open(
        self,
        path: str,
        parameters: Mapping[str, str],
        *,
        method: str = "GET",
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        url: str = "",
        partial: bool = False,
    ) -> AsyncIterator[Answer]:
        sent = {"Authorization": f"Bearer {self._statement()}", "Accept-Encoding": "identity", **(headers or {})}
        url = url or self.url
        try:
            async with self._client.ask(
                method, url + path, parameters=parameters, headers=sent, content=content
            ) as response:
                self.said_date = _date(response)
                _examine(response, url, partial=partial)
                yield response
        except WireError as error:
            raise UnavailableError("STREAM_DOWN", f"`{url}`: {error}") from error


class _Problem(msgspec.Struct):
    code: str = "STREAM_REFUSED"
    detail: str = ""


def refused(status: int, raw: bytes) -> ZtError:
    """Return what a problem document (RFC 9457) of the control plane says."""
    try:
        told = msgspec.json.decode(raw, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = _Problem()
    text = f"the control plane answers {status} {told.detail[:200]}".rstrip()
    if status >= 500 or status == 429:
        return UnavailableError(told.code, text)
    return InputError(told.code, text)


def _examine(response: Answer, url: str, *, partial: bool = False) -> None:
    if response.status in REDIRECTS:
        raise InputError("STREAM_REDIRECT", f"`{url}` sends elsewhere")
    if response.status != 200 and not (partial and response.status == 206):
        hint = UNPROVEN if response.status == 401 else response.headers.get("retry-after", "")
        raise UnavailableError("STREAM_REFUSED", f"`{url}` answers {response.status}", hint=hint)
    if response.headers.get("content-encoding", "identity") != "identity":
        raise UnavailableError("STREAM_REFUSED", f"`{url}` answers in an encoding that was not asked for")


def _date(response: Answer) -> float | None:
    try:
        return parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return None


def trusting(authorities: Path | None) -> ssl.SSLContext:
    """Return what to verify the control plane with: its own CA, or those the system believes."""
    if authorities is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(authorities))
    except (OSError, ssl.SSLError) as error:
        problem = Problem(code="CONFIG_FILE", message=f"no CA certificates: {error}", where=str(authorities))
        raise ConfigError((problem,)) from None
