"""The keys that sign bundles and releases, read from PEM: P-256 (ES256) or Ed25519 (EdDSA), nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from zt_engine.core.errors import ConfigError, Problem

_Private: TypeAlias = "ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey"
_Public: TypeAlias = "ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey"
_HALF = 32
"""Bytes of r and of s for P-256 (RFC 7518 3.4)."""


class BundlePublicKey:
    """Verifies with one key under one algorithm."""

    def __init__(self, key: _Public) -> None:
        self._key = key
        self.algorithm = "EdDSA" if isinstance(key, ed25519.Ed25519PublicKey) else "ES256"

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made this signature; a signature of the wrong length is simply not one."""
        if len(signature) != 2 * _HALF:
            return False
        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, message)
            else:
                r, s = int.from_bytes(signature[:_HALF]), int.from_bytes(signature[_HALF:])
                self._key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True

    def pem(self) -> str:
        """The key as SubjectPublicKeyInfo, the form OPA's `keys` configuration takes."""
        encoded = self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return encoded.decode()


class BundleSigningKey:
    """Signs with one key; signatures are deterministic (RFC 6979, RFC 8032), so a signed build is reproducible."""

    def __init__(self, key_id: str, key: _Private) -> None:
        self.key_id = key_id
        self._key = key
        self.algorithm = "EdDSA" if isinstance(key, ed25519.Ed25519PrivateKey) else "ES256"

    def __repr__(self) -> str:
        return f"BundleSigningKey({self.key_id!r}, {self.algorithm})"

    @classmethod
    def generate(cls, key_id: str) -> BundleSigningKey:
        """Make a new P-256 key, which a stock OPA can verify with."""
        return cls(key_id, ec.generate_private_key(ec.SECP256R1()))

    def sign(self, message: bytes) -> bytes:
        """Return the raw signature."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
        return r.to_bytes(_HALF) + s.to_bytes(_HALF)

    def public(self) -> BundlePublicKey:
        """Return the half that verifies."""
        return BundlePublicKey(self._key.public_key())

    def pem(self) -> bytes:
        """The private key as PKCS #8, unencrypted: for a file that only its owner may read."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def load_signing_key(pem: bytes, *, key_id: str, where: str) -> BundleSigningKey:
    """Read a private key; ConfigError BUNDLE_KEY_MALFORMED says what it is instead, never what is in it."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise _refuse("not an unencrypted PEM private key", where) from None
    if isinstance(key, ed25519.Ed25519PrivateKey) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return BundleSigningKey(key_id, key)
    raise _refuse("neither a P-256 nor an Ed25519 key", where)


def load_public_keys(pems: Mapping[str, bytes]) -> dict[str, BundlePublicKey]:
    """Read public keys by key id; where several are bad, all of them are named."""
    keys: dict[str, BundlePublicKey] = {}
    problems: list[Problem] = []
    for key_id, pem in pems.items():
        try:
            keys[key_id] = _public_key(pem, where=key_id)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(tuple(problems))
    return keys


def _public_key(pem: bytes, *, where: str) -> BundlePublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError:
        raise _refuse("not a PEM public key", where) from None
    if isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return BundlePublicKey(key)
    raise _refuse("neither a P-256 nor an Ed25519 key", where)


def _refuse(message: str, where: str) -> ConfigError:
    hint = "openssl ecparam -name prime256v1 -genkey -noout -out bundle-key.pem"
    return ConfigError((Problem(code="BUNDLE_KEY_MALFORMED", message=message, where=where, hint=hint),))
