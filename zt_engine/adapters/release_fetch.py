"""Fetch a bundle from whichever address of a control plane has it: resumed, capped, and checked by its digest.

Whoever answers is believed nothing. What came so far is kept for the next try, at another address or later.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Protocol

from zt_engine.core.errors import InputError, UnavailableError

TRY_SECONDS = 30.0
"""The longest that one address may take; the next one goes on where it was."""
KEPT = 2
"""Of so many bundles is kept what came of them: of the one that was told, and of the one that was offered meanwhile."""


class Source(Protocol):
    """What a bundle is fetched from (`StreamClient`)."""

    @property
    def urls(self) -> tuple[str, ...]:
        """Every address, the best first."""
        ...

    async def content(self, path: str, into: bytearray, *, size: int, url: str) -> None:
        """Go on fetching what has this path."""
        ...


class BundleFetcher:
    """Keeps what came of bundles, the last ones; several may be fetched at once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._got: dict[str, bytearray] = {}

    async def fetch(self, digest: str, size: int) -> bytes:
        """Return the bundle that has this digest; UnavailableError RELEASE_FETCH when no address gives it now."""
        # INVARIANT: nobody else adds to it while it is fetched.
        got = self._got.pop(digest, bytearray())
        said = "there is no address"
        try:
            for url in self._source.urls:
                try:
                    async with asyncio.timeout(TRY_SECONDS):
                        await self._source.content(f"/v1/bundles/{digest}", got, size=size, url=url)
                except TimeoutError:
                    said = f"`{url}` takes too long"
                except (UnavailableError, InputError) as error:
                    said = error.message
                else:
                    if len(got) == size and hashlib.sha256(got).hexdigest() == digest:
                        raw, got = bytes(got), bytearray()
                        return raw
                    said = f"`{url}` gives other bytes than the record is of"
                    got.clear()
        finally:
            if got:
                self._got[digest] = got
                while len(self._got) > KEPT:
                    del self._got[next(iter(self._got))]
        raise UnavailableError("RELEASE_FETCH", said, where=f"bundle {digest[:12]}")
