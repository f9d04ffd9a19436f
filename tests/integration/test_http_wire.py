"""What a sidecar's own HTTP client makes of answers that are late, torn, endless or not asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from zt_engine.adapters import http_wire
from zt_engine.adapters.http_wire import WireClient, WireError

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
