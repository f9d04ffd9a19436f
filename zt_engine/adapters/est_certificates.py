"""Certificates as EST passes them around: bags of them, and the one a TLS client came with."""

from __future__ import annotations

from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from zt_engine.adapters.certificates_x509 import X509CertificateVerifier
from zt_engine.adapters.csr_x509 import same_names
from zt_engine.core.errors import InputError
from zt_engine.core.identity import VerifiedCertificate
from zt_engine.ports.credentials import CertificateAuthority


class X509EstCertificates:
    """The `EstCertificates` over the CAs of an authority, read anew each time: they may have been rotated."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self._authority = authority

    def bag(self, pem: bytes) -> bytes:
        """Return PEM certificates as the DER of a certs-only PKCS #7."""
        return pkcs7.serialize_certificates(x509.load_pem_x509_certificates(pem), Encoding.DER)

    def presented(self, pem: bytes, *, now: float) -> VerifiedCertificate:
        """Return the device certificate a TLS client proved to hold, validated anew.

        The listener validated it when the connection was made, against the CAs it knew then.
        """
        # One verifier for each request: it is rare, and the verifier's memory is made for one thread.
        verifier = X509CertificateVerifier(self._authority.authorities(), entries=0)
        return verifier.verify(quote(pem, safe="").encode("ascii"), now=now)

    def same_names(self, csr: bytes, pem: bytes) -> bool:
        """Whether a request asks for the very subject and alternative names of a certificate."""
        try:
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError:
            raise InputError("CERT_MALFORMED", "the certificate cannot be parsed") from None
        return same_names(csr, certificate)
