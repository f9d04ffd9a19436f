"""Compact JWS with ES256, signed by whatever holds the device's key (RFC 7515, RFC 7518 section 3.4)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Protocol

__all__ = ["Signer", "compact", "digest", "from_base64url", "payload", "to_base64url"]


class Signer(Protocol):
    """Signs bytes; the signature is r and s, 32 bytes each."""

    def sign(self, content: bytes) -> bytes:
        """Return the ES256 signature."""
        ...


def compact(signer: Signer, claims: Mapping[str, object], *, typ: str, **header: object) -> str:
    """Return a compact JWS over `claims`; `header` adds members such as `kid` or `jwk`."""
    head = {"typ": typ, "alg": "ES256", **header}
    signing_input = f"{_encoded(head)}.{_encoded(claims)}"
    return f"{signing_input}.{to_base64url(signer.sign(signing_input.encode()))}"


def payload(token: str) -> dict[str, object]:
    """Return the claims of a compact JWS without verifying anything; raises ValueError for what is none."""
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("not three parts")
    claims = json.loads(from_base64url(parts[1]))
    if not isinstance(claims, dict):
        raise ValueError("not an object")  # noqa: TRY004 - whoever sent it, not whoever calls
    return claims


def digest(content: bytes) -> str:
    """Return the SHA-256 as base64url: `x5t#S256` of a certificate's DER, and what a proof says of a request."""
    return to_base64url(hashlib.sha256(content).digest())


def to_base64url(raw: bytes) -> str:
    """Encode without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """Decode without padding; raises ValueError for anything that is not base64url."""
    raw = text.encode("ascii")
    return base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)


def _encoded(members: Mapping[str, object]) -> str:
    return to_base64url(json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode())
