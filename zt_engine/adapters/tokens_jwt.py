"""Access tokens, verified with PyJWT, and the cache of those that were.

What is cached is what a verification would return again: an entry is used only while the token's times hold, the
issuer's keys are usable, and the very key that verified it is still in the set. Refusals are not cached, so garbage
costs time, never memory. Revocation is checked by the caller, on every request, cached or not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm

from zt_engine.adapters.keys_jwks import KeySource, PublicKey
from zt_engine.core.access_token import check_header, issuer_of, read_claims
from zt_engine.core.errors import InputError
from zt_engine.core.identity import VerifiedToken
from zt_engine.core.issuer import ALGORITHMS, IssuerConfig
from zt_engine.core.jose import MAX_TOKEN_BYTES, CompactJws, split_compact

CACHE_ENTRIES = 16_384
CACHE_BYTES = 32 * 1024 * 1024
"""Of token bytes; an entry with its parsed claims takes three to five times that."""

_SIGNATURES = jwt.PyJWS(algorithms=ALGORITHMS)


class TrustedIssuer(msgspec.Struct, frozen=True):
    """An issuer and the only keys that speak for it (RFC 8725 section 3.8)."""

    config: IssuerConfig
    keys: KeySource


class _Held(msgspec.Struct, kw_only=True):
    """A cached verification: usable from `opens` until before `closes`, while the key set has `version`."""

    token: VerifiedToken
    opens: int
    closes: float
    source: KeySource
    version: int
    algorithm: str
    key_id: str | None
    thumbprint: str


class JwtVerifier:
    """The `TokenVerifier` for signed JWTs. One event loop; a hit is one dictionary lookup and three comparisons."""

    def __init__(
        self, issuers: Sequence[TrustedIssuer], *, entries: int = CACHE_ENTRIES, max_bytes: int = CACHE_BYTES
    ) -> None:
        self._issuers = {issuer.config.issuer: issuer for issuer in issuers}
        if len(self._issuers) != len(issuers):
            raise ValueError("an issuer is configured twice")
        self._entries = entries
        self._max_bytes = max_bytes
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"JwtVerifier({len(self._issuers)} issuers, {len(self._held)} tokens)"

    @property
    def size(self) -> int:
        """How many tokens are remembered."""
        return len(self._held)

    def config(self, issuer: str) -> IssuerConfig:
        """Return the configuration of the issuer of a verified token."""
        return self._issuers[issuer].config

    def verify(self, token: bytes, *, now: float) -> VerifiedToken:
        """Return the verified token.

        Raises InputError: TOKEN_TOO_LARGE, TOKEN_MALFORMED, TOKEN_ISSUER_UNKNOWN, TOKEN_TYPE, TOKEN_ALG,
        TOKEN_KEY_UNKNOWN, TOKEN_SIGNATURE, TOKEN_CLAIMS, TOKEN_AUDIENCE, TOKEN_EXPIRED, TOKEN_NOT_YET_VALID,
        TOKEN_BINDING_UNSUPPORTED; UnavailableError KEYS_UNAVAILABLE.
        """
        held = self._held.get(token)
        if held is not None:
            if held.opens <= now < held.closes and held.version == held.source.version:
                return held.token
            if self._renewed(token, held, now):
                return held.token
        return self._verify(token, now)

    def _renewed(self, token: bytes, held: _Held, now: float) -> bool:
        """Keep an entry over a change of the key set when its own key stayed; drop it otherwise."""
        source = held.source
        if held.opens <= now < held.token.expires_at and now < source.usable_until:
            try:
                stayed = source.current.find(held.key_id, held.algorithm).thumbprint == held.thumbprint
            except InputError:
                stayed = False
            if stayed:
                held.version = source.version
                held.closes = min(held.token.expires_at, source.usable_until)
                return True
        del self._held[token]
        self._bytes -= len(token)
        return False

    def _verify(self, token: bytes, now: float) -> VerifiedToken:
        parts = split_compact(
            token, max_bytes=MAX_TOKEN_BYTES, malformed="TOKEN_MALFORMED", too_large="TOKEN_TOO_LARGE"
        )
        issuer = self._issuers.get(issuer_of(parts.claims))
        if issuer is None:
            raise InputError("TOKEN_ISSUER_UNKNOWN", "the token's issuer is not trusted here")
        algorithm, key_id = check_header(parts.header, issuer.config)
        try:
            key = issuer.keys.keys(now).find(key_id, algorithm)
        except InputError as error:
            if error.code == "TOKEN_KEY_UNKNOWN":
                issuer.keys.ask()
            raise
        if not signature_holds(parts, key.public, algorithm):
            raise InputError("TOKEN_SIGNATURE", "the signature was not made by the issuer's key")
        verified = read_claims(parts.claims, issuer.config, key_id=key_id or "", token=token, now=now)
        self._keep(
            token,
            _Held(
                token=verified,
                opens=verified.not_before - issuer.config.skew,
                closes=min(verified.expires_at, issuer.keys.usable_until),
                source=issuer.keys,
                version=issuer.keys.version,
                algorithm=algorithm,
                key_id=key_id,
                thumbprint=key.thumbprint,
            ),
        )
        return verified

    def _keep(self, token: bytes, held: _Held) -> None:
        """Remember a verification; the oldest make room."""
        self._held[token] = held
        self._bytes += len(token)
        while self._held and (len(self._held) > self._entries or self._bytes > self._max_bytes):
            dropped, _ = self._held.popitem(last=False)
            self._bytes -= len(dropped)


def signature_holds(parts: CompactJws, key: PublicKey, algorithm: str) -> bool:
    """Whether PyJWT finds the signature to be made by `key` with `algorithm`, which the caller has allowed."""
    try:
        implementation = _SIGNATURES.get_algorithm_by_name(algorithm)
        return implementation.verify(parts.signing_input, implementation.prepare_key(key), parts.signature)
    except (jwt.PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        return False
