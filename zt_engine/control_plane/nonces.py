"""Secrets we hand out: known here by their digests, and a nonce is good once, for one holder and one purpose."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final, Literal

from zt_engine.core.errors import InputError
from zt_engine.ports.inventory import Transaction

Purpose = Literal["key", "report"]

LIFETIME: Final = 60
_BYTES: Final = 16
_MOST: Final = 256


def make_secret() -> str:
    """Return 128 random bits as text that fits a header and a URL."""
    return secrets.token_urlsafe(_BYTES)


def digest(secret: str) -> str:
    """Return what is kept of a secret: the hexadecimal SHA-256 of its text."""
    return hashlib.sha256(secret.encode()).hexdigest()


def hand_out(tx: Transaction, *, purpose: Purpose, holder: str, now: int) -> str:
    """Return a nonce that `holder` may use once for `purpose` within a minute."""
    nonce = make_secret()
    tx.nonces.add(digest(nonce), purpose=purpose, holder=holder, expires_at=now + LIFETIME)
    return nonce


def spend(tx: Transaction, nonce: object, *, purpose: Purpose, holder: str, now: int) -> None:
    """Use a nonce up; NONCE_REFUSED for one that was not handed out for this, is over, or was used."""
    known = isinstance(nonce, str) and 0 < len(nonce) <= _MOST
    if not known or not tx.nonces.use(digest(str(nonce)), purpose=purpose, holder=holder, now=now):
        raise InputError("NONCE_REFUSED", "the nonce was not handed out for this, is over, or was used")
