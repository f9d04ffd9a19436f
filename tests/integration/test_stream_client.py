"""What the sidecar's client makes of whoever answers at the control plane's address."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvicorn

from tests.stream_server import free_port
from zt_engine.adapters import stream_http
from zt_engine.adapters.async_library import settle
from zt_engine.adapters.stream_http import Pace, StreamClient
from zt_engine.core.errors import ZtError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


async def answered(answer: bytes, ask: Callable[[StreamClient], Awaitable[object]]) -> object:
    """Ask a server that says exactly this and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        try:
            await writer.drain()
        finally:
            writer.close()

    port = free_port()
    client = StreamClient([f"http://127.0.0.1:{port}"], statement=lambda: "a.b.c")
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        try:
            return await ask(client)
        finally:
            await client.close()


async def messages(client: StreamClient) -> list[tuple[str, bytes]]:
    return [message async for message in client.messages(cursor=0, least=0)]


def refusal(answer: bytes, ask: Callable[[StreamClient], Awaitable[object]] = messages) -> str:
    with pytest.raises(ZtError) as caught:
        asyncio.run(answered(answer, ask))
    return caught.value.code


def test_events_are_handed_on_as_they_come() -> None:
    found = asyncio.run(answered(HEAD + b"event: batch\nid: 1\ndata: abc\n\nevent: watermark\ndata: def\n\n", messages))

    assert found == [("batch", b"abc"), ("watermark", b"def")]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_is_not_followed(status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".encode()

    assert refusal(answer) == "STREAM_REDIRECT"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "STREAM_REFUSED"),
        (b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", "STREAM_REFUSED"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", "STREAM_REFUSED"),
        (HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"), "STREAM_REFUSED"),
        (b"SSH-2.0-OpenSSH\r\n", "STREAM_DOWN"),
        (b"", "STREAM_DOWN"),
    ],
)
def test_whatever_is_no_stream_is_refused(answer: bytes, code: str) -> None:
    assert refusal(answer) == code


def test_a_message_without_end_and_an_answer_past_its_cap_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_http, "MAX_MESSAGE_BYTES", 10_000)
    monkeypatch.setattr(stream_http, "ANSWER_BYTES", 10_000)

    assert refusal(HEAD + b"event: batch\ndata: " + b"x" * 50_000) == "STREAM_TOO_LARGE"
    assert refusal(HEAD + b"x" * 50_000, lambda client: client.keys()) == "STREAM_TOO_LARGE"


def test_nobody_at_all_is_a_dead_control_plane() -> None:
    async def ask() -> object:
        client = StreamClient([f"http://127.0.0.1:{free_port()}"], statement=lambda: "a.b.c")
        try:
            return await messages(client)
        finally:
            await client.close()

    with pytest.raises(ZtError, match="STREAM_DOWN"):
        asyncio.run(ask())


def test_attempts_are_spread_out_and_grow_rarer_up_to_a_bound() -> None:
    pace = Pace(lambda: 1.0, first=0.5, longest=15.0)

    waits = [pace.wait() for _ in range(8)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    assert Pace(lambda: 0.0).wait() == 0.0
    assert pace.wait(least=7) == 22.0
    pace.succeeded()
    assert pace.wait() == 0.5


def test_a_request_looks_for_no_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    class Finder:
        """Notes what is looked for, and finds nothing."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            looked.append(name)

    async def ask(client: StreamClient) -> None:
        await client.status({})
        monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
        await client.status({})

    asyncio.run(answered(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", ask))

    assert looked == []


def test_a_package_that_is_there_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sniffio.py").write_text("HERE = True\n")
    monkeypatch.setitem(sys.modules, "sniffio", sys)  # whatever is there is put back in the end
    monkeypatch.delitem(sys.modules, "sniffio")
    monkeypatch.syspath_prepend(str(tmp_path))

    settle()

    assert importlib.import_module("sniffio").HERE


def test_no_connection_is_used_that_the_control_plane_may_be_ending() -> None:
    ends_after = inspect.signature(uvicorn.Config).parameters["timeout_keep_alive"].default

    assert ends_after > stream_http.IDLE_SECONDS + 1
