"""DPoP proofs verified with PyJWT, and the memory that makes each of them good for one request (RFC 9449).

A proxy may send the same question twice when a kept-alive connection dies under it. The copy carries the request id
the proxy gave the request, so it is told from a replay: same proof and same request id is the same request.

The memory is this process's own. What was used before it began is not in it, so no proof made before then counts; its
client makes another. Several sidecars behind one address remember each for themselves: a proof counts once at each.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, OrderedDict

import msgspec

from zt_engine.adapters.keys_jwks import PublicKey, public_key
from zt_engine.adapters.tokens_jwt import signature_holds
from zt_engine.core.dpop import MAX_AGE, MAX_AHEAD, Proof, check_claims, check_header, normal_target
from zt_engine.core.errors import InputError
from zt_engine.core.jose import split_compact, thumbprint, to_base64url

ALGORITHMS = ("ES256", "EdDSA", "PS256", "RS256")
MAX_PROOF_BYTES = 8 * 1024
REPLAY_ENTRIES = 262_144
SHARES = 64
"""How many holders of tokens, and how many keys, it takes at least to fill the memory: 4,096 proofs for each of them,
about 60 a second. Full, the memory takes some 140 MB."""
KEY_ENTRIES = 4096
_KEPT = MAX_AGE + MAX_AHEAD + 1
"""Seconds a proof is remembered: longer than any proof is accepted after its first use."""


class _Use(msgspec.Struct, frozen=True):
    """The one use of a proof."""

    request_id: str
    proof: bytes
    until: float
    issued_at: float
    jkt: str
    holder: str


class ReplayMemory:
    """Remembers the proofs of the last minute. Full, it refuses: forgetting one would be accepting it twice.

    Neither one key nor one holder of tokens, with however many keys, may fill more than a share of it, so that one
    client cannot shut out the others.
    """

    def __init__(self, entries: int = REPLAY_ENTRIES, *, shares: int = SHARES) -> None:
        self._entries = entries
        self._share = max(1, entries // shares)
        self._uses: OrderedDict[bytes, _Use] = OrderedDict()
        self._by_key: Counter[str] = Counter()
        self._by_holder: Counter[str] = Counter()
        self._forgotten_until = -math.inf

    @property
    def size(self) -> int:
        """How many proofs are remembered."""
        return len(self._uses)

    def use(self, proof: Proof, *, jkt: str, holder: str, digest: bytes, request_id: str, now: float) -> None:
        """Use a proof; raises InputError DPOP_REPLAY, DPOP_STALE or DPOP_CACHE_FULL. No request id matches nothing."""
        self._forget(now)
        key = hashlib.sha256(json.dumps([proof.id, jkt, proof.target]).encode()).digest()
        used = self._uses.get(key)
        if used is not None:
            if request_id and used.request_id == request_id and used.proof == digest:
                return
            raise InputError("DPOP_REPLAY", "the proof was used before")
        if proof.issued_at <= self._forgotten_until:
            # Only after the clock was set back: this may be a proof whose use is already forgotten.
            raise InputError("DPOP_STALE", "the proof is older than the memory of used proofs")
        if len(self._uses) >= self._entries or max(self._by_key[jkt], self._by_holder[holder]) >= self._share:
            raise InputError("DPOP_CACHE_FULL", "too many proofs were used within a minute")
        self._uses[key] = _Use(request_id, digest, now + _KEPT, proof.issued_at, jkt, holder)
        self._by_key[jkt] += 1
        self._by_holder[holder] += 1

    def _forget(self, now: float) -> None:
        """Drop what no clock would accept any more; entries leave in the order they came."""
        while self._uses:
            key, used = next(iter(self._uses.items()))
            if used.until > now:
                return
            del self._uses[key]
            self._forgotten_until = max(self._forgotten_until, used.issued_at)
            _take_one(self._by_key, used.jkt)
            _take_one(self._by_holder, used.holder)


def _take_one(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]


class JwtDpopVerifier:
    """The `DpopVerifier` for proofs with an embedded public key. One event loop."""

    def __init__(
        self,
        *,
        not_before: float,
        algorithms: tuple[str, ...] = ALGORITHMS,
        entries: int = REPLAY_ENTRIES,
        shares: int = SHARES,
    ) -> None:
        """`not_before` is when this process began: it cannot know which older proofs were used."""
        self._not_before = not_before
        self._algorithms = algorithms
        self._memory = ReplayMemory(entries, shares=shares)
        self._keys: OrderedDict[bytes, tuple[str, PublicKey, str]] = OrderedDict()

    def __repr__(self) -> str:
        return f"JwtDpopVerifier({self._memory.size} proofs)"

    def began(self, now: float) -> None:
        """Believe no proof made before now: until now, another process used proofs that this one does not know."""
        self._not_before = max(self._not_before, now)

    def verify(
        self,
        proof: bytes,
        *,
        token: bytes,
        method: str,
        url: str,
        request_id: str,
        now: float,
        jkt: str | None = None,
        holder: str | None = None,
    ) -> str:
        """Return the thumbprint of the key that signed `proof` for this request and token.

        `url` is scheme, host and raw path. Verify the token first and pass its `cnf.jkt` as `jkt`, so that only holders
        of a token take room in the replay memory. `holder` is whose token it is; without it each token is its own.
        Raises InputError: DPOP_TOO_LARGE, DPOP_MALFORMED, DPOP_TYPE, DPOP_ALG, DPOP_KEY, DPOP_SIGNATURE, DPOP_CLAIMS,
        DPOP_METHOD, DPOP_TARGET, DPOP_TOKEN_MISMATCH, DPOP_STALE, DPOP_BEFORE_START, DPOP_FUTURE, DPOP_KEY_MISMATCH,
        DPOP_REPLAY, DPOP_CACHE_FULL.
        """
        parts = split_compact(proof, max_bytes=MAX_PROOF_BYTES, malformed="DPOP_MALFORMED", too_large="DPOP_TOO_LARGE")
        head = proof[: proof.index(b".")]
        algorithm, key, proven = self._keys.get(head) or self._read_key(parts.header)
        if jkt is not None and jkt != proven:
            raise InputError("DPOP_KEY_MISMATCH", "the proof was made with another key than the token is bound to")
        token_digest = to_base64url(hashlib.sha256(token).digest())
        read = check_claims(parts.claims, method=method, target=normal_target(url), token_digest=token_digest, now=now)
        if read.issued_at < self._not_before:
            raise InputError("DPOP_BEFORE_START", "the proof was made before this process began")
        if not signature_holds(parts, key, algorithm):
            raise InputError("DPOP_SIGNATURE", "the signature was not made by the proof's key")
        self._remember(head, (algorithm, key, proven))
        digest = hashlib.sha256(proof).digest()
        self._memory.use(read, jkt=proven, holder=holder or token_digest, digest=digest, request_id=request_id, now=now)
        return proven

    def _read_key(self, header: dict[str, object]) -> tuple[str, PublicKey, str]:
        algorithm, jwk = check_header(header, self._algorithms)
        found = public_key(jwk, (algorithm,))
        if found is None:
            raise InputError("DPOP_KEY", "`jwk` is weak, malformed or does not fit the algorithm")
        return algorithm, found[0], thumbprint(jwk)

    def _remember(self, head: bytes, key: tuple[str, PublicKey, str]) -> None:
        """Keep the parsed key of a header that has made a valid signature; clients repeat theirs byte for byte."""
        self._keys[head] = key
        if len(self._keys) > KEY_ENTRIES:
            self._keys.popitem(last=False)
