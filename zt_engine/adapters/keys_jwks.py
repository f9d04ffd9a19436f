"""JSON Web Key Sets: what may verify an issuer's tokens, and how that is kept fresh off the request path.

INVARIANT: a request never waits for a key set. An unknown key id is refused at once and, at most once a minute per
issuer, makes a refresh due; whoever runs the background loop calls `refresh` on every source that is `due`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.jose import PRIVATE_MEMBERS, from_base64url, thumbprint
from zt_engine.core.strict_json import read_object

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

MAX_SET_BYTES = 256 * 1024
MAX_KEYS = 256
MIN_FRESH, DEFAULT_FRESH, MAX_FRESH = 300, 3600, 86_400
RETRY_AFTER = 60
"""Seconds between two attempts, whatever asks for them."""

_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA_ALGORITHMS = ("PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192
_MAX_EXPONENT_BITS = 33


class VerificationKey(msgspec.Struct, frozen=True):
    """One public key and the only algorithms it may verify."""

    key_id: str | None
    thumbprint: str
    algorithms: frozenset[str]
    public: PublicKey

    def __repr__(self) -> str:
        return f"VerificationKey(key_id={self.key_id!r}, thumbprint={self.thumbprint!r})"


class KeySet(msgspec.Struct, frozen=True):
    """An issuer's keys; `version` grows with every change of content and never otherwise."""

    version: int
    keys: tuple[VerificationKey, ...] = ()

    def find(self, key_id: str | None, algorithm: str) -> VerificationKey:
        """Return the one key for a token's header; raises InputError TOKEN_KEY_UNKNOWN or TOKEN_ALG."""
        if key_id is None:  # only where there is nothing to choose between
            candidates = [key for key in self.keys if algorithm in key.algorithms]
        else:
            candidates = [key for key in self.keys if key.key_id == key_id]
        if len(candidates) != 1:
            raise InputError("TOKEN_KEY_UNKNOWN", "no single key of the issuer fits the token")
        if algorithm not in candidates[0].algorithms:
            raise InputError("TOKEN_ALG", "the token's algorithm is not allowed for its key")
        return candidates[0]


def public_key(jwk: Mapping[str, object], allowed: Sequence[str]) -> tuple[PublicKey, frozenset[str]] | None:
    """Return a public JWK's key and the allowed algorithms it fits; None when it is weak, odd or of no use here.

    RSA has 2048 to 8192 bits and a small odd exponent, an EC point lies on the curve of its algorithm (RFC 7518).
    """
    kind, curve = jwk.get("kty"), jwk.get("crv")
    try:
        for member in ("n", "e", "x", "y"):
            if member in jwk:
                _require_canonical(jwk[member])
        if kind == "RSA":
            key: object = RSAAlgorithm.from_jwk(dict(jwk))
            fits: Sequence[str] = _RSA_ALGORITHMS if isinstance(key, RSAPublicKey) and _strong(key) else ()
        elif kind == "EC" and isinstance(curve, str) and curve in _CURVES:
            key, fits = ECAlgorithm.from_jwk(dict(jwk)), (_CURVES[curve],)
        elif kind == "OKP" and curve == "Ed25519":
            key, fits = OKPAlgorithm.from_jwk(dict(jwk)), ("EdDSA",)
        else:
            return None
    except (PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey):
        return None
    named = jwk.get("alg")
    usable = frozenset(name for name in fits if name in allowed and named in (None, name))
    return (key, usable) if usable else None


def _require_canonical(value: object) -> None:
    if not isinstance(value, str) or not from_base64url(value):
        raise ValueError("a member of the key is no base64url text")


def _strong(key: RSAPublicKey) -> bool:
    exponent = key.public_numbers().e
    return _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS and exponent.bit_length() <= _MAX_EXPONENT_BITS


def read_key_set(raw: bytes, *, algorithms: Sequence[str]) -> tuple[VerificationKey, ...]:
    """Return the keys of a JWKS that may verify signatures; keys for other uses and of unknown types are left out.

    Raises UnavailableError KEYS_TOO_LARGE, KEYS_MALFORMED, KEYS_PRIVATE (private or symmetric members: the issuer has
    lost its keys, nothing in the set can be believed) or KEYS_AMBIGUOUS (two keys under one id).
    """
    if len(raw) > MAX_SET_BYTES:
        raise UnavailableError("KEYS_TOO_LARGE", f"the key set is larger than {MAX_SET_BYTES} bytes")
    try:
        entries = read_object(raw).get("keys")
    except ValueError as error:
        raise UnavailableError("KEYS_MALFORMED", f"the key set is {error}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnavailableError("KEYS_MALFORMED", "the key set has no list `keys` of objects")
    if len(entries) > MAX_KEYS:
        raise UnavailableError("KEYS_TOO_LARGE", f"the key set has more than {MAX_KEYS} keys")
    if any(not PRIVATE_MEMBERS.isdisjoint(entry) for entry in entries):
        raise UnavailableError(
            "KEYS_PRIVATE", "the key set holds a private or symmetric key", hint="replace the issuer's keys"
        )
    keys: dict[str | None, VerificationKey] = {}
    nameless: list[VerificationKey] = []
    for entry in entries:
        key = _entry(entry, algorithms)
        if key is None:
            continue
        if key.key_id is None:
            nameless.append(key)
        elif keys.setdefault(key.key_id, key).thumbprint != key.thumbprint:
            raise UnavailableError("KEYS_AMBIGUOUS", "two keys of the set have the same `kid`")
    return (*keys.values(), *nameless)


def _entry(entry: Mapping[str, object], algorithms: Sequence[str]) -> VerificationKey | None:
    operations = entry.get("key_ops")
    if entry.get("use", "sig") != "sig":
        return None
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return None
    key_id = entry.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        return None
    found = public_key(entry, algorithms)
    if found is None:
        return None
    return VerificationKey(key_id, thumbprint(entry), found[1], found[0])


class Fetched(msgspec.Struct, frozen=True):
    """The bytes of a key set and how long they may be used without asking again (None: nobody said)."""

    body: bytes
    max_age: int | None = None


class KeySource:
    """The current keys of one issuer, from a file or URL.

    `fetch` raises UnavailableError with a KEYS_ code. A failed refresh keeps the last good set until `hard_limit`
    seconds after it was fetched; None for a file, which is there or was never read. `changed` says that there is
    something new to read, so that a key taken out of a file is gone within a second. Not thread-safe: one event loop.
    """

    __slots__ = (
        "_algorithms",
        "_asked",
        "_attempted_at",
        "_changed",
        "_fetch",
        "_flight",
        "_fresh_until",
        "_hard_limit",
        "current",
        "fetched_at",
        "problem",
        "usable_until",
        "version",
    )

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Fetched]],
        *,
        algorithms: Sequence[str],
        hard_limit: int | None = MAX_FRESH,
        changed: Callable[[], bool] = lambda: False,
    ) -> None:
        self._fetch = fetch
        self._changed = changed
        self._algorithms = tuple(algorithms)
        self._hard_limit = math.inf if hard_limit is None else hard_limit
        self._flight: asyncio.Task[KeySet] | None = None
        self._asked = False
        self._attempted_at = -math.inf
        self._fresh_until = -math.inf
        self.current = KeySet(version=0)
        self.fetched_at = -math.inf
        self.version = 0
        """The version of `current`, where the token cache can read it in one step."""
        self.usable_until = -math.inf
        self.problem = ""
        """The code of the last refresh that failed, or empty."""

    def keys(self, now: float) -> KeySet:
        """Return the current set; raises UnavailableError KEYS_UNAVAILABLE before the first and past the hard limit."""
        if now >= self.usable_until:
            raise UnavailableError("KEYS_UNAVAILABLE", "the issuer's keys could not be fetched for too long")
        return self.current

    def ask(self) -> None:
        """Note that a token named a key we do not have; `due` spaces what follows from it."""
        self._asked = True

    def due(self, now: float) -> bool:
        """Whether to call `refresh` now: keys changed or went stale, or somebody asked (at most once a minute)."""
        if self._flight is not None:
            return False
        if self._changed():
            return True
        if self._attempted_at <= now < self._attempted_at + RETRY_AFTER:
            return False
        return self._asked or now >= self._fresh_until or now < self._attempted_at  # the clock was set back

    async def refresh(self, now: float) -> KeySet:
        """Fetch and take up the set. Concurrent calls share one fetch. Raises UnavailableError; the old set stays."""
        if self._flight is None:
            self._flight = asyncio.create_task(self._refresh(now))
            self._flight.add_done_callback(self._landed)
        return await asyncio.shield(self._flight)

    def _landed(self, flight: asyncio.Task[KeySet]) -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # whoever waited has it; if nobody does, asyncio must not report it as lost

    async def _refresh(self, now: float) -> KeySet:
        if now < self._attempted_at:  # a clock set back must not stretch the hard limit
            self.usable_until = min(self.usable_until, now + self._hard_limit)
        self._attempted_at = now
        self._asked = False
        try:
            fetched = await self._fetch()
            keys = read_key_set(fetched.body, algorithms=self._algorithms)
        except UnavailableError as error:
            self.problem = error.code
            raise
        self._take_up(keys, fetched.max_age, now)
        return self.current

    def _take_up(self, keys: tuple[VerificationKey, ...], max_age: int | None, now: float) -> None:
        """INVARIANT: a key that a successful fetch does not show is gone from this moment on."""
        if self.version == 0 or keys != self.current.keys:
            self.version += 1
            self.current = KeySet(self.version, keys)
        age = DEFAULT_FRESH if max_age is None else max_age
        self.fetched_at = now
        self._fresh_until = now + min(max(age, MIN_FRESH), MAX_FRESH)
        self.usable_until = now + self._hard_limit
        self.problem = "" if keys else "KEYS_EMPTY"


async def refresh_due(sources: Sequence[KeySource], now: float) -> tuple[UnavailableError, ...]:
    """Refresh every source that is due and return what failed; the background loop calls it about once a second."""
    due = [source for source in sources if source.due(now)]
    results = await asyncio.gather(*(source.refresh(now) for source in due), return_exceptions=True)
    failed: list[UnavailableError] = []
    for result in results:
        if isinstance(result, UnavailableError):
            failed.append(result)
        elif isinstance(result, BaseException):
            raise result
    return tuple(failed)
