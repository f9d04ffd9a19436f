"""A decision listener on real sockets, for as long as a test takes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.hook_support import (
    GateApp,
    Served,
    listening,
    until_closed,
)
from zt_engine.sidecar.listener import Limits

Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """One listener with the limits of production."""
    server = Served(GateApp(), listening())
    yield server
    server.close()
    assert server.faults == []


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Listeners of a test's own; none may leave an unhandled exception behind."""
    started: list[Served] = []

    def start(app: Any = None, sock: socket.socket | None = None, **limits: Any) -> Served:
        server = Served(app or GateApp(), sock or listening(), limits=Limits(**limits))
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()
        assert server.faults == []


def ask(server: Served, *pieces: bytes) -> bytes:
    """Send pieces, say that no more will come, and return everything that is answered."""
    with server.connect() as client:
        try:
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # The listener has refused and hung up already.
        return until_closed(client)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for the other thread; the deadline only bounds a failure."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
