"""A certificate authority elsewhere, asked through EST (RFC 7030). We are its registration authority.

The request of a device cannot be changed, as the device signed it. So which device a certificate is for is told by the
path: `{device}` in the address is replaced by the device's id (an EST label), or the CA reads it from the request.
Whatever comes back is held against the profile, and is never handed on when it says anything else.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import threading
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx
import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from device_inventory.inventory import KeyProtection
from zt_engine.adapters.ca_x509 import MAX_LIFETIME, check_device_id, held_key
from zt_engine.adapters.certificates_x509 import X509CertificateVerifier
from zt_engine.adapters.csr_x509 import ReadRequest, read_csr, spki_of
from zt_engine.core.errors import ConfigError, InputError, UnavailableError
from zt_engine.ports.credentials import CertificateRequest, IssuedCertificate

TIMEOUT: Final = 10.0
MAX_ANSWER: Final = 256 * 1024
SLACK: Final = 600
"""So much longer than asked for a certificate may live, since the two clocks and the CA's own habits differ."""

_UNREADABLE = (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm, x509.DuplicateExtension)


class EstSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the CA is and how we prove who we are. `url` ends before `/simpleenroll`, and may hold `{device}`."""

    url: str
    cacerts_url: str = ""
    """Where the CAs are published; empty: `url` without the label."""
    trusted: Path
    """PEM of the one CA that the EST server's own TLS certificate may come from."""
    certificate: Path | None = None
    key: Path | None = None
    user: str = ""
    password_file: Path | None = None


class EstCertificateAuthority:
    """The `CertificateAuthority` of an external CA. `refresh` fetches its CAs; nothing is issued before that."""

    def __init__(self, settings: EstSettings, *, transport: httpx.BaseTransport | None = None) -> None:
        self._settings = settings
        self._authorities = b""
        self._verifier: X509CertificateVerifier | None = None
        self._lock = threading.Lock()
        authentication = None
        if settings.password_file is not None:
            authentication = httpx.BasicAuth(settings.user, settings.password_file.read_text(encoding="utf-8").strip())
        self._client = httpx.Client(
            auth=authentication,
            verify=_context(settings) if transport is None else True,
            transport=transport,
            timeout=TIMEOUT,
            follow_redirects=False,
            trust_env=False,
        )

    def __repr__(self) -> str:
        return f"EstCertificateAuthority({self._settings.url})"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def refresh(self) -> None:
        """Fetch the CAs anew; UnavailableError CA_DOWN or CA_ANSWER keeps those that were known."""
        settings = self._settings
        url = settings.cacerts_url or settings.url.replace("/{device}", "")
        answer = self._bag(self._send("GET", f"{url}/cacerts"))
        self.adopt(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in answer))

    def adopt(self, pem: bytes) -> None:
        """Take CAs for those it publishes; UnavailableError CA_ANSWER keeps those that were known."""
        try:
            verifier = X509CertificateVerifier(pem, where=self._settings.url, entries=0)
        except ConfigError as error:
            raise UnavailableError("CA_ANSWER", f"what it publishes is no device CA: {error.code}") from None
        with self._lock:
            self._authorities, self._verifier = pem, verifier

    def read(self, csr: bytes) -> CertificateRequest:
        """Return the request in PEM or DER; InputError with a CSR_ code."""
        return read_csr(csr).request

    def issue(
        self, csr: bytes, *, device_id: str, protection: KeyProtection, seconds: int, now: float
    ) -> IssuedCertificate:
        """Have a certificate issued. UnavailableError: CA_DOWN, CA_REFUSED, CA_ANSWER."""
        check_device_id(device_id, seconds)
        request = read_csr(csr)
        with self._lock:
            verifier, authorities = self._verifier, self._authorities
        if verifier is None:
            raise UnavailableError("CA_DOWN", "its CAs were not fetched yet")
        url = self._settings.url.replace("{device}", quote(device_id, safe=""))
        der = _der(csr)
        found = self._bag(self._send("POST", f"{url}/simpleenroll", content=base64.b64encode(der)))
        if len(found) != 1:
            raise UnavailableError("CA_ANSWER", f"{len(found)} certificates instead of one")
        certificate = found[0]
        limit = now + min(seconds, MAX_LIFETIME) + SLACK
        _check(certificate, request, verifier, device_id=device_id, now=now, limit=limit)
        return IssuedCertificate(
            pem=certificate.public_bytes(Encoding.PEM),
            chain=_issuer(certificate, authorities),
            key=held_key(certificate, request.request, protection=protection),
        )

    def authorities(self) -> bytes:
        """Return the CAs as they were last fetched; UnavailableError CA_DOWN when they never were."""
        if not self._authorities:
            raise UnavailableError("CA_DOWN", "its CAs were not fetched yet")
        return self._authorities

    def _send(self, method: str, url: str, *, content: bytes | None = None) -> bytes:
        headers = {} if content is None else {"Content-Type": "application/pkcs10"}
        try:
            with self._client.stream(method, url, content=content, headers=headers) as answer:
                body = bytearray()
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        raise UnavailableError("CA_ANSWER", f"more than {MAX_ANSWER} bytes")
        except httpx.HTTPError as error:
            raise UnavailableError("CA_DOWN", type(error).__name__) from None
        status = answer.status_code
        if status == httpx.codes.OK:
            return bytes(body)
        if status == httpx.codes.ACCEPTED:
            raise UnavailableError("CA_DOWN", "the CA waits for an approval of its own")
        if 400 <= status < 500:
            raise UnavailableError("CA_REFUSED", f"the CA answered {status}")
        raise UnavailableError("CA_DOWN", f"the CA answered {status}")

    def _bag(self, body: bytes) -> list[x509.Certificate]:
        try:
            return pkcs7.load_der_pkcs7_certificates(base64.b64decode(b"".join(body.split()), validate=True))
        except _UNREADABLE:
            raise UnavailableError("CA_ANSWER", "no certs-only PKCS #7 in base64") from None


def _context(settings: EstSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(settings.trusted)
    if settings.certificate is not None:
        context.load_cert_chain(settings.certificate, settings.key)
    return context


def _der(csr: bytes) -> bytes:
    return csr if csr[:1] == b"\x30" else x509.load_pem_x509_csr(csr).public_bytes(Encoding.DER)


def _check(
    certificate: x509.Certificate,
    request: ReadRequest,
    verifier: X509CertificateVerifier,
    *,
    device_id: str,
    now: float,
    limit: float,
) -> None:
    """Refuse what a sidecar would refuse, and what was not asked for."""
    escaped = quote(certificate.public_bytes(Encoding.PEM), safe="").encode("ascii")
    try:
        verified = verifier.verify(escaped, now=now)
        public = certificate.public_key()
    except InputError as error:
        raise UnavailableError("CA_ANSWER", f"sidecars would refuse this certificate: {error.code}") from None
    except _UNREADABLE:
        raise UnavailableError("CA_ANSWER", "the certificate cannot be parsed") from None
    if verified.device_uri != f"urn:zt:device:{device_id}":
        raise UnavailableError("CA_ANSWER", "the certificate is for another device")
    if spki_of(public) != spki_of(request.key):  # type: ignore[arg-type]
        raise UnavailableError("CA_ANSWER", "the certificate is for another key")
    if verified.not_after > limit:
        raise UnavailableError("CA_ANSWER", "the certificate lives longer than was asked for")


def _issuer(certificate: x509.Certificate, authorities: bytes) -> bytes:
    for authority in x509.load_pem_x509_certificates(authorities):
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return authority.public_bytes(Encoding.PEM)
    raise UnavailableError("CA_ANSWER", "none of the CAs it publishes signed the certificate")
