"""The FastCGI listener for Apache httpd, wired: whose questions count, and the turn it shares with the other hooks."""

from __future__ import annotations

import asyncio
import socket

import structlog

from zt_engine.bootstrap.listening import FASTCGI
from zt_engine.bootstrap.sockets import address_of
from zt_engine.bootstrap.wiring import Wiring
from zt_engine.sidecar.app import DecisionApp
from zt_engine.sidecar.fastcgi_listener import FastcgiServer
from zt_engine.sidecar.hooks.apache import ApacheHook
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.turn import Turn

log = structlog.get_logger()


class ApacheListener:
    """The listener, from its sockets to its end. Without `sidecar.fastcgi_listen` it does nothing."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._hook: ApacheHook | None = None
        self._server: FastcgiServer | None = None
        self.addresses: list[str] = []

    async def listen(self, sockets: dict[str, socket.socket], app: DecisionApp, turn: Turn, wiring: Wiring) -> None:
        """Serve those of the sockets that are its own."""
        own = [sock for place, sock in sockets.items() if place.startswith(FASTCGI)]
        if not own:
            return
        self._hook = ApacheHook(app, wiring.credentials, wiring.denials, self._meters)
        self._server = FastcgiServer(self._hook.ask, turn, asyncio.get_running_loop())
        for sock in own:
            await self._server.listen(sock)
        self.addresses = [address_of(sock) for sock in own]
        log.info("fastcgi.started", listen=self.addresses)

    def rewire(self, wiring: Wiring) -> None:
        """Take up who may ask and what people are told, between two requests."""
        if self._hook is not None:
            self._hook.rewire(wiring.credentials, wiring.denials)

    async def close(self, *, grace: float) -> None:
        """Answer what was asked and end."""
        if self._server is not None:
            await self._server.close(grace=grace)
