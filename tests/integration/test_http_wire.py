"""What a sidecar's own HTTP client makes of answers that are late, torn, endless or not asked for."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop

from tests.integration.est_server import server_certificate
from zt_engine.adapters import http_wire
from zt_engine.adapters.direct_answer import DirectProtocol
from zt_engine.adapters.http_wire import WireClient, WireError
from zt_engine.adapters.stream_http import StreamClient
from zt_engine.adapters.tls_client_certificate import server_context
from zt_engine.control_plane.sink import framed, sink_of

Ask = Callable[[WireClient, str], Awaitable[object]]


async def served(
    answers: Sequence[bytes], ask: Ask, *, silence: float = 5.0, hang_up: bool = True
) -> tuple[object, int]:
    """Ask a server that says these things in turn; return what came of it and how often somebody connected."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            for answer in answers:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
            if not hang_up:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    client = WireClient(verify=True, connect=5.0, silence=silence, idle=60.0)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            return await ask(client, url), connections
        finally:
            await client.close()


async def body(client: WireClient, url: str) -> bytes:
    async with client.ask("GET", f"{url}/x", parameters={"a": "b c"}) as answer:
        return b"".join([piece async for piece in answer.pieces()])


async def twice(client: WireClient, url: str) -> list[bytes]:
    return [await body(client, url), await body(client, url)]


def test_a_connection_is_used_again_once_its_answer_was_read() -> None:
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"]

    assert asyncio.run(served(answers, twice)) == ([b"one", b"two"], 1)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nstatus: 1\r\n\r\n", b"abc"),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000, b"x" * 3_000_000),
    ],
)
def test_a_body_is_read_to_the_end_it_has(answer: bytes, found: bytes) -> None:
    assert asyncio.run(served([answer], body))[0] == found


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
        b"HTTP/1.1 200",
        b"",
    ],
)
def test_an_answer_that_is_torn_or_none_is_never_taken_for_a_whole_one(answer: bytes) -> None:
    with pytest.raises(WireError):
        asyncio.run(served([answer], body))


def test_what_comes_behind_an_answer_without_being_asked_for_is_no_answer_to_the_next_question() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"

    assert asyncio.run(served([answer + b"one" + answer + b"two"], twice)) == ([b"one", b"one"], 2)


def test_whoever_stops_speaking_is_left_and_so_is_a_body_nobody_wants() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"

    with pytest.raises(WireError, match="nothing came"):
        asyncio.run(served([head], body, silence=0.05, hang_up=False))

    async def half(client: WireClient, url: str) -> bytes:
        async with client.ask("GET", url) as answer:
            assert answer.status == 200  # and nothing of the rest is read
        return await body(client, url)

    assert asyncio.run(served([head + b"123456789"], half)) == (b"123456789", 2)


def test_a_body_that_nobody_takes_waits_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_wire, "HELD_BYTES", 1000)

    async def slowly(client: WireClient, url: str) -> list[int]:
        pieces = []
        async with client.ask("GET", url) as answer:
            async for piece in answer.pieces():
                await asyncio.sleep(0)
                pieces.append(len(piece))
        return pieces

    pieces, _ = asyncio.run(served([b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * 2_000_000], slowly))
    assert isinstance(pieces, list)
    assert sum(pieces) == 2_000_000 > max(pieces)


def test_a_header_cannot_smuggle_another_one_in() -> None:
    async def ask(client: WireClient, url: str) -> None:
        async with client.ask("GET", url, headers={"Authorization": "a\r\nX: b"}):
            pass

    with pytest.raises(ValueError, match="line break"):
        asyncio.run(served([b""], ask))


# -- bodies that are written straight to their connection


class Direct:
    """A server that writes a stream past ASGI, plain or over TLS."""

    def __init__(self, folder: Path, *, secure: bool) -> None:
        self.context: ssl.SSLContext | bool = True
        wrapped: ssl.SSLContext | None = None
        if secure:
            ca, certificate, key = server_certificate(folder, time.time())
            self.context = ssl.create_default_context(cafile=str(ca))
            wrapped = server_context(certificate=str(certificate), key=str(key), authorities=b"")
        self.ended = asyncio.Event()
        self.url = f"{'https' if secure else 'http'}://127.0.0.1:{{}}"
        self.server = uvicorn.Server(
            uvicorn.Config(
                self.answer, interface="asgi3", http=DirectProtocol, lifespan="off", log_config=None, ws="none", port=0,
                ssl_context_factory=None if wrapped is None else lambda _config, _default: wrapped,
            )
        )  # fmt: skip

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        sink = sink_of(scope)
        assert sink is not None
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number in range(3):
            sink.write(framed(b"event: batch\ndata: %d\n\n" % number))
        assert sink.waiting >= 0
        if scope["path"] == "/v1/stream":
            sink.end()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.ended.set()


@pytest.mark.parametrize("secure", [False, True])
def test_what_is_written_past_the_server_is_read_like_any_stream_and_ends_the_connection(
    tmp_path: Path, secure: bool
) -> None:
    async def main() -> list[tuple[str, bytes]]:
        direct = Direct(tmp_path, secure=secure)
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(16)  # whoever connects before the server takes over waits in its queue
            serving = asyncio.ensure_future(direct.server.serve(sockets=[listening]))
            url = direct.url.format(listening.getsockname()[1])
            client = StreamClient([url], statement=lambda: "a.b.c", verify=direct.context)
            try:
                async with asyncio.timeout(10):
                    found = [message async for message in client.messages(cursor=1, least=0)]
                    await direct.ended.wait()
            finally:
                await client.close()
                direct.server.should_exit = True
                await serving
        return found

    assert uvloop.run(main()) == [("batch", b"0"), ("batch", b"1"), ("batch", b"2")]
