"""The AuthZEN listener, wired: who may ask what, its TLS, and the log and decisions it shares with the proxies'."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable

import msgspec
import structlog

from zt_engine.adapters.log_segments import DecisionLog
from zt_engine.bootstrap.authzen_callers import authzen_tls
from zt_engine.bootstrap.authzen_rules import RulesFollower, types_of
from zt_engine.bootstrap.authzen_searching import SearchProcess
from zt_engine.bootstrap.identity import home_issuer
from zt_engine.bootstrap.listening import AUTHZEN
from zt_engine.bootstrap.sockets import address_of
from zt_engine.bootstrap.wiring import Shared, Wiring
from zt_engine.config import Settings
from zt_engine.ports import Clock
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.authzen.answering import Answering
from zt_engine.sidecar.authzen.app import AuthzenApp
from zt_engine.sidecar.authzen.evaluation import Evaluator
from zt_engine.sidecar.authzen.jobs import Ground
from zt_engine.sidecar.authzen.metadata import document
from zt_engine.sidecar.authzen.pages import Pages
from zt_engine.sidecar.authzen.peps import Peps
from zt_engine.sidecar.authzen.principals import StatedPrincipals
from zt_engine.sidecar.authzen.rules import Rules
from zt_engine.sidecar.authzen.searches import Searches
from zt_engine.sidecar.authzen.server import AuthzenServer, Limits
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.recorder import Numbers, Origin

log = structlog.get_logger()


class SharedLog:
    """The decision log for a second program: its file is changed only while the first has nothing to write.

    What the first one decided and has not written yet refers to inputs of the present file.
    """

    def __init__(self, log: DecisionLog, busy: Callable[[], bool]) -> None:
        self._log = log
        self._busy = busy
        self.append = log.append
        self.store_input = log.store_input
        self.discard = log.discard

    @property
    def generation(self) -> int:
        """Grows with each new file."""
        return self._log.generation

    def flush(self) -> None:
        """Write what is buffered; see `DecisionLog.flush`."""
        self._log.flush(rotate=not self._busy())


class Surroundings(msgspec.Struct, frozen=True):
    """What the listener shares with the rest of the process."""

    authorizer: Authorizer
    shared: Shared
    log: DecisionLog
    clock: Clock
    meters: Meters


class AuthzenListener:
    """The listener, from its settings to its end. Without `authzen.listen` it does nothing."""

    def __init__(self, settings: Settings, around: Surroundings, *, busy: Callable[[], bool]) -> None:
        """`busy` says whether the proxies' listener has decided what is not in the log yet."""
        self._settings = settings
        self._busy = busy
        self._around = around
        self._server: AuthzenServer | None = None
        self._rules = Rules(types_of(settings))
        self._follower = RulesFollower(settings, self._rules, around.log)
        self._task: asyncio.Task[None] | None = None
        self._search: SearchProcess | None = None
        self._wiring: Wiring | None = None
        self.addresses: list[str] = []

    async def listen(self, sockets: dict[str, socket.socket], wiring: Wiring) -> None:
        """Serve those of the sockets that are its own; raises ConfigError CONFIG_FILE, CONFIG_TLS."""
        own = [sock for place, sock in sockets.items() if place.startswith(AUTHZEN)]
        if not own:
            return
        tls: ssl.SSLContext | None = authzen_tls(self._settings)
        await self._follower.refresh()
        around, wanted = self._around, self._settings.authzen
        self.addresses = [address_of(sock) for sock in own]
        sidecar = self._settings.sidecar
        answering = Answering(
            self._evaluator(wiring),
            around.shared.texts,
            clock=around.clock,
            numbers=Numbers(f"{sidecar.id}-{os.urandom(4).hex()}"),
            meters=around.meters,
            origin=Origin(sidecar.id, sidecar.tenant).members(),
        )
        self._wiring = wiring
        pages = Pages(wiring.trusted.path_key)
        self._search = SearchProcess(
            self._ground, authorizer=around.authorizer, replica=around.shared.replica, rules=self._follower
        )
        app = AuthzenApp(
            peps=Peps(wiring.trusted.callers),
            answering=answering,
            searches=Searches(self._search, pages, around.shared.replica, seconds=wanted.search_seconds),
            authorizer=around.authorizer,
            journal=SharedLog(around.log, self._busy),
            meters=around.meters,
            metadata=document(self._identifier(secured=tls is not None)),
        )
        limits = Limits(
            connections=wanted.connections,
            request_seconds=wanted.request_seconds,
            idle_seconds=wanted.idle_seconds,
        )
        loop = asyncio.get_running_loop()
        self._server = AuthzenServer(app, limits, loop)
        self._task = loop.create_task(self._follower.follow())
        for sock in own:
            await self._server.listen(sock, tls)
        log.info("authzen.started", listen=self.addresses, callers=len(wiring.trusted.callers))

    async def rewire(self, settings: Settings, wiring: Wiring) -> None:
        """Take up who may ask, and what for, between two requests; then the rules that this takes."""
        self._settings, self._wiring = settings, wiring
        self._rules.types = types_of(settings)
        if self._server is None or self._search is None:
            return
        self._server.app.rewire(Peps(wiring.trusted.callers), self._evaluator(wiring))
        await self._search.close()  # the next search is told everything anew
        await self._follower.rely_on(settings)

    async def close(self, *, grace: float) -> None:
        """Answer what was asked and end."""
        if self._server is not None:
            await self._server.close(grace=grace)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._search is not None:
            await self._search.close()
        self._follower.close()

    def _identifier(self, *, secured: bool) -> str:
        scheme = "https" if secured else "http"
        return self._settings.authzen.identifier or f"{scheme}://{self.addresses[0]}"

    def _ground(self) -> Ground:
        assert self._wiring is not None  # nobody searches before the listener serves
        settings = self._settings
        return Ground(
            archive=str(settings.path(settings.log.dir) / "archive"),
            path_key=self._wiring.trusted.path_key,
            home=home_issuer(settings),
            mappings={config.issuer: config.mapping for config in self._wiring.trusted.issuers},
            types=types_of(settings),
            tick_seconds=settings.sidecar.tick_seconds,
            budget_ms=settings.policy.budget_ms,
            memory_mib=settings.policy.memory_mib,
        )

    def _evaluator(self, wiring: Wiring) -> Evaluator:
        believed = StatedPrincipals(
            mappings={config.issuer: config.mapping for config in wiring.trusted.issuers},
            home=home_issuer(self._settings),
            replica=self._around.shared.replica,
            holds=wiring.principals.holds,
            tick_seconds=self._settings.sidecar.tick_seconds,
        )
        return Evaluator(
            self._around.authorizer,
            believed,
            self._rules,
            replica=self._around.shared.replica,
            space=self._around.log.space,
            home=home_issuer(self._settings),
            path_key=wiring.trusted.path_key,
        )
