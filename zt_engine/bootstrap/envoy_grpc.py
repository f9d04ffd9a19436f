"""The gRPC listener for Envoy, wired: whose questions count, its TLS, and the turn it shares with the other hooks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import structlog

from zt_engine.adapters.log_segments import DecisionLog
from zt_engine.bootstrap.listening import GRPC
from zt_engine.bootstrap.proxy_tls import proxy_context
from zt_engine.bootstrap.rego_rules import RegoFollower
from zt_engine.bootstrap.sockets import address_of
from zt_engine.bootstrap.wiring import Wiring
from zt_engine.config import Settings
from zt_engine.sidecar.app import DecisionApp
from zt_engine.sidecar.grpc.listener import GrpcServer
from zt_engine.sidecar.hooks.envoy_grpc import EnvoyGrpcHook
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.rego.rules import RegoRules
from zt_engine.sidecar.turn import Turn

log = structlog.get_logger()


class EnvoyGrpcListener:
    """The listener, from its settings to its end. Without `sidecar.grpc_listen` it does nothing."""

    def __init__(
        self, settings: Settings, meters: Meters, decision_log: DecisionLog, ready: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._log = decision_log
        self._follower: RegoFollower | None = None
        self._task: asyncio.Task[None] | None = None
        self._meters = meters
        self._ready = ready
        self._server: GrpcServer | None = None
        self.addresses: list[str] = []

    async def listen(self, sockets: dict[str, socket.socket], app: DecisionApp, turn: Turn, wiring: Wiring) -> None:
        """Serve those of the sockets that are its own; raises ConfigError CONFIG_FILE, CONFIG_TLS."""
        own = [sock for place, sock in sockets.items() if place.startswith(GRPC)]
        if not own:
            return
        rules = RegoRules(self._log.space, wiring.trusted.path_key)
        self._follower = RegoFollower(self._settings, rules, self._log)
        await self._follower.refresh()
        hook = EnvoyGrpcHook(app, wiring.credentials, wiring.denials, rules)
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._follower.follow())
        self._server = GrpcServer(hook, turn, loop, meters=self._meters, ready=self._ready)
        for sock in own:
            tls = None
            if sock.family != socket.AF_UNIX:
                tls = proxy_context(self._settings)
                tls.set_alpn_protocols(["h2"])
            await self._server.listen(sock, tls=tls)
        self.addresses = [address_of(sock) for sock in own]
        log.info("grpc.started", listen=self.addresses)

    async def rewire(self, settings: Settings, wiring: Wiring) -> None:
        """Take up who may ask and what people are told, between two requests; then the rules that this takes."""
        self._settings = settings
        if self._server is not None and self._follower is not None:
            self._server.hook.rewire(wiring.credentials, wiring.denials)
            await self._follower.rely_on(settings)

    async def close(self, *, grace: float) -> None:
        """Answer what was asked and end."""
        if self._server is not None:
            await self._server.close(grace=grace)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._follower is not None:
            self._follower.close()
