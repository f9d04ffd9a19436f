"""What may be released next is fetched, verified and compiled ahead, so that only the switch is left when it is.

While a control plane examines a release that was handed in, it offers its record to whoever listens: by itself, out of
the order of the stream. INVARIANT: an offer decides nothing. It is heard only when a bundle key of ours signed it, all
it leads to is work that would be done later, and a release that is told is verified whole as if nothing were there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from zt_engine.bootstrap.release_opening import ReleaseTrust
from zt_engine.core.errors import BundleError, ZtError
from zt_engine.core.release import MAX_NOTICE_BYTES, Release, is_expired, read_release

log = structlog.get_logger()

Warm = Callable[[Release, bytes, ReleaseTrust], object]
"""Verifies and compiles; what it returns keeps what was compiled in memory. In a thread."""


class Fetches(Protocol):
    """What fetches bundles (`adapters.release_fetch`)."""

    async def fetch(self, digest: str, size: int) -> bytes:
        """Return the bundle of this digest."""
        ...


class Ahead:
    """Fetches bundles, and the newest one that was offered before anybody asks for it."""

    def __init__(
        self,
        fetcher: Fetches,
        *,
        tenant: str,
        trust: Callable[[], ReleaseTrust],
        now: Callable[[], float],
        warm: Warm,
    ) -> None:
        self._fetcher = fetcher
        self._tenant = tenant
        self._trust = trust
        self._now = now
        self._warm = warm
        self._release: Release | None = None
        self._getting: asyncio.Task[bytes] | None = None
        self._warming: asyncio.Task[object] | None = None

    def offered(self, record: bytes, *, above: int) -> None:
        """Begin with what is offered, if a key of ours signed it and it is above what was in force."""
        try:
            if len(record) > MAX_NOTICE_BYTES:
                raise BundleError("BUNDLE_TOO_LARGE", "the record that is offered")
            release = read_release(record.decode("ascii", "replace"), self._trust().keys, where="offer")
        except BundleError as error:
            log.debug("release.offer_refused", code=error.code, problem=error.message)
            return
        if release.tenant != self._tenant or release.seq <= above or is_expired(release, now=self._now()):
            return
        if self._release is not None and self._release.bundle_digest == release.bundle_digest:
            return
        self.drop()
        self._release = release
        self._getting = asyncio.ensure_future(self._fetcher.fetch(release.bundle_digest, release.size))
        self._warming = asyncio.ensure_future(self._prepare(release, self._getting))

    async def _prepare(self, release: Release, getting: asyncio.Task[bytes]) -> object:
        try:
            return await asyncio.to_thread(self._warm, release, await getting, self._trust())
        except ZtError as error:  # whoever is told of it says so aloud
            log.debug("release.offer_refused", code=error.code, problem=error.message)
            return None

    async def fetch(self, digest: str, size: int) -> bytes:
        """Return the bundle of this digest, as `fetch` of what fetches does."""
        ahead, getting, warming = self._release, self._getting, self._warming
        if ahead is None or getting is None or warming is None or (ahead.bundle_digest, ahead.size) != (digest, size):
            self.drop()
            return await self._fetcher.fetch(digest, size)
        # Compiling twice at once is no quicker. Not `await warming`: another offer ends it, and would end us with it.
        await asyncio.wait({warming})
        if getting.done() and not getting.cancelled() and getting.exception() is None:
            return getting.result()
        if self._getting is getting:
            self.drop()
        return await self._fetcher.fetch(digest, size)

    def drop(self) -> None:
        """Let go of what was offered."""
        for task in (self._getting, self._warming):
            if task is not None:
                task.cancel()
        self._release = self._getting = self._warming = None
