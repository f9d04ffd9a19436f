"""Browser sign-in without a control plane: the desk is in this process, and sessions are in a file of this machine.

Whatever touches the file or the provider happens in threads of its own; a decision reads memory, as it always does.
Several sidecars of a machine share the file: what one of them is told, the others know within `LOOK_SECONDS`, or within
`SPARING` times of what reading every session takes: that never uses more than a small part of a core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import structlog

from zt_engine.adapters.sessions_host import HostStore
from zt_engine.bootstrap.sign_in_parts import sign_in_sessions
from zt_engine.bootstrap.wiring import Wiring
from zt_engine.config import Settings
from zt_engine.control_plane.sessions import Sessions
from zt_engine.core.errors import ConfigError, InputError, ZtError
from zt_engine.core.session import SessionRecord
from zt_engine.ports import Clock
from zt_engine.ports.sessions import Begun, Finished
from zt_engine.sidecar.replica import Changes, Replica

log = structlog.get_logger()

FILE: Final = "sessions.db"
LOOK_SECONDS: Final = 0.25
SPARING: Final = 20
SWEEP_SECONDS: Final = 60.0
THREADS: Final = 32
T = TypeVar("T")


class Tenancy(msgspec.Struct, frozen=True):
    """What sessions have to know of where they are."""

    tenant: str


class Ground(msgspec.Struct, frozen=True):
    """What sessions stand on."""

    store: HostStore
    settings: Tenancy


class FolderDesk:
    """The `SignInDesk` of a sidecar that follows a folder."""

    def __init__(self, settings: Settings, wiring: Wiring, replica: Replica, clock: Clock) -> None:
        """Open the file; not for the event loop. Raises ConfigError for what is wrong with file or settings."""
        self._tenant = settings.sidecar.tenant
        self._replica = replica
        self._clock = clock
        self._settings = settings
        self._store = HostStore(settings.path(settings.sidecar.state_dir) / FILE)
        try:
            self._sessions = self._made(wiring)
        except BaseException:
            self._store.close()
            raise
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sessions")
        self._version = -1
        self._swept = clock.elapsed()
        self._taking = asyncio.Lock()

    def rewire(self, wiring: Wiring) -> None:
        """Verify by the key sets that are kept fresh from now on, as soon as what the settings name has been read."""
        self._threads.submit(self._renew, wiring)

    def _renew(self, wiring: Wiring) -> None:
        try:
            self._sessions = self._made(wiring)
        except ConfigError as error:
            for problem in error.problems:
                log.error("sessions.not_renewed", code=problem.code, problem=problem.message, where=problem.where)

    def _made(self, wiring: Wiring) -> Sessions:
        ground = Ground(self._store, Tenancy(self._tenant))
        configs = {config.issuer: config for config in wiring.trusted.issuers}
        made = sign_in_sessions(ground, self._settings, configs, wiring.sources, now=self._clock.now)
        if made is None:
            raise ValueError("the settings name no issuer to sign in at")
        return made

    async def begin(self, asked: Mapping[str, object]) -> Begun:
        """Begin a sign-in."""
        told: dict[str, Any] = {**asked}
        begun = await self._do(partial(self._sessions.begin, now=self._now(), **told))
        return Begun(begun.location, begun.ticket, begun.seconds)

    async def finish(self, told: Mapping[str, object]) -> Finished:
        """Finish one; the session is known here when this returns."""
        given: dict[str, Any] = {**told}
        done = await self._do(partial(self._sessions.finish, now=self._now(), **given))
        await self._take_up_one(done.sid)
        return Finished(done.handle, done.sid, done.to, done.seconds, done.wish)

    async def refresh(self, sid: str) -> None:
        """Have a session refreshed, if it is time."""
        if await self._do(partial(self._sessions.refresh, sid, now=self._now())) is None:
            raise InputError("SESSION_NOT_FOUND", "the session has ended")

    async def end(self, sid: str, *, back: str = "", state: str = "") -> str:
        """End a session; it opens nothing here when this returns."""
        location = await self._do(
            partial(
                self._sessions.sign_out, sid, back=back, state=state, reason="signed out", actor="system",
                now=self._now(),
            )
        )  # fmt: skip
        await self._take_up_one(sid)
        if location is None:
            raise InputError("SESSION_NOT_FOUND", "the session has ended")
        return location

    async def run(self) -> None:
        """Follow the file until cancelled; while it cannot be read, sessions live until their time and no longer."""
        while True:
            began = self._clock.elapsed()
            pause = LOOK_SECONDS
            try:
                await self.take_up()
                pause = max(pause, SPARING * (self._clock.elapsed() - began))
                if self._clock.elapsed() - self._swept >= SWEEP_SECONDS:
                    self._swept = self._clock.elapsed()
                    await self._do(partial(self._sessions.sweep, now=self._now()))
                    await self._do(partial(self._store.prune, self._now()))
            except ZtError as error:
                log.warning("sessions.not_read", code=error.code, problem=error.message)
            except Exception as error:  # one turn that breaks must not keep an ended session alive
                log.exception("sessions.turn_failed", error=type(error).__name__)
            await asyncio.sleep(pause)

    async def take_up(self) -> None:
        """Bring the replica up to date with the file."""
        async with self._taking:
            version = await self._do(self._store.version)
            if version == self._version:
                return
            told = {record.sid: record for record in await self._do(partial(self._store.sessions, self._tenant))}
            self._adopt({**dict.fromkeys(self._replica.sessions), **told})
            self._version = version

    async def _take_up_one(self, sid: str) -> None:
        """Bring the replica up to date with what was just written here."""
        async with self._taking:
            self._adopt({sid: await self._do(partial(self._store.session, self._tenant, sid))})

    def _adopt(self, sessions: Mapping[str, SessionRecord | None]) -> None:
        state = self._replica.state
        records = state.records.changed(Changes(sessions=sessions))
        self._replica.state = msgspec.structs.replace(state, records=records)

    def close(self) -> None:
        """End the threads and close the file."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._store.close()

    def _now(self) -> int:
        return int(self._clock.now())

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
