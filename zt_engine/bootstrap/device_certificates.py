"""Client certificates of devices, before and after there are CAs that vouch for them."""

from __future__ import annotations

from zt_engine.adapters.certificates_x509 import X509CertificateVerifier
from zt_engine.core.errors import InputError
from zt_engine.core.identity import VerifiedCertificate


class DeviceCertificates:
    """The `CertificateVerifier` of the sidecar: trusts nobody until the first set of device CAs has been read."""

    def __init__(self) -> None:
        self._verifier: X509CertificateVerifier | None = None

    def verify(self, escaped_pem: bytes, *, now: float) -> VerifiedCertificate:
        """Return the verified certificate, or raise InputError with a CERT_ code."""
        if self._verifier is None:
            raise InputError("CERT_UNTRUSTED", "no device CA has been loaded")
        return self._verifier.verify(escaped_pem, now=now)

    def replace(self, authorities: bytes, *, where: str) -> None:
        """Take up another set of CAs; raises ConfigError and keeps the old one."""
        if self._verifier is None:
            self._verifier = X509CertificateVerifier(authorities, where=where)
        else:
            self._verifier.replace(authorities, where=where)
