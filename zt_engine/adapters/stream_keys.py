"""Keys of the change stream: Ed25519, named by the thumbprint of their public half (RFC 7638, RFC 8037).

The control plane signs the stream with one. A sidecar signs with another that it is itself: a statement for a minute
(`zt-sidecar+jwt`), addressed to one control plane.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from zt_engine.adapters.bundle_signing import BundlePublicKey, BundleSigningKey
from zt_engine.core.bundle_signature import PublicKey, SigningKey, sign
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.jose import from_base64url, thumbprint, to_base64url
from zt_engine.core.stream import SIDECAR_TYPE

STATEMENT_SECONDS = 60


class StreamKey:
    """A private key of the stream, with its public half as a JWK."""

    algorithm = "EdDSA"

    def __init__(self, key: Ed25519PrivateKey) -> None:
        raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.jwk: Mapping[str, str] = {"kty": "OKP", "crv": "Ed25519", "x": to_base64url(raw)}
        self.key_id = thumbprint(self.jwk)
        self._key = BundleSigningKey(self.key_id, key)

    def __repr__(self) -> str:
        return f"StreamKey({self.key_id!r})"

    @classmethod
    def generate(cls) -> StreamKey:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, pem: bytes, *, where: str) -> StreamKey:
        """Read a key; ConfigError STREAM_KEY_INVALID says what is wrong, never what is in it."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            hint = f"openssl genpkey -algorithm ed25519 -out {where}"
            message = "not an unencrypted Ed25519 private key in PEM"
            raise ConfigError((Problem(code="STREAM_KEY_INVALID", message=message, where=where, hint=hint),))
        return cls(key)

    def sign(self, message: bytes) -> bytes:
        """Return the raw signature."""
        return self._key.sign(message)

    def public(self) -> PublicKey:
        """Return the half that verifies."""
        return self._key.public()

    def public_pem(self) -> bytes:
        """The public half (PEM)."""
        return self._key.public().pem().encode()

    def pem(self) -> bytes:
        """The private key as PKCS #8, unencrypted: for a file that only its owner may read."""
        return self._key.pem()


def public_keys(jwks: Mapping[str, Mapping[str, str]]) -> dict[str, PublicKey]:
    """Return the keys of a signed set by their ids; one that is not what its id says is left out."""
    found: dict[str, PublicKey] = {}
    for key_id, jwk in jwks.items():
        try:
            if jwk.get("crv") == "Ed25519" and thumbprint(jwk) == key_id:
                found[key_id] = BundlePublicKey(Ed25519PublicKey.from_public_bytes(from_base64url(jwk["x"])))
        except (KeyError, ValueError):
            continue
    return found


def statement(key: SigningKey, *, sidecar: str, audience: str, now: float) -> str:
    """Return what a sidecar proves itself with, for a minute and once."""
    claims = {
        "iss": sidecar,
        "aud": audience,
        "iat": int(now),
        "exp": int(now) + STATEMENT_SECONDS,
        "jti": secrets.token_urlsafe(16),
    }
    return sign(msgspec.json.encode(claims), key, kind=SIDECAR_TYPE)
