"""Key sets over HTTP, from a server that misbehaves in every way the issue names."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.issuer import NOW
from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.adapters.keys_fetch import HttpFetch
from zt_engine.adapters.keys_jwks import Fetched, KeySource
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.core.errors import UnavailableError

IDP = DevIssuer()
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def plain(body: bytes, *, status: str = "200 OK", headers: bytes = b"") -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n" % (status.encode(), len(body), headers) + body)

    return answer


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip(writer: asyncio.StreamWriter) -> None:
    """One byte at a time keeps a per-read timeout happy for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def not_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")


async def cut_off(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")


async def served(answer: Answer, use: Callable[[str], Awaitable[Fetched]]) -> tuple[Fetched, bytes]:
    """Run `use` with the URL of a server that gives `answer`; return what it returned and what the server read."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            await answer(writer)
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        return await use(f"http://127.0.0.1:{port}/jwks?secret=planted"), b"".join(requests)
    finally:
        server.close()


def fetch(answer: Answer, timeout: float = 5.0) -> tuple[Fetched, bytes]:
    return asyncio.run(served(answer, lambda url: HttpFetch(url, timeout=timeout)()))


def test_a_key_set_is_fetched_with_its_age() -> None:
    fetched, request = fetch(plain(IDP.jwks(), headers=b"Cache-Control: public, max-age=600\r\n"))

    assert fetched == Fetched(IDP.jwks(), 600)
    assert request.startswith(b"GET /jwks?secret=planted HTTP/1.1\r\n")
    assert b"identity" in request


@pytest.mark.parametrize(
    ("header", "max_age"),
    [
        (b"", None),
        (b"Cache-Control: no-store\r\n", 0),
        (b"Cache-Control: no-cache, max-age=600\r\n", 0),
        (b"Cache-Control: s-maxage=600\r\n", None),
        (b"Cache-Control: max-age=-5\r\n", None),
        (b"Cache-Control: max-age=abc\r\n", None),
        (b'Cache-Control: MAX-AGE="60"\r\n', 60),
    ],
)
def test_cache_control_is_read_strictly(header: bytes, max_age: int | None) -> None:
    assert fetch(plain(IDP.jwks(), headers=header))[0].max_age == max_age


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (plain(b"", status="302 Found", headers=b"Location: http://127.0.0.1:1/jwks\r\n"), "KEYS_REDIRECT"),
        (plain(b"", status="500 Oops"), "KEYS_STATUS"),
        (plain(b"", status="404 Not Found"), "KEYS_STATUS"),
        (plain(b"", status="204 No Content"), "KEYS_STATUS"),
        (plain(b" " * 300_000), "KEYS_TOO_LARGE"),
        (endless, "KEYS_TOO_LARGE"),
        (plain(b"\x1f\x8b", headers=b"Content-Encoding: gzip\r\n"), "KEYS_MALFORMED"),
        (not_http, "KEYS_UNREACHABLE"),
        (cut_off, "KEYS_UNREACHABLE"),
    ],
    ids=["redirect", "500", "404", "204", "huge", "endless", "compressed", "not http", "cut off"],
)
def test_a_server_that_misbehaves_is_refused_with_its_own_code(answer: Answer, code: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        fetch(answer)

    assert caught.value.code == code
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("answer", [silence, drip])
def test_a_slow_server_is_cut_off_at_the_deadline_for_the_whole_exchange(answer: Answer) -> None:
    with pytest.raises(UnavailableError) as caught:
        fetch(answer, timeout=0.1)

    assert caught.value.code == "KEYS_TIMEOUT"


def test_a_server_that_is_down_keeps_the_last_good_set() -> None:
    async def scene() -> KeySource:
        source: KeySource

        async def load(url: str) -> Fetched:
            nonlocal source
            source = KeySource(HttpFetch(url), algorithms=("ES256",))
            await source.refresh(NOW)
            return Fetched(b"")

        await served(plain(IDP.jwks()), load)
        with pytest.raises(UnavailableError, match="KEYS_UNREACHABLE"):
            await source.refresh(NOW + 3600)
        return source

    source = asyncio.run(scene())

    assert source.keys(NOW + 3600).version == 1
    assert source.problem == "KEYS_UNREACHABLE"


def test_an_operator_is_told_what_keeps_the_keys_away_and_where_but_nothing_a_server_said(tmp_path: Path) -> None:
    _, certificate, key = write_server_certificate(tmp_path, ["127.0.0.1"], now=time.time())
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)

    async def scene() -> tuple[UnavailableError, UnavailableError]:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        unbelieved = await failure(f"https://127.0.0.1:{port}/jwks?secret=planted")
        server.close()
        await server.wait_closed()
        return unbelieved, await failure(f"http://127.0.0.1:{port}/jwks?secret=planted")

    unbelieved, refused = asyncio.run(scene())

    assert "certificate is not believed" in unbelieved.message and "ca_file" in unbelieved.hint
    assert "refused" in refused.message.lower()
    for error in (unbelieved, refused):
        assert error.facts["code"] == "KEYS_UNREACHABLE"
        assert error.where.endswith("/jwks") and "planted" not in str(error)


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 planted\r\n\r\n", b"", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_a_server_without_tls_is_called_so_and_not_by_a_number_of_the_system(says: bytes) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        writer.close()

    async def scene() -> UnavailableError:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            return await failure(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks")

    error = asyncio.run(scene())

    assert error.code == "KEYS_UNREACHABLE" and "planted" not in str(error)
    assert "TLS" in error.message or "reset" in error.message


async def failure(url: str) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught:
        await HttpFetch(url)()
    return caught.value


def test_the_environment_names_no_proxy_for_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    assert fetch(plain(IDP.jwks()))[0].body == IDP.jwks()
