"""Keeps the sessions alive that somebody uses here, as long as the identity provider agrees."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from zt_engine.core.errors import InputError, ZtError
from zt_engine.ports import Clock
from zt_engine.ports.sessions import SignInDesk
from zt_engine.sidecar.replica import Replica

log = structlog.get_logger()

LOOK_SECONDS: Final = 15.0
AHEAD_SECONDS: Final = 420
"""A session that is used within so long of its time is refreshed: the control plane says whether it is due."""
AGAIN_SECONDS: Final = 45
"""How soon it is asked for once more when nothing came of it, and sooner where little time is left: while a provider is
away, everybody's time comes near."""
AT_ONCE: Final = 8
"""One after the other a slow provider would let thousands of sessions run out before it is their turn."""


class SessionKeeper:
    """Asks for refreshes in turns."""

    def __init__(self, replica: Replica, desk: SignInDesk, clock: Clock) -> None:
        self._replica = replica
        self._desk = desk
        self._clock = clock
        self._again: dict[str, float] = {}

    async def run(self) -> None:
        """Keep sessions until cancelled; what fails is tried again in the next turn."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.turn()
            except Exception as error:  # one turn that breaks must not end everybody's session
                log.exception("session.turn_failed", error=type(error).__name__)

    async def turn(self) -> int:
        """Have those refreshed whose time comes near, the nearest first; return how many were asked for."""
        now, sessions, used = self._clock.now(), self._replica.sessions, self._replica.used
        for sid in [sid for sid in used if sid not in sessions]:
            del used[sid]
        self._again = {sid: at for sid, at in self._again.items() if sid in used and now < at <= now + AGAIN_SECONDS}
        near = sorted(
            (sessions[sid].until, sid)
            for sid, last in used.items()
            if now - last <= AHEAD_SECONDS and 0 < sessions[sid].until - now <= AHEAD_SECONDS and sid not in self._again
        )
        for until, sid in near:
            self._again[sid] = now + min(AGAIN_SECONDS, max(LOOK_SECONDS, (until - now) / 4))
        waiting = iter(near)

        async def work() -> None:
            for _, sid in waiting:
                await self._refresh(sid)

        await asyncio.gather(*(work() for _ in range(min(AT_ONCE, len(near)))))
        return len(near)

    async def _refresh(self, sid: str) -> None:
        try:
            await self._desk.refresh(sid)
        except InputError as error:  # it has ended, and the stream says so
            log.info("session.over", code=error.code)
        except ZtError as error:
            log.warning("session.not_refreshed", code=error.code, problem=error.message)
