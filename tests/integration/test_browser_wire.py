"""The listener for browsers reads one request a connection, and nothing that stands behind it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.hook_support import LoopThread, listening, until_closed
from zt_engine.sidecar.browser.wire import REFUSED, BrowserListener, Raw

ANSWERED = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
FORM = b"POST /.zt/logout HTTP/1.1\r\nHost: portal.example\r\nContent-Length: 2\r\n\r\nab"
SECOND = b"GET /.zt/x HTTP/1.1\r\nHost: other.example\r\n\r\n"


class Listening:
    """The listener, and what it had answered."""

    def __init__(self) -> None:
        self.read: list[Raw] = []
        self.thread = LoopThread()
        self._listener = self.thread.call(lambda: BrowserListener(self._answer))
        sock = listening()
        self._address = sock.getsockname()
        sock.setblocking(False)
        self.thread.run(self._listener.listen(sock))

    async def _answer(self, raw: Raw) -> bytes:
        self.read.append(raw)
        return ANSWERED

    def ask(self, sent: bytes) -> bytes:
        self.read.clear()
        with socket.create_connection(self._address, timeout=10) as client:
            client.sendall(sent)
            return until_closed(client)

    def close(self) -> None:
        self.thread.run(self._listener.close(grace=1.0))
        self.thread.close()


@pytest.fixture(scope="module")
def listener() -> Iterator[Listening]:
    found = Listening()
    yield found
    found.close()


def test_a_request_with_a_body_is_read_as_it_was_sent(listener: Listening) -> None:
    assert listener.ask(FORM) == ANSWERED

    (raw,) = listener.read
    assert (raw.method, raw.target, raw.names, raw.body) == (b"POST", b"/.zt/logout", (b"Host",), b"ab")


@pytest.mark.parametrize("behind", [SECOND, b"G", FORM])
def test_a_second_request_behind_a_body_has_both_refused(listener: Listening, behind: bytes) -> None:
    assert listener.ask(FORM + behind) == REFUSED
    assert listener.read == []


def test_a_second_request_behind_one_without_a_body_is_not_read(listener: Listening) -> None:
    assert listener.ask(SECOND + FORM) in (ANSWERED, b"")

    (raw,) = listener.read
    assert (raw.method, raw.target, raw.names, raw.body) == (b"GET", b"/.zt/x", (b"Host",), b"")
