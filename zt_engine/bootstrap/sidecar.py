"""The sidecar program: settings wired into listeners, a decision path, a log, and the loops that keep them current."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import structlog
from msgspec.structs import replace

from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.dpop_jwt import JwtDpopVerifier
from zt_engine.adapters.keys_jwks import KeySource, refresh_due
from zt_engine.bootstrap.apache_listener import ApacheListener
from zt_engine.bootstrap.authzen import AuthzenListener, Surroundings
from zt_engine.bootstrap.browser import BrowserSite
from zt_engine.bootstrap.browser_keys import assurance_of
from zt_engine.bootstrap.code_texts import CodeTexts
from zt_engine.bootstrap.decision_log import open_log
from zt_engine.bootstrap.device_certificates import DeviceCertificates
from zt_engine.bootstrap.envoy_grpc import EnvoyGrpcListener
from zt_engine.bootstrap.following import FolderFollower
from zt_engine.bootstrap.following_control import ControlFollower
from zt_engine.bootstrap.following_releases import ReleaseFollower
from zt_engine.bootstrap.handover import Meeting, Predecessor, WaitingPoint
from zt_engine.bootstrap.joining import followed
from zt_engine.bootstrap.listening import ADMIN, OTHERS, TLS, bound, places
from zt_engine.bootstrap.proxy_tls import ProxyTls, proxy_context
from zt_engine.bootstrap.release_stage import ReleaseStage, releases_of
from zt_engine.bootstrap.sidecar_gauges import sidecar_gauges
from zt_engine.bootstrap.sockets import address_of
from zt_engine.bootstrap.wiring import Shared, Trusted, Wiring, best_sources, keep_fixed, log_refused, read_trusted
from zt_engine.config import Settings, load
from zt_engine.core.classification import Label
from zt_engine.core.errors import UnavailableError, ZtError
from zt_engine.core.lease import Lease, Staleness
from zt_engine.core.trust import TrustScore
from zt_engine.ports import Clock
from zt_engine.sidecar.admin import AdminApp
from zt_engine.sidecar.app import DecisionApp
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.listener import DecisionServer, Limits
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.policy import Case
from zt_engine.sidecar.recorder import Numbers, Origin
from zt_engine.sidecar.replica import Replica

log = structlog.get_logger()

KEY_CHECK_SECONDS = 1.0
PATIENCE_SECONDS = 5.0
"""How long a kept-alive connection may idle after a hand-over before it is closed, so that its next request is
answered, and told to come back to the successor."""
REACH_SECONDS = 5.0
"""How long a start waits for the control plane, so that its first answers are not denials."""
DRAIN_SECONDS = 10.0
"""The longest that a process drains."""


class SidecarProgram:
    """One decision process. `start` makes it serve, `stop` lets every asked question be answered first."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        """Wire everything that needs no IO but reading keys; raises ConfigError with every fault of the settings."""
        self.settings = settings
        self.clock = clock or SystemClock()
        self.meters = Meters()
        self.replica = Replica()
        self.texts = CodeTexts()
        self._certificates = DeviceCertificates()
        proofs = JwtDpopVerifier(not_before=self.clock.now())
        self._shared = Shared(self.replica, self._certificates, proofs, self.texts)
        trusted = read_trusted(settings)
        self.wiring = Wiring(settings, trusted, trusted.sources, self._shared)
        self._meeting = Meeting(settings.path(settings.sidecar.state_dir), settings.sidecar.id)
        member = followed(settings)
        lease = Lease(Staleness()) if member is not None else None
        self.log = open_log(settings, self.clock)
        self.authorizer = Authorizer(
            principals=self.wiring.principals,
            replica=self.replica,
            clock=self.clock,
            space=self.log.space,
            cache_entries=settings.sidecar.cache_entries,
            assert_for=self._assert_for,
            lease=lease,
        )
        self.control: ControlFollower | None = None
        if lease is not None and member is not None:
            self.control = ControlFollower(
                settings,
                member,
                read_situation=self.wiring.believed.read_situation,
                replica=self.replica,
                lease=lease,
                clock=self.clock,
                trust_devices=self._trust_devices,
                revision=self._revision,
            )
        self.follower = FolderFollower(
            settings.path(settings.policy.folder),
            self.wiring.believed,
            authorizer=self.authorizer,
            replica=self.replica,
            certificates=self._certificates,
            texts=self.texts,
            decision_log=self.log,
            clock=self.clock,
            path_key=trusted.path_key,
            tick_seconds=settings.sidecar.tick_seconds,
            records=self.control is None,
        )
        if self.control is not None:
            self.control.releases = self._follow_releases(self.control, trusted.path_key)
            self.control.trust_changed = self.trust_again
        self.app = DecisionApp(
            hooks=self.wiring.hooks,
            pages=self.wiring.pages,
            denials=self.wiring.denials,
            authorizer=self.authorizer,
            decision_log=self.log,
            clock=self.clock,
            numbers=Numbers(f"{settings.sidecar.id}-{os.urandom(4).hex()}"),
            meters=self.meters,
            origin=Origin(settings.sidecar.id, settings.sidecar.tenant).members(),
        )
        around = Surroundings(self.authorizer, self._shared, self.log, self.clock, self.meters)
        self.authzen = AuthzenListener(settings, around, busy=lambda: any(one.turn.waiting for one in self._servers))
        self.grpc = EnvoyGrpcListener(settings, self.meters, self.log, lambda: bool(self.readiness()["ready"]))
        self.fastcgi = ApacheListener(self.meters)
        self.browser = BrowserSite(settings, self.replica, self.clock, self.control, assurance_of(self.authorizer))
        self.handed_over = asyncio.Event()
        """Set when a successor serves and this process should stop."""
        self._busy = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._servers: list[DecisionServer] = []
        self._tls: ProxyTls | None = None
        self._waiting: WaitingPoint | None = None
        self.addresses: list[str] = []
        self.admin_address = ""

    async def start(self, *, serve: bool = True) -> None:
        """Load keys and policy, then listen, unless it is not to `serve`.

        What cannot be loaded is reported and denies; it does not stop the start.

        A running process of the same sidecar hands its sockets over. Raises UnavailableError HANDOVER_NOT_READY when
        that one can decide and this one cannot; it serves on then.
        """
        async with self._busy:
            self.log.start(wake=self._wake(asyncio.get_running_loop()))
            await self._refresh_keys()
            await self.follower.refresh()
            loop = asyncio.get_running_loop()
            if self.control is not None:
                await self.control.load()
                self._tasks = [loop.create_task(task) for task in self.control.tasks()]
                await self.control.reached(REACH_SECONDS)
            if serve:
                await self._meet()
        self._tasks += [loop.create_task(self.follower.follow()), loop.create_task(self._follow_keys())]
        log.info("sidecar.started", sidecar=self.settings.sidecar.id, listen=self.addresses, admin=self.admin_address)

    async def _meet(self) -> None:
        turn = self._meeting.turn()
        await asyncio.to_thread(turn.__enter__)
        try:
            await self._take_over()
        finally:
            turn.__exit__(None, None, None)

    async def _take_over(self) -> None:
        wanted = places(self.settings)
        predecessor = await asyncio.to_thread(Predecessor.find, self._meeting, tuple(wanted))
        given = dict(predecessor.sockets) if predecessor is not None else {}
        try:
            state = self.readiness()
            if predecessor is not None and predecessor.ready and not state["ready"]:
                raise UnavailableError(
                    "HANDOVER_NOT_READY", f"the new process cannot decide: {state}", where=self._meeting.where
                )
            sockets: dict[str, socket.socket] = {}
            for place, (listen, key) in wanted.items():
                sockets[place] = given.pop(place) if place in given else bound(place, listen, key=key)
            await self._listen(sockets)
        except BaseException:
            for sock in given.values():
                sock.close()
            if predecessor is not None:
                predecessor.close()
            raise
        if predecessor is not None:
            await asyncio.to_thread(predecessor.release)
            self._shared.proofs.began(self.clock.now())
            log.info("sidecar.took_over", pid=predecessor.pid)

    async def _listen(self, sockets: dict[str, socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        decisions = DecisionServer(self.app, self.wiring.limits, loop)
        gauges = sidecar_gauges(self)
        operators = AdminApp(readiness=self.readiness, meters=self.meters, gauges=gauges)
        admin = DecisionServer(operators, Limits(connections=64), loop)
        self._servers = [decisions, admin]
        self._tls = ProxyTls(self.settings) if self.settings.sidecar.tls_listen else None
        for place, sock in sockets.items():
            if place.startswith(ADMIN):
                await admin.listen(sock)
            elif not place.startswith(OTHERS):
                tls = self._tls.context if self._tls is not None and place.startswith(TLS) else None
                await decisions.listen(sock, tls=tls)
        await self.authzen.listen(sockets, self.wiring)
        await self.grpc.listen(sockets, self.app, decisions.turn, self.wiring)
        await self.fastcgi.listen(sockets, self.app, decisions.turn, self.wiring)
        await self.browser.listen(sockets, self.wiring)
        proxies = [sock for place, sock in sockets.items() if not place.startswith((ADMIN, *OTHERS))]
        self.addresses = [address_of(sock) for sock in proxies]
        self.admin_address = next(address_of(sock) for place, sock in sockets.items() if place.startswith(ADMIN))
        self._waiting = WaitingPoint(
            self._meeting,
            sockets=sockets,
            ready=lambda: bool(self.readiness()["ready"]),
            released=self._hand_over,
        )

    def _hand_over(self) -> None:
        if self.control is not None:
            self.control.let_go()
        self.handed_over.set()

    @property
    def _beside(self) -> tuple[AuthzenListener, EnvoyGrpcListener, ApacheListener, BrowserSite]:
        """The listeners that are not proxies' own over HTTP/1.1."""
        return self.authzen, self.grpc, self.fastcgi, self.browser

    async def stop(self) -> None:
        """Answer what was asked, close the log, free the engine. Takes `DRAIN_SECONDS` at most.

        After a hand-over records and policy are followed until the last connection has gone: a revocation counts for
        those as well.
        """
        if self._waiting is not None:
            self._waiting.close()
        if self.handed_over.is_set():
            for server in self._servers:
                server.limits = replace(server.limits, drain_seconds=PATIENCE_SECONDS)
        servers = (server.close(grace=DRAIN_SECONDS) for server in self._servers)
        beside = (listener.close(grace=DRAIN_SECONDS) for listener in self._beside)
        await asyncio.gather(*servers, *beside)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.control is not None:
            await self.control.close()
        self.log.close()
        policy = self.authorizer.policy
        if policy is not None:
            policy.engine.close()
        self._meeting.close()
        log.info("sidecar.stopped", sidecar=self.settings.sidecar.id)

    # -- settings that are read again

    async def reload(self, config: Path) -> bool:
        """Read the settings again and take them up as a whole; with any fault the old ones stay in force.

        Where it listens, the log, and what else `Wiring` does not hold need a restart; that is said in the log.
        """
        async with self._busy:
            try:
                settings, waiting = keep_fixed(self.settings, await asyncio.to_thread(load, config))
                trusted = await asyncio.to_thread(read_trusted, settings)
                tls = proxy_context(settings) if self._tls is not None else None
            except ZtError as error:
                log_refused("config.refused", error)
                return False
            await self._take_up(settings, trusted)
            if self._tls is not None and tls is not None:
                self._tls.use(tls)
            log.info("config.reloaded", config=str(config))
            if waiting:
                log.warning("config.needs_restart", settings=waiting)
            return True

    async def trust_again(self) -> None:
        """Take up who approves and signs policy as the offline root says now; with a fault nothing changes."""
        async with self._busy:
            try:
                trusted = await asyncio.to_thread(read_trusted, self.settings)
            except ZtError as error:
                log_refused("trust.refused", error)
                return
            await self._take_up(self.settings, trusted)

    async def _take_up(self, settings: Settings, trusted: Trusted) -> None:
        await self._report_keys(tuple(trusted.sources.values()))
        wiring = Wiring(settings, trusted, best_sources(trusted, self.wiring), self._shared)
        self.settings, self.wiring = settings, wiring
        self.app.rewire(wiring.hooks, wiring.pages, wiring.denials)
        self.fastcgi.rewire(wiring)
        self.browser.rewire(wiring)
        self.authorizer.rely_on(wiring.principals, wiring.strongest)
        await self.grpc.rewire(settings, wiring)
        await self.authzen.rewire(settings, wiring)
        if self._servers:
            self._servers[0].limits = wiring.limits
        await self.follower.believe(wiring.believed)
        if self.control is not None:
            await self.control.believe(wiring.believed.read_situation)

    # -- what goes on beside requests

    def _wake(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        def wake() -> None:
            loop.call_soon_threadsafe(self._flush_idle)

        return wake

    def _flush_idle(self) -> None:
        """Write what the log has to say about itself while nobody asks anything."""
        try:
            # A decision of this turn may wait for its own flush, and its input must be in the same file.
            self.log.flush(rotate=False)
        except UnavailableError as error:
            log.error("log.unavailable", error=str(error))

    async def _refresh_keys(self) -> None:
        await self._report_keys(tuple(self.wiring.sources.values()))

    async def _report_keys(self, sources: tuple[KeySource, ...]) -> None:
        for failure in await refresh_due(sources, self.clock.now()):
            log.error("keys.refused", **failure.facts)

    async def _follow_keys(self) -> None:
        while True:
            await asyncio.sleep(KEY_CHECK_SECONDS)
            await self._refresh_keys()

    def _assert_for(self, case: Case, label: Label, trust: TrustScore) -> str:
        asserter = self.wiring.trusted.asserter
        if asserter is None:
            return ""
        principal = case.principal
        return asserter.sign(
            audience=case.place.resource.service,
            subject=principal.subject.id,
            device=principal.device.device_id if principal.device is not None else "",
            groups=principal.subject.groups,
            label=label.code,
            trust=trust.score,
            issued_at=case.moment.tick_start,
        )

    def _follow_releases(self, control: ControlFollower, path_key: bytes) -> ReleaseFollower:
        """Return what follows releases; whose they may be is said in this one place."""
        stage = ReleaseStage(
            self.authorizer, self.follower, self.texts, self.log, lambda: self.wiring.release_trust,
            path_key=path_key, tick_seconds=self.settings.sidecar.tick_seconds,
        )  # fmt: skip
        return releases_of(control, stage, lambda: self.wiring.release_trust)

    def _trust_devices(self, authorities: bytes) -> None:
        self._certificates.replace(authorities, where="device CAs of the control plane")
        self.authorizer.forget_principals()

    def _revision(self) -> str:
        policy = self.authorizer.policy
        return policy.revision if policy is not None else ""

    # -- for operators

    def readiness(self) -> dict[str, object]:
        """Return whether decisions can be made, and everything that is missing or refused."""
        policy = self.authorizer.policy
        now = self.clock.now()
        keys = {issuer: source.problem or "ok" for issuer, source in self.wiring.sources.items()}
        control = self.control
        found: dict[str, object] = {
            "ready": policy is not None and self.replica.ready and self.log.state != "unavailable",
            "revision": policy.revision if policy is not None else None,
            "policy_age": round(now - self.activated_at, 1) if policy is not None else None,
            "records": self.replica.ready,
            "log": self.log.state,
            "keys": keys,
            "problems": [
                str(problem)
                for problem in (*self.follower.problems, *(control.problems if control is not None else ()))
            ],
        }
        return found if control is None else {**found, "control_plane": control.state()}

    @property
    def activated_at(self) -> float:
        """When the policy in force was put in force."""
        control = self.control
        released = control.releases.activated_at if control is not None and control.releases is not None else 0.0
        return released or self.follower.activated_at
