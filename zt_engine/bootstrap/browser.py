"""The listener for browsers that sign in, wired: by which proxies, at which desk, and what keeps sessions alive."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from zt_engine.adapters.sign_in_http import SignInClient
from zt_engine.bootstrap.browser_keys import key_pages
from zt_engine.bootstrap.following_control import ControlFollower
from zt_engine.bootstrap.listening import BROWSER, BROWSER_TLS
from zt_engine.bootstrap.proxy_tls import proxy_context
from zt_engine.bootstrap.sockets import address_of
from zt_engine.bootstrap.wiring import Wiring
from zt_engine.config import Settings
from zt_engine.core.errors import ConfigError, UnavailableError
from zt_engine.core.identity import AssuranceTable
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.ports import Clock
from zt_engine.ports.sessions import SignInDesk
from zt_engine.sidecar.browser.device_proof import DeviceProofs
from zt_engine.sidecar.browser.keeping import SessionKeeper
from zt_engine.sidecar.browser.proxied import browser_hooks
from zt_engine.sidecar.browser.signing_in import BrowserSignIn
from zt_engine.sidecar.browser.visit import Pages
from zt_engine.sidecar.browser.wire import BrowserListener
from zt_engine.sidecar.replica import Replica

if TYPE_CHECKING:
    from zt_engine.bootstrap.folder_sessions import FolderDesk

log = structlog.get_logger()


class BrowserSite:
    """The listener, from its settings to its end. Without `sidecar.browser_listen` it does nothing."""

    def __init__(
        self,
        settings: Settings,
        replica: Replica,
        clock: Clock,
        control: ControlFollower | None,
        assurance: Callable[[], AssuranceTable],
    ) -> None:
        """`assurance` tells how strong the policy in force takes each sign-in to be."""
        self._settings = settings
        self._control = control
        self._assurance = assurance
        self._replica = replica
        self._clock = clock
        self._desk: SignInDesk | None = SignInClient(control.client) if control is not None else None
        self._folder: FolderDesk | None = None
        self._listener: BrowserListener | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.addresses: list[str] = []

    async def listen(self, sockets: dict[str, socket.socket], wiring: Wiring) -> None:
        """Serve those of the sockets that are its own."""
        own = {place: sock for place, sock in sockets.items() if place.startswith(BROWSER)}
        if not own:
            return
        if self._desk is None:
            self._desk = self._folder = await self._opened(wiring)
        if self._desk is None:
            for sock in own.values():  # a proxy that asks is told at once, and does not wait
                sock.close()
            return
        self._listener = BrowserListener(self._site(wiring))
        encrypted = any(place.startswith(BROWSER_TLS) for place in own)
        tls = proxy_context(self._settings) if encrypted else None
        for place, sock in own.items():
            await self._listener.listen(sock, tls=tls if place.startswith(BROWSER_TLS) else None)
        self.addresses = [address_of(sock) for sock in own.values()]
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(SessionKeeper(self._replica, self._desk, self._clock).run())]
        if self._folder is not None:
            self._tasks.append(loop.create_task(self._folder.run()))
        log.info("browser.started", listen=self.addresses)

    def rewire(self, wiring: Wiring) -> None:
        """Take up who may ask and what people are told, between two requests."""
        if self._folder is not None:
            self._folder.rewire(wiring)
        if self._listener is not None:
            self._listener.answer = self._site(wiring)

    async def close(self, *, grace: float) -> None:
        """Answer what was asked and end."""
        if self._listener is not None:
            await self._listener.close(grace=grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._folder is not None:
            await asyncio.to_thread(self._folder.close)

    async def _opened(self, wiring: Wiring) -> FolderDesk | None:
        """Return the desk of a sidecar without a control plane; what keeps it from opening signs nobody in."""
        if not self._settings.sign_in.issuer:
            return None
        try:
            from zt_engine.bootstrap.folder_sessions import FolderDesk  # noqa: PLC0415  (wants the extra `control`)

            return await asyncio.to_thread(FolderDesk, self._settings, wiring, self._replica, self._clock)
        except ModuleNotFoundError as error:
            log.error("browser.not_started", code="EXTRA_MISSING", hint="zt-engine[control]", missing=error.name)
        except ConfigError as error:
            for problem in error.problems:
                log.error("browser.not_started", code=problem.code, problem=problem.message, where=problem.where)
        except UnavailableError as error:
            log.error("browser.not_started", code=error.code, problem=error.message)
        return None

    def _site(self, wiring: Wiring) -> BrowserSignIn:
        assert self._desk is not None  # there is no listener without one
        return BrowserSignIn(
            hooks=browser_hooks(wiring.credentials, {proxy.hook for proxy in wiring.settings.proxies}),
            desk=self._desk,
            replica=self._replica,
            certificates=wiring.certificates,
            clock=self._clock,
            denied=wiring.denied,
            page=SignOutPage(default_language=self._settings.sidecar.language),
            more={**self._device_proofs(wiring), **self._keys(wiring)},
            assurance=self._assurance,
        )

    def _keys(self, wiring: Wiring) -> Pages:
        return key_pages(self._control, self._replica, wiring.certificates, self._clock, self._assurance)

    def _device_proofs(self, wiring: Wiring) -> Pages:
        if wiring.device_proofs is None:
            return {}
        return DeviceProofs(
            replica=self._replica,
            verifier=wiring.device_proofs,
            issuers=frozenset(config.issuer for config in wiring.trusted.issuers),
            clock=self._clock,
            port=wiring.settings.sidecar.device_proof_port,
        ).pages
