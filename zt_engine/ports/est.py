"""The seam of the EST server: what it asks of certificates beside having them issued."""

from __future__ import annotations

from typing import Protocol

from zt_engine.core.identity import VerifiedCertificate


class EstCertificates(Protocol):
    """Certificates as EST passes them around."""

    def bag(self, pem: bytes) -> bytes:
        """Return PEM certificates as the DER of a certs-only PKCS #7 (RFC 7030 4.1.3)."""
        ...

    def presented(self, pem: bytes, *, now: float) -> VerifiedCertificate:
        """Return the device certificate a TLS client proved to hold, or raise InputError with a CERT_ code."""
        ...

    def same_names(self, csr: bytes, pem: bytes) -> bool:
        """Whether a request asks for the very subject and alternative names of a certificate (RFC 7030 4.2.2)."""
        ...
