"""The AuthZEN listener: its connections, their limits, their sweeper, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Coroutine
from typing import Any

import msgspec

from zt_engine.sidecar.authzen.app import AuthzenApp
from zt_engine.sidecar.authzen.connection import AuthzenConnection, Turn
from zt_engine.sidecar.listener import queue_of

BACKLOG = 1024
HANDSHAKE_SECONDS = 5.0


class Limits(msgspec.Struct, frozen=True):
    """What one connection may cost, in seconds."""

    connections: int = 1024
    request_seconds: float = 5.0
    idle_seconds: float = 75.0
    stranger_seconds: float = 2.0
    """From connecting to the first answer that takes a caller's credential: others may not hold a connection."""
    linger_seconds: float = 1.0
    drain_seconds: float = 1.0


class AuthzenServer:
    """All connections of the listener."""

    def __init__(self, app: AuthzenApp, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.limits = limits
        self.time = loop.time
        self.turn = Turn(self, loop)
        self.draining = False
        self._loop = loop
        self._connections: set[AuthzenConnection] = set()
        self._sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._servers: list[asyncio.AbstractServer] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve an already bound socket, TCP or Unix."""
        make: Any = self._loop.create_unix_server if sock.family == socket.AF_UNIX else self._loop.create_server
        patience = HANDSHAKE_SECONDS if tls is not None else None
        self._servers.append(
            await make(
                lambda: AuthzenConnection(self), sock=sock, backlog=BACKLOG, ssl=tls, ssl_handshake_timeout=patience
            )
        )
        self._sockets.append((sock, tls))
        if self._sweeper is None:
            self._sweep()

    def admit(self, connection: AuthzenConnection) -> bool:
        """Count a connection in; False if there are too many. Whoever has shown no credential gives way."""
        if len(self._connections) >= self.limits.connections:
            stranger = next((other for other in self._connections if other.give_way()), None)
            if stranger is None:
                return False
            self.forget(stranger)
        self._connections.add(connection)
        return True

    def forget(self, connection: AuthzenConnection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run what takes longer than a turn, beside the others."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _sweep(self) -> None:
        now = self.time()
        for connection in [c for c in self._connections if c.overdue(now)]:
            connection.expire()
        pause = min(1.0, self.limits.request_seconds / 4, self.limits.linger_seconds, self.limits.stranger_seconds / 4)
        self._sweeper = self._loop.call_later(pause, self._sweep)

    async def close(self, *, grace: float = 5.0) -> None:
        """Stop accepting, answer what was asked, close the rest."""
        self.draining = True
        # Closing a listening socket resets whoever waits in its queue, so the queue is emptied right before.
        waiting = [(client, tls) for sock, tls in self._sockets for client in queue_of(sock)]
        for server in self._servers:
            server.close()
        for client, tls in waiting:
            with contextlib.suppress(OSError, ssl.SSLError):  # a handshake that fails is no reason to refuse others
                await self._loop.connect_accepted_socket(lambda: AuthzenConnection(self), client, ssl=tls)
        quiet = self.time() + min(self.limits.drain_seconds, grace)
        deadline = self.time() + grace
        while self._connections and self.time() < deadline:
            if self.time() >= quiet:
                for connection in list(self._connections):
                    connection.drain()
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.expire()
        for task in list(self._tasks):
            task.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            await server.wait_closed()
