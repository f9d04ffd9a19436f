"""Bundles as they are handed out: a few of them stay in memory, since a whole fleet asks for the same one at once."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from typing import Final

from zt_engine.core.errors import InputError
from zt_engine.ports.inventory import InventoryStore

KEPT: Final = 3
_RANGE: Final = re.compile(r"bytes=([0-9]{0,12})-([0-9]{0,12})", re.ASCII)


class BundleShelf:
    """For use by many threads; one of them reads, the others wait for it."""

    def __init__(self, store: InventoryStore, tenant: str) -> None:
        self._store = store
        self._tenant = tenant
        self._lock = threading.Lock()
        self._held: OrderedDict[str, bytes] = OrderedDict()

    def held(self, digest: str) -> bytes | None:
        """Return a bundle if it is in memory; waits for nobody."""
        return self._held.get(digest)

    def hold(self, digest: str, raw: bytes) -> None:
        """Keep a bundle at hand that will be asked for."""
        with self._lock:
            self._put(digest, raw)

    def _put(self, digest: str, raw: bytes) -> None:
        self._held[digest] = raw
        self._held.move_to_end(digest)
        while len(self._held) > KEPT:
            self._held.popitem(last=False)

    def get(self, digest: str) -> bytes:
        """Return the bytes of a bundle; InputError BUNDLE_NOT_FOUND."""
        with self._lock:
            raw = self._held.get(digest)
            if raw is None:
                with self._store.reading(self._tenant) as tx:
                    raw = tx.bundles.get(digest)
                if raw is None:
                    raise InputError("BUNDLE_NOT_FOUND", "there is no bundle of this digest")
            self._put(digest, raw)
            return raw


def entity_tag(digest: str) -> str:
    """Return the strong ETag of a bundle."""
    return f'"sha256:{digest}"'


def part_of(wanted: str, size: int) -> tuple[int, int] | None:
    """Return start and end (not included) of what a `Range` header asks for.

    None: the whole, also for what is not one range of bytes (RFC 9110 14.2). InputError REQUEST_RANGE for one that
    lies outside.
    """
    found = _RANGE.fullmatch(wanted.replace(" ", ""))
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    if first and last and int(last) < int(first):
        return None
    if start >= end:
        raise InputError("REQUEST_RANGE", f"the bundle has {size} bytes")
    return start, end
