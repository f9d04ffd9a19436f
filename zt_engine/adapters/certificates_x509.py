"""Client certificates that a proxy forwards, validated by the sidecar itself against the device CAs.

Path building and signatures are `cryptography`'s client verifier. What it leaves open is checked here: an extended key
usage that must be present and say clientAuth, the strength of the device's key, and exactly one device name.
Limits: no intermediates travel with the request, so every CA that issues devices stands in the bundle and is an anchor;
CAs sign with RSA or ECDSA (the verifier knows no Ed25519 CAs); revocation is the caller's deny-list.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import warnings
from collections import OrderedDict
from urllib.parse import unquote_to_bytes

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import ClientVerifier, PolicyBuilder, Store, VerificationError

from zt_engine.core.errors import ConfigError, InputError, Problem
from zt_engine.core.identity import VerifiedCertificate
from zt_engine.core.jose import to_base64url

MAX_ESCAPED_BYTES = 16 * 1024
CACHE_ENTRIES = 16_384
MAX_CHAIN_DEPTH = 3

_ESCAPED = re.compile(rb"(?:[A-Za-z0-9_.~+/=:!*'(),@-]++|%[0-9A-Fa-f]{2})++")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n[A-Za-z0-9+/=\r\n]+-----END CERTIFICATE-----(?:\r?\n)?")
_DEVICE_URN = re.compile(r"urn:zt:device:[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/[A-Za-z0-9._-]{1,128}){1,16}")
_UNPARSABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)
"""What `cryptography` raises on a certificate it cannot read, partly when its parts are asked for."""
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


class _Held(msgspec.Struct, frozen=True):
    """A validated certificate, usable from `opens` to `closes`: while its whole chain is valid."""

    certificate: VerifiedCertificate
    opens: int
    closes: int


class _Authority(msgspec.Struct, frozen=True):
    """What is asked of a device CA for each certificate it issued."""

    name: str
    opens: int
    closes: int

    @classmethod
    def of(cls, certificate: x509.Certificate) -> _Authority:
        opens, closes = _times(certificate)
        return cls(certificate.subject.rfc4514_string(), opens, closes)


class X509CertificateVerifier:
    """The `CertificateVerifier` for escaped PEM as nginx sends it. One event loop; validated once per certificate."""

    def __init__(self, authorities: bytes, *, where: str = "", entries: int = CACHE_ENTRIES) -> None:
        self._entries = entries
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self.replace(authorities, where=where)

    def __repr__(self) -> str:
        return f"X509CertificateVerifier({len(self._held)} certificates)"

    @property
    def size(self) -> int:
        """How many certificates are remembered."""
        return len(self._held)

    def replace(self, authorities: bytes, *, where: str = "") -> None:
        """Take up another PEM bundle of device CAs and forget what the old one vouched for.

        Raises ConfigError DEVICE_CA_MALFORMED, DEVICE_CA_EMPTY or DEVICE_CA_UNFIT, and then keeps the old one.
        """
        read = read_authorities(authorities, where=where)
        self._store = Store(read)
        self._authorities = {authority: _Authority.of(authority) for authority in read}
        self._verifier: tuple[int, ClientVerifier] | None = None
        self._held.clear()

    def verify(self, escaped_pem: bytes, *, now: float) -> VerifiedCertificate:
        """Return the verified certificate.

        Raises InputError: CERT_TOO_LARGE, CERT_MALFORMED, CERT_AUTHORITY, CERT_KEY_WEAK, CERT_EKU, CERT_NO_DEVICE,
        CERT_AMBIGUOUS, CERT_EXPIRED, CERT_NOT_YET_VALID, CERT_UNTRUSTED.
        """
        held = self._held.get(escaped_pem)
        if held is not None and held.opens <= now < held.closes:
            return held.certificate
        return self._verify(escaped_pem, now)

    def _verify(self, escaped_pem: bytes, now: float) -> VerifiedCertificate:
        leaf = read_escaped(escaped_pem)
        try:
            device_uri = _checked_profile(leaf)
            opens, closes = _times(leaf)
            if now >= closes:
                raise InputError("CERT_EXPIRED", "the device certificate has expired")
            if now < opens:
                raise InputError("CERT_NOT_YET_VALID", "the device certificate is not valid yet, or a clock is wrong")
            path = [self._authority(certificate) for certificate in self._chain(leaf, now)[1:]]
            read = VerifiedCertificate(
                x5t=to_base64url(hashlib.sha256(leaf.public_bytes(Encoding.DER)).digest()),
                device_uri=device_uri,
                not_before=opens,
                not_after=closes,
                serial=f"{leaf.serial_number:x}",
                # A path is built by names, so who signed has the very name that the certificate gives.
                issuer=path[0].name if path else leaf.issuer.rfc4514_string(),
            )
        except _UNPARSABLE:  # extensions and keys are parsed when they are asked for
            raise InputError("CERT_MALFORMED", "the certificate cannot be parsed") from None
        held = _Held(
            read,
            max([opens, *(authority.opens for authority in path)]),
            min([closes, *(authority.closes for authority in path)]),
        )
        if now >= held.closes:  # the path counts the last second of a CA, the cache does not
            raise InputError("CERT_UNTRUSTED", "a device CA of the path has expired")
        self._keep(escaped_pem, held)
        return read

    def _chain(self, leaf: x509.Certificate, now: float) -> list[x509.Certificate]:
        """Return the path from the leaf to a device CA, each certificate valid now."""
        try:
            return self._verifier_at(int(now)).verify(leaf, []).chain
        except VerificationError:
            raise InputError("CERT_UNTRUSTED", "the certificate does not lead to a device CA") from None

    def _verifier_at(self, second: int) -> ClientVerifier:
        """Return the verifier of a second, made once: certificates count in seconds, and it holds no other state."""
        found = self._verifier
        if found is None or found[0] != second:
            moment = dt.datetime.fromtimestamp(second, dt.UTC)
            policy = PolicyBuilder().store(self._store).time(moment).max_chain_depth(MAX_CHAIN_DEPTH)
            found = self._verifier = second, policy.build_client_verifier()
        return found[1]

    def _authority(self, certificate: x509.Certificate) -> _Authority:
        """Return what is known of a certificate that vouches for another, which is one of the bundle's."""
        found = self._authorities.get(certificate)
        return found if found is not None else _Authority.of(certificate)

    def _keep(self, escaped_pem: bytes, held: _Held) -> None:
        """Remember a validation; the oldest make room. Refusals are never remembered."""
        self._held[escaped_pem] = held
        if len(self._held) > self._entries:
            self._held.popitem(last=False)


def read_escaped(escaped_pem: bytes) -> x509.Certificate:
    """Return the one certificate of a URL-escaped PEM (nginx `$ssl_client_escaped_cert`)."""
    if len(escaped_pem) > MAX_ESCAPED_BYTES:
        raise InputError("CERT_TOO_LARGE", f"{len(escaped_pem)} bytes, {MAX_ESCAPED_BYTES} are allowed")
    if _ESCAPED.fullmatch(escaped_pem) is None:
        raise InputError("CERT_MALFORMED", "the certificate is not URL-escaped PEM")
    pem = unquote_to_bytes(escaped_pem)
    if _PEM.fullmatch(pem) is None:
        raise InputError("CERT_MALFORMED", "not exactly one PEM certificate")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # what the library still reads with a warning (RFC 5280 forbids it) is refused
            return x509.load_pem_x509_certificate(pem)
    except _UNPARSABLE:
        raise InputError("CERT_MALFORMED", "the certificate cannot be parsed") from None


def read_authorities(pem: bytes, *, where: str = "") -> list[x509.Certificate]:
    """Return the device CAs of a PEM bundle; raises ConfigError with every certificate that is none."""
    if b"-----BEGIN" not in pem:
        raise ConfigError((Problem(code="DEVICE_CA_EMPTY", message="the bundle has no certificate", where=where),))
    if b"PRIVATE KEY-----" in pem:
        problem = Problem(
            code="DEVICE_CA_MALFORMED",
            message="the bundle holds a private key",
            where=where,
            hint="keep the CA's key elsewhere",
        )
        raise ConfigError((problem,))
    try:
        authorities = x509.load_pem_x509_certificates(pem)
        unfit = [index for index, certificate in enumerate(authorities, 1) if not _is_authority(certificate)]
    except _UNPARSABLE:
        raise ConfigError(
            (Problem(code="DEVICE_CA_MALFORMED", message="the bundle is no PEM certificates", where=where),)
        ) from None
    if unfit:
        raise ConfigError(
            tuple(
                Problem(code="DEVICE_CA_UNFIT", message=f"certificate {index} is no CA that may sign", where=where)
                for index in unfit
            )
        )
    return authorities


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return constraints.ca and usage.key_cert_sign


def _checked_profile(leaf: x509.Certificate) -> str:
    """Check what the path says nothing about, and return the one name of the device."""
    found = {type(extension.value): extension.value for extension in leaf.extensions}
    constraints = found.get(x509.BasicConstraints)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise InputError("CERT_AUTHORITY", "a CA's certificate is no device certificate")
    if not _is_strong(leaf):
        raise InputError("CERT_KEY_WEAK", "the device's key is too weak or of an unknown type")
    usage = found.get(x509.ExtendedKeyUsage)
    if not isinstance(usage, x509.ExtendedKeyUsage):
        raise InputError("CERT_EKU", "the certificate does not say what it is for")
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise InputError("CERT_EKU", "the certificate is not for client authentication")
    return _device_uri(found.get(x509.SubjectAlternativeName))


def _device_uri(names: x509.ExtensionType | None) -> str:
    """Return the one URI of the subject's alternative names; the subject itself is never read (RFC 6125 spirit)."""
    if not isinstance(names, x509.SubjectAlternativeName):
        raise InputError("CERT_NO_DEVICE", "the certificate names no device")
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) > 1:
        raise InputError("CERT_AMBIGUOUS", "the certificate names more than one device")
    if not uris or (_DEVICE_URN.fullmatch(uris[0]) is None and _SPIFFE_ID.fullmatch(uris[0]) is None):
        raise InputError("CERT_NO_DEVICE", "the certificate names no device")
    return uris[0]


def _is_strong(leaf: x509.Certificate) -> bool:
    match leaf.public_key():
        case rsa.RSAPublicKey() as key:
            return 2048 <= key.key_size <= 8192
        case ec.EllipticCurvePublicKey() as key:
            return isinstance(key.curve, _CURVES)
        case ed25519.Ed25519PublicKey():
            return True
        case _:
            return False


def _times(certificate: x509.Certificate) -> tuple[int, int]:
    return (
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
    )
