"""The FastCGI listener: a connection for each question of Apache, its limits, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import cast

import structlog

from zt_engine.core.errors import InputError
from zt_engine.sidecar.app import Pending
from zt_engine.sidecar.fastcgi import MAX_PARAMS_BYTES, Reader, answer
from zt_engine.sidecar.listener import BACKLOG, queue_of
from zt_engine.sidecar.turn import Turn

log = structlog.get_logger()

MAX_CONNECTIONS = 1024
MAX_BYTES = MAX_PARAMS_BYTES + 64 * 1024
"""Of a whole connection, with what a record takes beside its content."""
REQUEST_SECONDS = 5.0
"""From connecting to the answer; whoever connects and says nothing is gone by then."""
BROKEN = b"Status: 403 Forbidden\r\nZt-Reason: INTERNAL_ERROR\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n"

Ask = Callable[[bytes], Pending | bytes]
"""Decides a question by its parameters: what waits for its turn, or what a stranger is told at once."""


class FastcgiServer:
    """All connections of one listener. Answers wait for the turn that they share with the other hooks."""

    def __init__(self, ask: Ask, turn: Turn, loop: asyncio.AbstractEventLoop) -> None:
        self.ask = ask
        self.turn = turn
        self.refusals: dict[str, int] = {}
        self._loop = loop
        self._connections: dict[FastcgiConnection, None] = {}  # oldest first
        self._empty = asyncio.Event()
        self._empty.set()
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.AbstractServer] = []

    async def listen(self, sock: socket.socket) -> None:
        """Serve an already bound socket."""
        self._servers.append(
            await self._loop.create_server(lambda: FastcgiConnection(self), sock=sock, backlog=BACKLOG)
        )
        self._sockets.append(sock)

    def admit(self, connection: FastcgiConnection) -> asyncio.TimerHandle | None:
        """Count a connection in and return what ends it in time; None if there are too many.

        Whoever has not asked gives way, the oldest first: who only connects cannot keep Apache out.
        """
        if len(self._connections) >= MAX_CONNECTIONS:
            silent = next((other for other in self._connections if not other.asked), None)
            if silent is None:
                self.refused("connections")
                return None
            silent.give_way()
            self.forget(silent)
        self._connections[connection] = None
        self._empty.clear()
        return self._loop.call_later(REQUEST_SECONDS, connection.expire)

    def forget(self, connection: FastcgiConnection) -> None:
        """Count a connection out."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._empty.set()

    def refused(self, why: str) -> None:
        """Count a refusal by the rule that was broken."""
        self.refusals[why] = self.refusals.get(why, 0) + 1

    async def close(self, *, grace: float = 5.0) -> None:
        """Stop accepting, answer what was asked, close the rest."""
        waiting = [client for sock in self._sockets for client in queue_of(sock)]
        for server in self._servers:
            server.close()
        for client in waiting:
            with contextlib.suppress(OSError):
                await self._loop.connect_accepted_socket(lambda: FastcgiConnection(self), client)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), grace)
        for connection in list(self._connections):
            connection.expire()
        for server in self._servers:
            await server.wait_closed()


class FastcgiConnection(asyncio.Protocol):
    """One question. Any rule broken: closed without an answer, which Apache takes for a 500."""

    __slots__ = ("_asked", "_reader", "_server", "_size", "_timer", "_transport")

    def __init__(self, server: FastcgiServer) -> None:
        self._server = server
        self._reader = Reader()
        self._size = 0
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._timer = self._server.admit(self)
        if self._timer is None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._server.forget(self)

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_BYTES:
            self._end("bytes")
            return
        if self._asked:
            return
        try:
            params = self._reader.feed(data)
            if params is None:
                return
            self._asked = True
            pending = self._server.ask(params)
        except InputError as error:
            self._end(error.code)
            return
        except Exception as error:  # INVARIANT: whatever breaks denies.
            log.exception("answer.failed", error=type(error).__name__)
            self._asked = True
            self.send(BROKEN, 0.0)
            return
        if isinstance(pending, bytes):
            self.send(pending, 0.0)
        else:
            self._server.turn.add(self, pending)

    def send(self, response: bytes, now: float) -> None:
        """Write a sealed answer; it is the only one."""
        if not self._transport.is_closing():
            self._transport.write(answer(self._reader.request_id, response))
            self._transport.close()

    def fail(self) -> None:
        """Refuse a question that we failed to answer."""
        self.send(BROKEN, 0.0)

    @property
    def asked(self) -> bool:
        """Whether a whole question came, so that an answer is owed."""
        return self._asked

    def give_way(self) -> None:
        """End a connection that has not asked, for somebody who may."""
        self._end("silent")

    def expire(self) -> None:
        """End a connection whose time is up."""
        self._end("time")

    def _end(self, why: str) -> None:
        self._server.refused(why)
        self._transport.abort()
