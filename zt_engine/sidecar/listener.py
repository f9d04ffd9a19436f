"""The decision listener: all connections of one process, their limits, their sweeper, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from zt_engine.sidecar.connection import Application, Connection, Limits
from zt_engine.sidecar.strangers import Strangers
from zt_engine.sidecar.turn import Turn

__all__ = ["DecisionServer", "Limits"]

BACKLOG = 1024
HANDSHAKE_SECONDS = 5.0
"""How long a TLS handshake may take; until it is done, nobody is known and nothing is kept but the socket."""


class DecisionServer:
    """All connections of one listener, their limits and their sweeper."""

    def __init__(self, app: Application, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.limits = limits
        self.time = loop.time
        self.turn = Turn(app, loop)
        self.draining = False
        self.refusals: dict[str, int] = {}
        self.strangers: frozenset[bytes] = getattr(app, "strangers", frozenset())
        self.noticed = Strangers(loop.time)
        self._loop = loop
        self._connections: set[Connection] = set()
        self._unknown: dict[Connection, None] = {}  # those that have shown no credential yet, oldest first
        self._sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._servers: list[asyncio.AbstractServer] = []
        self._sweeper: asyncio.TimerHandle | None = None

    async def listen(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Serve an already bound socket, TCP or Unix; with `tls` whoever asks shows a certificate."""
        if sock.family == socket.AF_UNIX:
            server: asyncio.AbstractServer = await self._loop.create_unix_server(
                lambda: Connection(self), sock=sock, backlog=BACKLOG
            )
        else:
            patience = HANDSHAKE_SECONDS if tls is not None else None
            server = await self._loop.create_server(
                lambda: Connection(self), sock=sock, backlog=BACKLOG, ssl=tls, ssl_handshake_timeout=patience
            )
        self._sockets.append((sock, tls))
        self._servers.append(server)
        if self._sweeper is None:
            self._sweep()

    def admit(self, connection: Connection) -> bool:
        """Count a connection in; False if there are too many. One that was accepted before a drain is still served.

        Whoever has shown no credential gives way, the oldest first: strangers cannot keep a proxy out.
        """
        if len(self._connections) >= self.limits.connections:
            stranger = next((other for other in self._unknown if other.give_way()), None)
            if stranger is None:
                return False
            self.refused("strangers")
            self.forget(stranger)
        self._connections.add(connection)
        self._unknown[connection] = None
        return True

    def recognise(self, connection: Connection) -> None:
        """Remember that a connection has shown a proxy's credential once; every request shows it again."""
        self._unknown.pop(connection, None)

    def forget(self, connection: Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        self._unknown.pop(connection, None)

    def refused(self, why: str) -> None:
        """Count a refusal by the rule that was broken."""
        self.refusals[why] = self.refusals.get(why, 0) + 1

    def _sweep(self) -> None:
        now = self.time()
        for connection in [c for c in self._connections if c.overdue(now)]:
            connection.expire()
        limits = self.limits
        pause = min(1.0, limits.request_seconds / 4, limits.linger_seconds, limits.stranger_seconds / 4)
        self._sweeper = self._loop.call_later(pause, self._sweep)

    async def close(self, *, grace: float = 5.0) -> None:
        """Stop accepting, answer what was asked, close the rest: a restart refuses nobody."""
        self.draining = True
        # Closing a listening socket resets whoever waits in its queue, so the queue is emptied right before.
        waiting = [(client, tls) for sock, tls in self._sockets for client in queue_of(sock)]
        for server in self._servers:
            server.close()
        for client, tls in waiting:
            with contextlib.suppress(OSError, ssl.SSLError):  # a handshake that fails is no reason to refuse others
                await self._loop.connect_accepted_socket(lambda: Connection(self), client, ssl=tls)
        quiet = self.time() + min(self.limits.drain_seconds, grace)
        deadline = self.time() + grace
        while self._connections and self.time() < deadline:
            if self.time() >= quiet:
                for connection in list(self._connections):
                    connection.drain()
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.expire()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            await server.wait_closed()


def queue_of(sock: socket.socket) -> list[socket.socket]:
    """Accept everybody who waits on a listening socket."""
    accepted = []
    with contextlib.suppress(OSError):
        while True:
            client, _ = sock.accept()
            client.setblocking(False)
            accepted.append(client)
    return accepted
