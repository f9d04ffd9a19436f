"""Which proxy is asking: a key from a file, the user id at the other end of a Unix socket, or a client certificate.

Without one of them, nobody.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

import msgspec

from zt_engine.core.errors import InputError, Problem

Peer = int | tuple[str, ...] | None
"""Who is at the other end of a connection, as the kernel or TLS says: a user id, or the names of a client certificate
that our own CA vouches for (SAN DNS and URI), sorted; None where nobody says."""


class Credential(msgspec.Struct, frozen=True):
    """What one proxy may say: the hosts it speaks for (empty: any), the channel it asserts, what it enforces."""

    name: str
    hook: str
    channel: str
    proof: str
    """How the proxy shows who it is: `key`, `socket` or `mtls`."""
    hosts: frozenset[str] = frozenset()
    enforces: tuple[str, ...] = ()
    key_digests: tuple[bytes, ...] = ()
    """SHA-256 of each accepted key (two while a key rotates): the key itself is not kept."""
    uids: frozenset[int] = frozenset()
    names: frozenset[str] = frozenset()
    """Names of its client certificate, any of which is enough."""
    rego: str = ""
    """The rule that has to allow its requests as well."""

    def __repr__(self) -> str:
        return f"Credential(name={self.name!r}, hook={self.hook!r}, channel={self.channel!r})"


def key_digest(key: bytes) -> bytes:
    """Return what is kept of a key."""
    return hashlib.sha256(key).digest()


def shared_proofs(credentials: Sequence[Credential]) -> tuple[Problem, ...]:
    """Return what two proxies of one hook would both be known by: which of the two asks could not be told apart."""
    problems = []
    for number, one in enumerate(credentials):
        for other in credentials[:number]:
            keys, uids = set(one.key_digests) & set(other.key_digests), one.uids & other.uids
            names = one.names & other.names
            if one.hook != other.hook or not (keys or uids or names):
                continue
            what = "one key" if keys else "user id " + ", ".join(map(str, sorted(uids)))
            what = what if keys or uids else "certificate name " + ", ".join(sorted(names))
            message = f"`{other.name}` and `{one.name}` share {what}"
            problems.append(Problem(code="PROXY_PROOF_SHARED", message=message, where="proxies"))
    return tuple(problems)


class Credentials:
    """All proxies that may ask. Comparison takes the same time for every wrong key (constant-time over all digests)."""

    __slots__ = ("_all", "_last")

    def __init__(self, credentials: Iterable[Credential]) -> None:
        self._all = tuple(credentials)
        self._last: dict[str, tuple[bytes, Credential]] = {}
        """For each hook the key that was right last time: compared in constant time as well, but without hashing."""

    def of(self, key: bytes, *, hook: str, peer: Peer) -> Credential:
        """Return the credential shown, or raise InputError PEP_UNKNOWN. A right peer never forgives a wrong key."""
        if key:
            last = self._last.get(hook)
            if last is not None and hmac.compare_digest(last[0], key):
                return last[1]
            digest = hashlib.sha256(key).digest()
            found = None
            for credential in self._all:
                for known in credential.key_digests:
                    if hmac.compare_digest(known, digest) and credential.hook == hook:
                        found = credential
            if found is not None:
                self._last[hook] = (key, found)
                return found
        elif isinstance(peer, tuple):
            for credential in self._all:
                if credential.hook == hook and not credential.names.isdisjoint(peer):
                    return credential
        elif peer is not None:
            for credential in self._all:
                if peer in credential.uids and credential.hook == hook:
                    return credential
        raise InputError("PEP_UNKNOWN", "no proxy credential was shown")
