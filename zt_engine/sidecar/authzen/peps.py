"""Which AuthZEN caller asks, and what it may say. INVARIANT: what is not granted is refused, never ignored."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import msgspec


class Pep(msgspec.Struct, frozen=True, kw_only=True):
    """A policy enforcement point with everything it may say; empty means nothing."""

    name: str
    proof: str
    """`key` or `mtls`."""
    key_digests: tuple[bytes, ...] = ()
    certificate: str = ""
    hosts: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    subject_types: frozenset[str] = frozenset()
    amr: frozenset[str] = frozenset()
    acr: frozenset[str] = frozenset()
    statements: frozenset[str] = frozenset()
    channel: str = "open"
    enforces: tuple[str, ...] = ()
    context: bool = True
    searches: bool = False

    def __repr__(self) -> str:
        return f"Pep({self.name!r})"

    @property
    def known_as(self) -> str:
        """How it stands beside proxies: no proxy's name has a colon."""
        return f"authzen:{self.name}"


class Peps:
    """All callers. A wrong key costs the same time whichever it is."""

    def __init__(self, peps: Iterable[Pep]) -> None:
        self._all = tuple(peps)
        self._last: tuple[bytes, Pep] | None = None

    def of_key(self, key: bytes) -> Pep | None:
        """Return whose key this is."""
        last = self._last
        if last is not None and hmac.compare_digest(last[0], key):
            return last[1]
        digest = hashlib.sha256(key).digest()
        found = None
        for pep in self._all:
            for known in pep.key_digests:
                if hmac.compare_digest(known, digest):
                    found = pep
        if found is not None:
            self._last = (key, found)
        return found

    def of_certificate(self, names: Iterable[str]) -> Pep | None:
        """Return whose certificate has these names; None when they are those of two callers."""
        shown = frozenset(names)
        found = [pep for pep in self._all if pep.certificate and pep.certificate in shown]
        return found[0] if len(found) == 1 else None
