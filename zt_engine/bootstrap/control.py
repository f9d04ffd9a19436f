"""The composition root of the control plane: its parts, its listener, and what goes on beside requests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvicorn

from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.direct_answer import DirectProtocol
from zt_engine.adapters.keys_jwks import refresh_due
from zt_engine.adapters.tls_client_certificate import server_context, trust_also
from zt_engine.bootstrap.control_parts import Parts, own_signers, read_parts, read_signals
from zt_engine.bootstrap.device_authority import refresh
from zt_engine.bootstrap.listener_chain import warn_unsent
from zt_engine.bootstrap.releasing import close_releases
from zt_engine.bootstrap.serving_stream import check_announced, open_stream, read_stream_keys, rekey
from zt_engine.bootstrap.sockets import tcp
from zt_engine.bootstrap.wiring import log_refused
from zt_engine.config import Control, ControlSettings, load_control
from zt_engine.control_plane.app import create_app
from zt_engine.control_plane.housekeeping import Housekeeping
from zt_engine.control_plane.signals import RULES
from zt_engine.core.errors import ConfigError, Problem, UnavailableError, ZtError
from zt_engine.ports import Clock

log = structlog.get_logger()

HOUSEKEEPING_SECONDS = 60.0
KEY_CHECK_SECONDS = 1.0
DRAIN_SECONDS = 10
CA_SECONDS = 600.0
CA_RETRY_SECONDS = 30.0
OF_SIDECARS = frozenset({"limits", "proxies", "log", "assertion", "base"})
"""Sections that a control plane does not read."""


class _Server(uvicorn.Server):
    """Whoever runs the program handles its signals, and is told when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ControlProgram:
    """One control plane: `start`, `stop`. Everything that can be wrong with the settings is found when it is made."""

    def __init__(self, settings: ControlSettings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.parts: Parts = read_parts(settings, self.clock)
        control = settings.control
        try:
            check_announced(self.parts.plane, self.parts.stream_keys, where=settings.path(control.stream_key_file))
        except ZtError:
            self.parts.store.close()
            raise
        self.origin = open_stream(
            self.parts.plane,
            self.parts.stream_keys[0],
            others=self.parts.stream_keys[1:],
            shared=not settings.database_url.startswith("sqlite"),
            tls_ca=self.parts.tls_ca,
            connections=control.streams,
            floor=None if control.floor is None else settings.path(control.floor),
        )
        self.app = create_app(self.parts.plane)
        self._context = context = self._tls()
        self._shown: ssl.SSLContext | None = None
        """With the certificate that was read last, where that was while it served."""
        self._server = _Server(
            uvicorn.Config(
                self.app,
                http=DirectProtocol,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(control.trusted_proxies),
                forwarded_allow_ips=list(control.trusted_proxies),
                timeout_graceful_shutdown=DRAIN_SECONDS,
                ssl_context_factory=None if context is None else lambda _config, _default: context,
            )
        )
        self._housekeeping = Housekeeping(self.parts.plane)
        self._tasks: list[asyncio.Task[None]] = []
        self._serving: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None
        self.address = ""
        self.stopping = False
        self._reloading = asyncio.Lock()

    async def start(self) -> None:
        """Listen and serve; ConfigError CONFIG_LISTEN where it cannot. Returns when requests are answered."""
        warn_unsent(self.settings, self.parts.plane.extras.get("ca_sha256", ""))
        loop = asyncio.get_running_loop()
        self._socket = _listen(self.settings.control)
        host, port = self._socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        await self._refresh_keys()
        self.origin.start(loop)
        self._serving = loop.create_task(self._server.serve(sockets=[self._socket]))
        listening = loop.create_task(self._server.listening.wait())
        await asyncio.wait((listening, self._serving), return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            await self._serving
            raise RuntimeError("the listener ended before it began")
        self._tasks = [loop.create_task(self._follow_keys()), loop.create_task(self._keep_house())]
        if self.settings.certificate_authority.url:
            self._tasks.append(loop.create_task(self._follow_authority()))
        url = self.settings.control.public_url
        log.info(
            "control.started",
            listen=self.address,
            url=url,
            database=self.settings.database_url.partition(":")[0].partition("+")[0],  # never more: it holds a password
            tenant=self.settings.sidecar.tenant,
            api=f"{url}/v1/openapi.json",
            docs="docs/control-plane.md",
        )
        if self.settings.control.signals is not None:
            log.info("signals.read", rules=len(self.parts.plane.extras[RULES]))

    async def wait(self) -> None:
        """Return when the listener has ended by itself, which it does not as long as all is well."""
        if self._serving is not None:
            await asyncio.shield(self._serving)

    async def stop(self) -> None:
        """Take no more connections, answer what was asked, end the streams. Takes `DRAIN_SECONDS` at most."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._serving is not None:
            self._server.should_exit = True
            self.stopping = True
            # Streams never end by themselves, and the listener waits for what is under way.
            self.origin.stop()
            close_releases(self.parts.plane)
            await self._serving
        if self._socket is not None:
            self._socket.close()
        self.parts.store.close()
        log.info("control.stopped", listen=self.address)

    async def reload(self, config: Path) -> bool:
        """Read certificate, CAs, trust document, keys, approvers and rules about signals again.

        With a fault those of before stay in use.

        Of the other settings nothing is taken up; the log names those that are others by now. Asked again meanwhile,
        it is done again afterwards, so that what was written last is what holds.
        """
        async with self._reloading:
            return await self._reload(config)

    async def _reload(self, config: Path) -> bool:
        believed = await asyncio.to_thread(self.parts.trust.refresh, again=True)
        try:
            settings = await asyncio.to_thread(load_control, config)
            signers = await asyncio.to_thread(own_signers, settings)
            fresh = await asyncio.to_thread(self._tls)
            rules = await asyncio.to_thread(read_signals, settings, self.parts.plane)
            # Whatever can be refused has been read before this, and this takes all or nothing.
            keys = await asyncio.to_thread(read_stream_keys, settings)
            held = self.origin.keys.ids
            await asyncio.to_thread(rekey, self.parts.plane, keys)
            self.parts.trust.own(*signers)
            self.parts.plane.extras[RULES] = rules
            log.info("signals.read", rules=len(rules))
            if (now := self.origin.keys.ids) != held:
                log.info("stream_keys.changed", signing=now.signing, believed=sorted(now.believed))
            self._show(fresh)
        except ZtError as error:
            log_refused("config.refused", error)
            return False
        if waiting := needing_restart(self.settings, settings):
            log.warning("config.needs_restart", program="control plane", settings=waiting, where=str(config))
        try:
            await self._refresh_authority()
        except ZtError as error:
            log_refused("device_cas.refused", error)
            return False
        log.info("device_cas.reloaded")
        return believed

    def _show(self, fresh: ssl.SSLContext | None) -> None:
        """Show the certificate that was read now, from the next handshake on; connections that stand stay."""
        listening = self._context
        if listening is not None and fresh is not None:
            self._shown = fresh
            listening.sni_callback = lambda connection, _name, _context: setattr(connection, "context", fresh)

    async def _refresh_authority(self) -> None:
        await asyncio.to_thread(refresh, self.settings, self.parts.authority)
        for context in (self._context, self._shown):
            if context is not None:
                trust_also(context, self.parts.authority.authorities())

    # -- what goes on beside requests

    async def _follow_keys(self) -> None:
        while True:
            await asyncio.sleep(KEY_CHECK_SECONDS)
            await self._refresh_keys()
            # Sidecars take it up within seconds, and are not to be told what they then refuse.
            await asyncio.to_thread(self.parts.trust.refresh)

    async def _refresh_keys(self) -> None:
        for failure in await refresh_due(self.parts.sources, self.clock.now()):
            log.error("keys.refused", **failure.facts)

    async def _follow_authority(self) -> None:
        """Ask a CA elsewhere for the CAs it publishes, now and then, and more often while it does not answer."""
        pause = CA_RETRY_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                await self._refresh_authority()
                pause = CA_SECONDS
            except ZtError as error:
                pause = CA_RETRY_SECONDS
                log.warning("device_ca.unreachable", code=error.code, problem=error.message)

    async def _keep_house(self) -> None:
        while True:
            if self.origin.sequencing:
                await self._tidy()
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    async def _tidy(self) -> None:
        try:
            done = await asyncio.to_thread(self._housekeeping.turn, now=int(self.clock.now()))
        except ZtError as error:
            log.warning("housekeeping.failed", code=error.code, problem=error.message)
        except Exception as error:  # INVARIANT: one turn that fails does not end all others.
            log.exception("housekeeping.failed", error=type(error).__name__)
        else:
            if done.expired or done.retired or done.forgotten:
                log.info("housekeeping.done", expired=done.expired, retired=done.retired, forgotten=done.forgotten)

    def _known_cas(self) -> bytes:
        try:
            return self.parts.authority.authorities()
        except UnavailableError:  # a CA elsewhere that was never reached
            return b""

    def _tls(self) -> ssl.SSLContext | None:
        control = self.settings.control
        if control.cert_file is None or control.key_file is None:
            return None
        certificate, key = self.settings.path(control.cert_file), self.settings.path(control.key_file)
        try:
            return server_context(certificate=str(certificate), key=str(key), authorities=self._known_cas())
        except OSError as error:  # what TLS says is one as well
            text = error.strerror or "certificate and key do not fit"
            raise _fault("CONFIG_FILE", text, str(certificate)) from None


def needing_restart(before: ControlSettings, now: ControlSettings) -> list[str]:
    """Name the sections that differ, of those a control plane reads, beside what it takes up while it runs."""
    taken = {"keys": before.policy.keys, "approvers": before.policy.approvers}
    control = {name: getattr(before.control, name) for name in ("stream_key_file", "other_stream_keys", "signals")}
    compared = now.model_copy(
        update={"policy": now.policy.model_copy(update=taken), "control": now.control.model_copy(update=control)}
    )
    names = [name for name in ControlSettings.model_fields if name not in OF_SIDECARS]
    return [name for name in names if getattr(compared, name) != getattr(before, name)]


def _listen(control: Control) -> socket.socket:
    try:
        return tcp(*control.address)
    except OSError as error:
        raise _fault("CONFIG_LISTEN", f"`{control.listen}`: {error.strerror}", "control.listen") from None


def _fault(code: str, message: str, where: str) -> ConfigError:
    return ConfigError((Problem(code=code, message=message, where=where),))
