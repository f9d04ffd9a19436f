"""The signed statement for a backend that does not want to trust headers alone (`Zt-Assertion`, a compact JWS)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from zt_engine.core.errors import ConfigError, Problem

TYPE = "zt-assertion+jwt"


class Asserter:
    """Signs who was let through, to which service, with which label, for at most a minute or so."""

    def __init__(self, key: Ed25519PrivateKey, *, sidecar: str, seconds: int) -> None:
        self._key = key
        self._sidecar = sidecar
        self._seconds = seconds

    def __repr__(self) -> str:
        return f"Asserter({self._sidecar!r})"

    def sign(
        self, *, audience: str, subject: str, device: str, groups: Sequence[str], label: str, trust: int, issued_at: int
    ) -> str:
        """Return the compact JWS; `aud` is the service, so that one backend cannot replay it to another."""
        claims = {
            "iss": self._sidecar,
            "aud": audience,
            "sub": subject,
            "device": device,
            "groups": list(groups),
            "label": label,
            "trust": trust,
            "iat": issued_at,
            "exp": issued_at + self._seconds,
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"typ": TYPE})


def load_asserter(path: Path, *, sidecar: str, seconds: int) -> Asserter:
    """Read the Ed25519 key of a PEM file; raises ConfigError CONFIG_FILE."""
    try:
        if path.stat().st_mode & 0o077:
            hint = f"chmod 600 {path}"
            message = "group or others may use this key"
            raise ConfigError((Problem(code="CONFIG_FILE", message=message, where=str(path), hint=hint),))
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise ConfigError((Problem(code="CONFIG_FILE", message=str(error), where=str(path)),)) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError((Problem(code="CONFIG_FILE", message="not an Ed25519 private key", where=str(path)),))
    return Asserter(key, sidecar=sidecar, seconds=seconds)
