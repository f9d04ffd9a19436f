"""Secrets that have to be kept: AES-256-GCM (NIST SP 800-38D) under a key from a file, each tied to its owner."""

from __future__ import annotations

import base64
import contextlib
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zt_engine.core.errors import UnavailableError

NONCE: Final = 12


class FileSealer:
    """Seals under the first of its secrets, which have at least 16 bytes each; what the others sealed still opens."""

    def __init__(self, *secrets: bytes) -> None:
        if not secrets:
            raise ValueError("no secret to seal with")
        self._ciphers = tuple(AESGCM(_key(secret)) for secret in secrets)

    def __repr__(self) -> str:
        return "FileSealer(...)"

    def seal(self, text: str, *, about: str) -> str:
        """Encrypt; `about` has to be the same when it is opened."""
        nonce = os.urandom(NONCE)
        return base64.b64encode(nonce + self._ciphers[0].encrypt(nonce, text.encode(), about.encode())).decode("ascii")

    def open(self, sealed: str, *, about: str) -> str:
        """Decrypt, or raise UnavailableError SIGN_IN_SEALED: a key that is gone, another owner, or another text."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            for cipher in self._ciphers:
                with contextlib.suppress(InvalidTag):
                    return cipher.decrypt(raw[:NONCE], raw[NONCE:], about.encode()).decode()
        except ValueError:
            pass
        raise UnavailableError("SIGN_IN_SEALED", "what was kept of the sign-in cannot be opened")


def _key(secret: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"zt session refresh").derive(secret)
