"""The certificate authority for devices: short-lived client certificates that name one device and nothing else.

The profile is fixed. A request contributes its key, and not one of its names or extensions.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from device_inventory.inventory import HeldKey, KeyProtection
from zt_engine.adapters.ca_keys import BACKDATED, Authority, digest_of, key_usage
from zt_engine.adapters.csr_x509 import ReadRequest, read_csr
from zt_engine.adapters.der import NULL
from zt_engine.core.errors import UnavailableError
from zt_engine.core.jose import to_base64url
from zt_engine.ports.credentials import CertificateRequest, IssuedCertificate

MAX_LIFETIME: Final = 24 * 3600
"""Certificates are not revoked by a list, so none lives longer than this (RFC 9608)."""

_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # as X.509 has room for in a common name
_NO_REVOCATION = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.56"), NULL)


class X509CertificateAuthority:
    """The `CertificateAuthority` that signs here. `replace` takes up another set of CAs, as after a rotation."""

    def __init__(self, authorities: Sequence[Authority]) -> None:
        self.replace(authorities)

    def __repr__(self) -> str:
        return f"X509CertificateAuthority({', '.join(authority.id for authority in self._authorities)})"

    def replace(self, authorities: Sequence[Authority]) -> None:
        """Use these CAs from now on."""
        self._authorities = tuple(authorities)

    def read(self, csr: bytes) -> CertificateRequest:
        """Return the request in PEM or DER; InputError with a CSR_ code."""
        return read_csr(csr).request

    def issue(
        self, csr: bytes, *, device_id: str, protection: KeyProtection, seconds: int, now: float
    ) -> IssuedCertificate:
        """Issue a certificate for at most a day, and never beyond the CA's own end; UnavailableError CA_DOWN."""
        check_device_id(device_id, seconds)
        request = read_csr(csr)
        authority, key = self._signing(now)
        starts = int(now) - BACKDATED
        ends = min(int(now) + min(seconds, MAX_LIFETIME), authority.not_after)
        certificate = (
            _builder(request, authority, device_id)
            .not_valid_before(dt.datetime.fromtimestamp(starts, dt.UTC))
            .not_valid_after(dt.datetime.fromtimestamp(ends, dt.UTC))
            .sign(key, digest_of(key))
        )
        return IssuedCertificate(
            pem=certificate.public_bytes(Encoding.PEM),
            chain=authority.pem,
            key=held_key(certificate, request.request, protection=protection),
        )

    def authorities(self) -> bytes:
        """Return every CA as PEM, those that sign no more and those that do not sign yet among them."""
        return b"".join(authority.pem for authority in self._authorities)

    def _signing(self, now: float) -> tuple[Authority, ec.EllipticCurvePrivateKey]:
        for authority in reversed(self._authorities):
            if authority.key is not None and authority.signs_from <= now < authority.not_after:
                return authority, authority.key
        raise UnavailableError("CA_DOWN", "no device CA may sign now", hint="make the next one")


def check_device_id(device_id: str, seconds: int) -> None:
    """Raise ValueError for what a certificate cannot say: a mistake of ours, since ids are made here."""
    if _DEVICE_ID.fullmatch(device_id) is None or seconds < 1:
        raise ValueError("a device id is a word of up to 64 characters, and a certificate lives a second or more")


def held_key(certificate: x509.Certificate, request: CertificateRequest, *, protection: KeyProtection) -> HeldKey:
    """Return what the inventory keeps of a certificate."""
    return HeldKey(
        x5t=to_base64url(sha256(certificate.public_bytes(Encoding.DER)).digest()),
        spki=request.spki,
        jkt=request.jkt,
        jwk=request.jwk,
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
        protection=protection,
    )


def _builder(request: ReadRequest, authority: Authority, device_id: str) -> x509.CertificateBuilder:
    issuer = authority.certificate
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        # For people who read certificates. What a device is called is its URI alone.
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device_id)]))
        .issuer_name(issuer.subject)
        .public_key(request.key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:zt:device:{device_id}")]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.key), critical=False)
        .add_extension(_NO_REVOCATION, critical=False)
    )
