"""A key in a file that only its owner may read: whoever copies the file has the key, and its label says so."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from device_inventory.agent.csr import make_csr, public_jwk, raw_signature
from device_inventory.agent.errors import AgentError
from device_inventory.agent.state import Home, KeyProtection, KeyRef


class FileKey:
    """A P-256 key in PKCS #8."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.protection: KeyProtection = "file"
        self.public_jwk: Mapping[str, str] = public_jwk(private.public_key())

    @classmethod
    def make(cls, home: Home, ref: KeyRef) -> Self:
        """Make the key, unless it is there."""
        if home.read(ref.name) is None:
            private = ec.generate_private_key(ec.SECP256R1())
            home.write(ref.name, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return cls.open(home, ref)

    @classmethod
    def open(cls, home: Home, ref: KeyRef) -> Self:
        """Read the key; AGENT_KEY_MISSING, AGENT_KEY_OPEN when others may read it, AGENT_KEY_CORRUPT."""
        path = home.path / ref.name
        pem = home.read(ref.name)
        if pem is None:
            raise AgentError("AGENT_KEY_MISSING", "there is no such file", where=str(path))
        held = path.stat()
        if held.st_mode & 0o077 or held.st_uid != os.getuid():
            raise AgentError("AGENT_KEY_OPEN", "others than you may read or change it", where=str(path))
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise AgentError("AGENT_KEY_CORRUPT", "it is no private key", where=str(path)) from None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise AgentError("AGENT_KEY_CORRUPT", "it is no P-256 key", where=str(path))
        return cls(private)

    def sign(self, content: bytes) -> bytes:
        """Return the ES256 signature."""
        return raw_signature(self._private.sign(content, ec.ECDSA(hashes.SHA256())))

    def csr(self, name: str) -> str:
        """Return a certificate signing request in PEM."""
        return make_csr(self, self._private.public_key(), name)

    def __repr__(self) -> str:
        return "FileKey(...)"
