"""What devices sign: compact JWS, read strictly, verified by the key the inventory or the message itself names.

The algorithm is the key's, and the header may only say the same. An embedded key proves that whoever sent it holds it
and nothing else: whose it is, the caller knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zt_engine.adapters.keys_jwks import PublicKey, public_key
from zt_engine.adapters.tokens_jwt import signature_holds
from zt_engine.core.errors import InputError
from zt_engine.core.jose import PRIVATE_MEMBERS, CompactJws, is_digest, split_compact
from zt_engine.ports.credentials import SignedReport

MAX_BYTES: Final = 256 * 1024
"""Room for a full report with its helper's and a quote."""
ALGORITHMS: Final = ("ES256", "ES384", "EdDSA", "PS256", "RS256")
_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "EC": ("kty", "crv", "x", "y"),
    "OKP": ("kty", "crv", "x"),
    "RSA": ("kty", "n", "e"),
}


class DeviceJws:
    """The `JwsVerifier`. It holds no state."""

    def claimed_key(self, token: bytes) -> str:
        """Return the `kid` of a JWS, not verified yet; InputError PROOF_MALFORMED, PROOF_TOO_LARGE."""
        key_id = _split(token).header.get("kid")
        if not isinstance(key_id, str) or not is_digest(key_id):
            raise InputError("PROOF_MALFORMED", "`kid` is no SHA-256 in base64url")
        return key_id

    def verify(self, token: bytes, *, jwk: Mapping[str, str], typ: str) -> SignedReport:
        """Return what was signed with the key; InputError PROOF_MALFORMED, PROOF_TYPE, PROOF_SIGNATURE."""
        parts = _split(token)
        _check_type(parts, typ)
        return _verified(parts, jwk)

    def embedded(self, token: bytes, *, typ: str) -> tuple[Mapping[str, str], SignedReport]:
        """Verify under the public key the header carries (`jwk`), and return both."""
        parts = _split(token)
        _check_type(parts, typ)
        carried = parts.header.get("jwk")
        if not isinstance(carried, dict) or not PRIVATE_MEMBERS.isdisjoint(carried):
            raise InputError("PROOF_MALFORMED", "the header carries no public key as `jwk`")
        return _members(carried), _verified(parts, carried)


def _split(token: bytes) -> CompactJws:
    return split_compact(token, max_bytes=MAX_BYTES, malformed="PROOF_MALFORMED", too_large="PROOF_TOO_LARGE")


def _check_type(parts: CompactJws, typ: str) -> None:
    if parts.header.get("typ") != typ:
        raise InputError("PROOF_TYPE", f"`typ` is not `{typ}`")


def _verified(parts: CompactJws, jwk: Mapping[str, object]) -> SignedReport:
    found = public_key(jwk, ALGORITHMS)
    algorithm = parts.header.get("alg")
    if found is None or not isinstance(algorithm, str) or algorithm not in found[1]:
        raise InputError("PROOF_SIGNATURE", "the key is weak or does not fit the algorithm")
    key: PublicKey = found[0]
    if not signature_holds(parts, key, algorithm):
        raise InputError("PROOF_SIGNATURE", "the signature was not made by this key")
    return SignedReport(header=parts.header, claims=parts.claims)


def _members(jwk: Mapping[str, object]) -> dict[str, str]:
    """Return a key without `kid`, `use` and whatever else its holder wrote to it."""
    names = _MEMBERS.get(str(jwk.get("kty")), ())
    return {name: str(jwk[name]) for name in names if name in jwk}
