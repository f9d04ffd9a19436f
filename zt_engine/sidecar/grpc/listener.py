"""The gRPC listener: all its connections, who may have one, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

import structlog

from zt_engine.sidecar.grpc.connection import GrpcConnection
from zt_engine.sidecar.hooks.credentials import Peer
from zt_engine.sidecar.hooks.envoy_grpc import EnvoyGrpcHook
from zt_engine.sidecar.listener import BACKLOG, HANDSHAKE_SECONDS, queue_of
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.strangers import Strangers
from zt_engine.sidecar.turn import Turn

log = structlog.get_logger()

MAX_CONNECTIONS = 256
"""A proxy has one for each of its threads."""
ASKED = b"/v1/hooks/envoy_grpc"
"""What a stranger would have asked for, as a path like those of the other hooks."""


class GrpcServer:
    """All connections of one listener. Answers wait for the turn that they share with the other hooks."""

    def __init__(
        self,
        hook: EnvoyGrpcHook,
        turn: Turn,
        loop: asyncio.AbstractEventLoop,
        *,
        meters: Meters,
        ready: Callable[[], bool],
    ) -> None:
        self.hook = hook
        self.turn = turn
        self.ready = ready
        self._meters = meters
        self._noticed = Strangers(loop.time)
        self._loop = loop
        self._connections: set[GrpcConnection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._servers: list[asyncio.AbstractServer] = []

    async def listen(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Serve an already bound socket; a TCP one needs TLS, by which its peers are known."""
        if sock.family == socket.AF_UNIX:
            server: asyncio.AbstractServer = await self._loop.create_unix_server(
                lambda: GrpcConnection(self), sock=sock, backlog=BACKLOG
            )
        else:
            assert tls is not None  # the settings see to it
            server = await self._loop.create_server(
                lambda: GrpcConnection(self),
                sock=sock,
                backlog=BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        self._sockets.append((sock, tls))
        self._servers.append(server)

    def admit(self, connection: GrpcConnection, peer: Peer, origin: str) -> bool:
        """Count a connection in; False for a stranger, and if there are too many."""
        if not self.hook.known(peer):
            self._meters.stranger()
            self._noticed.note(asked=ASKED, headers={}, origin=origin)
            return False
        if len(self._connections) >= MAX_CONNECTIONS:
            log.warning("grpc.refused", why="connections")
            return False
        self._connections.add(connection)
        self._empty.clear()
        return True

    def forget(self, connection: GrpcConnection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def close(self, *, grace: float = 5.0) -> None:
        """Stop accepting, answer what was asked, close the rest."""
        waiting = [(client, tls) for sock, tls in self._sockets for client in queue_of(sock)]
        for server in self._servers:
            server.close()
        for client, tls in waiting:
            with contextlib.suppress(OSError, ssl.SSLError):
                await self._loop.connect_accepted_socket(lambda: GrpcConnection(self), client, ssl=tls)
        for connection in list(self._connections):
            connection.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), grace)
        for connection in list(self._connections):
            connection.abort()
        for server in self._servers:
            await server.wait_closed()
