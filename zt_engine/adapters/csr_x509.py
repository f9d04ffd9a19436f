"""Certificate signing requests (PKCS #10): what a device may have certified, and nothing else of what it asks for.

A request proves that whoever made it holds the key. Its names are looked at only to refuse what has no business there,
and its extensions never reach a certificate.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from zt_engine.adapters.keys_weak import PUBLISHED, PublicKey, weakness
from zt_engine.core.errors import InputError
from zt_engine.core.jose import thumbprint, to_base64url
from zt_engine.ports.credentials import CertificateRequest

MAX_CSR_BYTES: Final = 16 * 1024
MAX_NAMES: Final = 32
MAX_VALUE: Final = 256

_PEM = re.compile(
    rb"-----BEGIN (NEW )?CERTIFICATE REQUEST-----\r?\n[A-Za-z0-9+/=\r\n]+-----END \1?CERTIFICATE REQUEST-----\s*"
)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNPARSABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)
"""What `cryptography` raises on a request it cannot read, partly when its parts are asked for.

Its warnings are not turned into errors here, as the filters are the whole process's and requests come in threads.
"""
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384"}


class ReadRequest(msgspec.Struct, frozen=True):
    """A request that was read, with the key itself."""

    key: PublicKey
    request: CertificateRequest


def read_csr(csr: bytes) -> ReadRequest:
    """Return the request in PEM or DER.

    Raises InputError: CSR_TOO_LARGE, CSR_MALFORMED, CSR_SIGNATURE, CSR_KEY_WEAK, CSR_NAME.
    """
    parsed = parse_csr(csr)
    try:
        key = _checked_key(parsed)
        _check_signature(parsed)
        _check_names(parsed)
        request = describe_key(key, parsed.public_bytes(Encoding.DER))
    except _UNPARSABLE:
        raise InputError("CSR_MALFORMED", "the request cannot be parsed") from None
    if request.jkt in PUBLISHED:
        raise InputError("CSR_KEY_WEAK", "the private key is printed in a standard")
    return ReadRequest(key, request)


def parse_csr(csr: bytes) -> x509.CertificateSigningRequest:
    """Return the one request these bytes are, of which nothing is checked yet."""
    if len(csr) > MAX_CSR_BYTES:
        raise InputError("CSR_TOO_LARGE", f"{len(csr)} bytes, {MAX_CSR_BYTES} are allowed")
    try:
        if csr[:1] == b"\x30":
            return x509.load_der_x509_csr(csr)
        if _PEM.fullmatch(csr) is None:
            raise InputError("CSR_MALFORMED", "neither one PEM request nor DER")
        return x509.load_pem_x509_csr(csr)
    except _UNPARSABLE:
        raise InputError("CSR_MALFORMED", "the request cannot be parsed") from None


def same_names(csr: bytes, certificate: x509.Certificate) -> bool:
    """Whether a request names exactly what the certificate names: subject, and alternative names (RFC 7030 4.2.2)."""
    parsed = parse_csr(csr)
    try:
        # By value: clients spell a common name as PrintableString or as UTF8String, and mean the same (RFC 5280 7.1).
        wanted = (parsed.subject, _alternatives(parsed.extensions))
        held = (certificate.subject, _alternatives(certificate.extensions))
    except _UNPARSABLE:
        raise InputError("CSR_MALFORMED", "the request cannot be parsed") from None
    return wanted == held


def describe_key(key: PublicKey, der: bytes) -> CertificateRequest:
    """Return what the inventory knows a key by. The key is spelt anew, so that it has one digest however it came."""
    jwk = public_jwk(key)
    return CertificateRequest(
        spki=to_base64url(hashlib.sha256(spki_of(key)).digest()),
        jkt=thumbprint(jwk),
        jwk=jwk,
        der_digest=to_base64url(hashlib.sha256(der).digest()),
    )


def spki_of(key: PublicKey) -> bytes:
    """Return the DER of the key's SubjectPublicKeyInfo in its one canonical spelling."""
    if isinstance(key, rsa.RSAPublicKey):
        # The same modulus may come as rsaEncryption or as id-RSASSA-PSS.
        key = key.public_numbers().public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_jwk(key: PublicKey) -> dict[str, str]:
    """Return the key as a JWK with the members RFC 7638 takes, and no others."""
    match key:
        case ec.EllipticCurvePublicKey():
            numbers, size = key.public_numbers(), (key.key_size + 7) // 8
            x, y = (to_base64url(number.to_bytes(size, "big")) for number in (numbers.x, numbers.y))
            return {"kty": "EC", "crv": _CURVES[key.curve.name], "x": x, "y": y}
        case ed25519.Ed25519PublicKey():
            return {"kty": "OKP", "crv": "Ed25519", "x": to_base64url(key.public_bytes_raw())}
        case rsa.RSAPublicKey():
            public = key.public_numbers()
            n, e = (to_base64url(i.to_bytes((i.bit_length() + 7) // 8, "big")) for i in (public.n, public.e))
            return {"kty": "RSA", "n": n, "e": e}


def _checked_key(parsed: x509.CertificateSigningRequest) -> PublicKey:
    key = parsed.public_key()
    match key:
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            pass
        case ed25519.Ed25519PublicKey() | rsa.RSAPublicKey():
            pass
        case _:
            raise InputError("CSR_KEY_WEAK", "keys are P-256, P-384, Ed25519 or RSA from 2048 bits")
    flaw = weakness(key)
    if flaw:
        raise InputError("CSR_KEY_WEAK", flaw)
    return key


def _check_signature(parsed: x509.CertificateSigningRequest) -> None:
    algorithm = parsed.signature_hash_algorithm
    if algorithm is not None and not isinstance(algorithm, _HASHES):
        raise InputError("CSR_SIGNATURE", f"requests are not signed with `{algorithm.name}`")
    if not parsed.is_signature_valid:
        raise InputError("CSR_SIGNATURE", "the request is not signed by the key it is for")


def _check_names(parsed: x509.CertificateSigningRequest) -> None:
    for attribute in _subject(parsed):
        if not isinstance(attribute.value, str) or not _plain(attribute.value):
            raise InputError("CSR_NAME", "the subject has characters that are not printable ASCII")
        if len(attribute.value) > MAX_VALUE or (attribute.oid == NameOID.COUNTRY_NAME and len(attribute.value) != 2):
            raise InputError("CSR_NAME", "a part of the subject is too long, or a country is not two letters")
    names = _alternatives(parsed.extensions)
    if len(names) > MAX_NAMES:
        raise InputError("CSR_NAME", f"{len(names)} alternative names, {MAX_NAMES} are allowed")
    for name in names:
        match name:
            case x509.RFC822Name():
                raise InputError("CSR_NAME", "a device has no e-mail address")
            case x509.DNSName() | x509.UniformResourceIdentifier():
                if not _plain(name.value) or "*" in name.value:
                    raise InputError("CSR_NAME", "an alternative name is a wildcard or not printable ASCII")
            case _:
                pass  # of other kinds nothing is read, and nothing is certified


def _subject(parsed: x509.CertificateSigningRequest) -> x509.Name:
    try:
        return parsed.subject
    except UserWarning:  # where warnings are errors
        raise InputError("CSR_NAME", "a part of the subject has a length it may not have") from None


def _plain(text: str) -> bool:
    return all(" " <= character <= "~" for character in text)


def _alternatives(extensions: x509.Extensions) -> list[x509.GeneralName]:
    for extension in extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            return list(extension.value)
    return []
