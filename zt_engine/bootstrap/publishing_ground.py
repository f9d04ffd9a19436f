"""What publishers and approvers bring: the keys they believe, and the key they sign with."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from zt_engine.adapters.bundle_signing import BundlePublicKey, load_public_keys
from zt_engine.config import Settings
from zt_engine.core.errors import ConfigError, Problem


def believed_keys(settings: Settings) -> dict[str, BundlePublicKey]:
    """Return the bundle keys of `policy.keys`, by their ids."""
    pems: dict[str, bytes] = {}
    for path in settings.policy.keys:
        pems[path.name.removesuffix(".pem").removesuffix(".pub")] = _bytes(settings.path(path))
    return load_public_keys(pems)


def approver_key(path: Path) -> Ed25519PrivateKey:
    """Return a person's key; ConfigError APPROVER_KEY says what it is not, never what is in it."""
    try:
        key = load_pem_private_key(_bytes(path), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        text, hint = "no unencrypted Ed25519 private key (PEM)", "openssl genpkey -algorithm ed25519 -out approver.pem"
        raise ConfigError((Problem(code="APPROVER_KEY", message=text, where=str(path), hint=hint),))
    return key


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError((Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(path)),)) from None
