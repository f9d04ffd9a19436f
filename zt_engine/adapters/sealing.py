"""Secrets that have to be kept: AES-256-GCM (NIST SP 800-38D) under a key from a file, each tied to its owner."""

from __future__ import annotations

import base64
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zt_engine.core.errors import UnavailableError

NONCE: Final = 12


class FileSealer:
    """Seals under a secret of at least 16 bytes."""

    def __init__(self, secret: bytes) -> None:
        key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"zt session refresh").derive(secret)
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return "FileSealer(...)"

    def seal(self, text: str, *, about: str) -> str:
        """Encrypt; `about` has to be the same when it is opened."""
        nonce = os.urandom(NONCE)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, text.encode(), about.encode())).decode("ascii")

    def open(self, sealed: str, *, about: str) -> str:
        """Decrypt, or raise UnavailableError SIGN_IN_SEALED: another key, another owner, or another text."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            return self._cipher.decrypt(raw[:NONCE], raw[NONCE:], about.encode()).decode()
        except (ValueError, InvalidTag):
            raise UnavailableError("SIGN_IN_SEALED", "what was kept of the sign-in cannot be opened") from None
