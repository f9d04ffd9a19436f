"""The sidecar program: settings wired into listeners, a decision path, a log, and the loops that keep them current."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from zt_engine.adapters.approvals import read_approvers
from zt_engine.adapters.assertion_jws import Asserter, load_asserter
from zt_engine.adapters.bundle_signing import load_public_keys
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.dpop_jwt import JwtDpopVerifier
from zt_engine.adapters.keys_fetch import key_source
from zt_engine.adapters.keys_jwks import KeySource, refresh_due
from zt_engine.adapters.log_checkpoints import CheckpointPublisher, CheckpointSink, DirectorySink, SyslogSink
from zt_engine.adapters.log_checkpoints import load_signing_key as load_log_key
from zt_engine.adapters.log_segments import DecisionLog
from zt_engine.adapters.log_settings import LogSettings, check_settings
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.adapters.tokens_jwt import JwtVerifier, TrustedIssuer
from zt_engine.bootstrap.code_texts import CodeTexts
from zt_engine.bootstrap.following import DeviceCertificates, FolderFollower
from zt_engine.bootstrap.identity import issuer_configs, proxy_credentials, secret_file
from zt_engine.bootstrap.sockets import address_of, bind
from zt_engine.config import Settings
from zt_engine.core.classification import Label
from zt_engine.core.errors import ConfigError, Problem, UnavailableError
from zt_engine.core.trust import TrustScore
from zt_engine.pages.denied import DeniedPage
from zt_engine.sidecar.admin import AdminApp, Gauges
from zt_engine.sidecar.app import DecisionApp
from zt_engine.sidecar.authorize import Authorizer, Case
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.hooks.pages import DeniedPages
from zt_engine.sidecar.listener import DecisionServer, Limits
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.principals import Principals
from zt_engine.sidecar.recorder import Numbers, Origin
from zt_engine.sidecar.replica import Replica

log = structlog.get_logger()

MIB = 1 << 20
KEY_CHECK_SECONDS = 1.0


class SidecarProgram:
    """One decision process. `start` makes it serve, `stop` lets every asked question be answered first."""

    def __init__(self, settings: Settings) -> None:
        """Wire everything that needs no IO but reading keys; raises ConfigError with every fault of the settings."""
        self.settings = settings
        self.clock = SystemClock()
        self.meters = Meters()
        self.replica = Replica()
        self._credentials = Credentials(proxy_credentials(settings))
        configs = issuer_configs(settings)
        self._sources = tuple(key_source(config, where=config.issuer) for config in configs)
        self._strongest = {config.issuer: config.strongest_acr for config in configs}
        self._path_key = secret_file(settings.path(settings.log.path_key_file))
        self._asserter = _asserter(settings)
        self._certificates = DeviceCertificates()
        tokens = JwtVerifier(
            [TrustedIssuer(config, source) for config, source in zip(configs, self._sources, strict=True)]
        )
        self.log = open_log(settings, self.clock)
        self.principals = Principals(
            tokens=tokens,
            certificates=self._certificates,
            proofs=JwtDpopVerifier(),
            mappings={config.issuer: config.mapping for config in configs},
            replica=self.replica,
            keys={config.issuer: source for config, source in zip(configs, self._sources, strict=True)},
            recheck_seconds=settings.sidecar.tick_seconds,
        )
        self.authorizer = Authorizer(
            principals=self.principals,
            replica=self.replica,
            clock=self.clock,
            log_state=lambda: self.log.state,
            cache_entries=settings.sidecar.cache_entries,
            assert_for=self._assert_for,
        )
        self.texts = CodeTexts()
        approvers = read_approvers(_pems(settings, settings.policy.approvers))
        self.follower = FolderFollower(
            settings,
            keys=load_public_keys(_bundle_keys(settings)),
            read_situation=lambda raw, where: decode_situation(raw, where=where, approvers=approvers),
            authorizer=self.authorizer,
            replica=self.replica,
            certificates=self._certificates,
            texts=self.texts,
            decision_log=self.log,
            clock=self.clock,
            strongest=self._strongest,
            path_key=self._path_key,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._servers: list[DecisionServer] = []

    async def start(self) -> None:
        """Load keys and policy, then listen. What cannot be loaded is reported and denies; it does not stop the start."""
        settings, loop = self.settings, asyncio.get_running_loop()
        sockets = [bind(listen, key="sidecar.listen") for listen in settings.sidecar.listen]
        admin_socket = bind(settings.sidecar.admin_listen, key="sidecar.admin_listen")
        self.log.start(wake=self._wake(loop))
        await self._refresh_keys()
        await self.follower.refresh()
        limits = Limits(
            head_bytes=settings.limits.head_kib * 1024,
            headers=settings.limits.headers,
            connections=settings.limits.connections,
            request_seconds=settings.limits.request_seconds,
            idle_seconds=settings.limits.idle_seconds,
        )
        decisions = DecisionServer(self._app(), limits, loop)
        for sock in sockets:
            await decisions.listen(sock)
        admin = DecisionServer(
            AdminApp(readiness=self.readiness, meters=self.meters, gauges=self._gauges()), Limits(connections=64), loop
        )
        await admin.listen(admin_socket)
        self._servers = [decisions, admin]
        self._tasks = [loop.create_task(self.follower.follow()), loop.create_task(self._follow_keys())]
        self.addresses = [address_of(sock) for sock in sockets]
        self.admin_address = address_of(admin_socket)
        log.info("sidecar.started", sidecar=settings.sidecar.id, listen=self.addresses, admin=self.admin_address)

    async def stop(self) -> None:
        """Answer what was asked, close the log, free the engine."""
        for task in self._tasks:
            task.cancel()
        for server in self._servers:
            await server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.log.close()
        policy = self.authorizer.policy
        if policy is not None:
            policy.engine.close()
        log.info("sidecar.stopped", sidecar=self.settings.sidecar.id)

    def _app(self) -> DecisionApp:
        settings = self.settings
        page = DeniedPage(self.texts, default_language=settings.sidecar.language, help_url=settings.sidecar.help_url)
        return DecisionApp(
            hooks=[NginxHook(self._credentials)],
            pages=DeniedPages(page, self._credentials),
            authorizer=self.authorizer,
            decision_log=self.log,
            clock=self.clock,
            numbers=Numbers(f"{settings.sidecar.id}-{os.urandom(4).hex()}"),
            meters=self.meters,
            origin=Origin(settings.sidecar.id, settings.sidecar.tenant).members(),
        )

    def _wake(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        def wake() -> None:
            loop.call_soon_threadsafe(self._flush_idle)

        return wake

    def _flush_idle(self) -> None:
        """Write what the log has to say about itself while nobody asks anything."""
        try:
            self.log.flush()
        except UnavailableError as error:
            log.error("log.unavailable", error=str(error))

    # -- keys

    async def _refresh_keys(self) -> None:
        for failure in await refresh_due(self._sources, self.clock.now()):
            log.error("keys.refused", code=failure.code, problem=failure.message, where=failure.where)

    async def _follow_keys(self) -> None:
        while True:
            await asyncio.sleep(KEY_CHECK_SECONDS)
            await self._refresh_keys()

    def _assert_for(self, case: Case, label: Label, trust: TrustScore) -> str:
        if self._asserter is None:
            return ""
        principal = case.principal
        return self._asserter.sign(
            audience=case.place.resource.service,
            subject=principal.subject.id,
            device=principal.device.device_id if principal.device is not None else "",
            groups=principal.subject.groups,
            label=label.code,
            trust=trust.score,
            issued_at=case.moment.tick_start,
        )

    # -- for operators

    def readiness(self) -> dict[str, object]:
        """Return whether decisions can be made, and everything that is missing or refused."""
        policy = self.authorizer.policy
        now = self.clock.now()
        keys = {config: source.problem or "ok" for config, source in zip(self._strongest, self._sources, strict=True)}
        return {
            "ready": policy is not None and self.replica.ready and self.log.state != "unavailable",
            "revision": policy.revision if policy is not None else None,
            "policy_age": round(now - self.follower.activated_at, 1) if policy is not None else None,
            "records": self.replica.ready,
            "log": self.log.state,
            "keys": keys,
            "problems": [str(problem) for problem in self.follower.problems],
        }

    def _gauges(self) -> Gauges:
        now = self.clock.now
        authorizer = self.authorizer
        return {
            "zt_policy_age_seconds": ("Since the policy was activated.", lambda: now() - self.follower.activated_at),
            "zt_replica_age_seconds": ("Since records were last read.", lambda: now() - (self.replica.loaded_at or 0)),
            "zt_keys_age_seconds": ("Since the oldest key set was fetched.", lambda: _oldest(self._sources, now())),
            "zt_devices": ("Devices in the replica.", lambda: len(self.replica.devices)),
            "zt_cache_entries": ("Decisions that are remembered.", lambda: len(authorizer.cache or ())),
            "zt_engine_seconds_total": ("Time spent in the policy engine.", lambda: authorizer.engine_ns / 1e9),
            "zt_engine_calls_total": ("Evaluations of the policy engine.", lambda: authorizer.engine_calls),
            "zt_log_records": ("Records in this process's chain.", lambda: self.log.records),
            "zt_log_unanchored_records": ("Records behind the last checkpoint.", lambda: self.log.checkpoint_lag),
            "zt_log_bytes": ("Bytes of all log segments.", lambda: self.log.total_bytes),
            "zt_log_available": ("1 while the log can be written.", lambda: float(self.log.state == "ok")),
            "zt_folder_problems": ("Files of the policy folder that are refused.", lambda: len(self.follower.problems)),
        }


def open_log(settings: Settings, clock: SystemClock) -> DecisionLog:
    """Open the decision log with its signed checkpoints."""
    sinks: list[CheckpointSink] = [
        DirectorySink(settings.path(settings.log.checkpoints), log_folder=settings.path(settings.log.dir))
    ]
    if settings.log.syslog is not None:
        sinks.append(SyslogSink(settings.log.syslog))
    key = load_log_key(settings.path(settings.log.key_file))
    publisher = CheckpointPublisher(key, sinks, sidecar=settings.sidecar.id)
    files = LogSettings(
        folder=settings.path(settings.log.dir),
        sidecar=settings.sidecar.id,
        segment_bytes=settings.log.segment_mib * MIB,
        segment_seconds=settings.log.segment_seconds,
        quota_bytes=settings.log.quota_mib * MIB,
        reserve_bytes=settings.log.reserve_mib * MIB,
    )
    check_settings(files)
    return DecisionLog(files, publisher=publisher, clock=clock.now)


def _asserter(settings: Settings) -> Asserter | None:
    path = settings.assertion.key_file
    if path is None:
        return None
    return load_asserter(settings.path(path), sidecar=settings.sidecar.id, seconds=settings.assertion.seconds)


def _pems(settings: Settings, files: tuple[Path, ...]) -> dict[str, bytes]:
    """Read public keys; the name of a file, without its endings, is the id of its key."""
    found: dict[str, bytes] = {}
    problems: list[Problem] = []
    for relative in files:
        path = settings.path(relative)
        try:
            found[path.name.removesuffix(".pem").removesuffix(".pub")] = path.read_bytes()
        except OSError as error:
            problems.append(Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(path)))
    if problems:
        raise ConfigError(tuple(problems))
    return found


def _bundle_keys(settings: Settings) -> dict[str, bytes]:
    if not settings.policy.keys:
        hint = "the public key that `zt init` wrote, for example `keys/bundle.pub.pem`"
        raise ConfigError((Problem(code="CONFIG_MISSING_KEY", message="`policy.keys` is required", hint=hint),))
    return _pems(settings, settings.policy.keys)


def _oldest(sources: tuple[KeySource, ...], now: float) -> float:
    return max((now - source.fetched_at for source in sources), default=0.0)
