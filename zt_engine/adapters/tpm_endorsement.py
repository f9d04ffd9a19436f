"""Endorsement keys: whether a maker's certificate says that a key is in one of its TPMs (TCG EK Credential Profile).

The CAs that issue these certificates are configured themselves, intermediate ones as well: each is believed because it
stands there. The library's verifier does not fit: these certificates have no subject, carry the model in a critical
directory name, and are good until 9999.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtensionOID

from zt_engine.adapters.certificates_x509 import read_authorities

MAX_CERTIFICATE: Final = 8 * 1024

_EK_USAGE: Final = x509.ObjectIdentifier("2.23.133.8.1")
"""tcg-kp-EKCertificate."""
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
    }
)
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)


def read_makers(pem: bytes, *, where: str = "") -> list[x509.Certificate]:
    """Return the makers' CAs of a PEM bundle; ConfigError DEVICE_CA_*."""
    return read_authorities(pem, where=where)


def check_endorsed(
    der: bytes,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    *,
    roots: Sequence[x509.Certificate],
    now: float,
) -> None:
    """Raise ValueError unless one of the roots issued the certificate for this very key, and both are valid now."""
    if len(der) > MAX_CERTIFICATE:
        raise ValueError("the endorsement certificate is too large")
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    try:
        certificate = x509.load_der_x509_certificate(der)
        if certificate.public_key() != key:
            raise ValueError("the endorsement certificate is for another key")
        _check_profile(certificate)
        if not _valid(certificate, moment):
            raise ValueError("the endorsement certificate is not valid now")
        if not any(_issued(certificate, root) and _valid(root, moment) for root in roots):
            raise ValueError("nobody who is known issued the endorsement certificate")
    except _UNREADABLE as error:
        message = str(error) if type(error) is ValueError else "the endorsement certificate cannot be read"
        raise ValueError(message) from None


def _check_profile(certificate: x509.Certificate) -> None:
    for extension in certificate.extensions:
        match extension.value:
            case x509.BasicConstraints(ca=True):
                raise ValueError("a CA is no endorsement key")
            case x509.ExtendedKeyUsage() as usages if _EK_USAGE not in usages:
                raise ValueError("the certificate is not for an endorsement key")
            case x509.KeyUsage() as usage if not (usage.key_encipherment or usage.key_agreement):
                raise ValueError("the certificate is not for an endorsement key")
            case _ if extension.critical and extension.oid not in _UNDERSTOOD:
                raise ValueError("the endorsement certificate demands something unknown")
            case _:
                pass


def _issued(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _valid(certificate: x509.Certificate, moment: dt.datetime) -> bool:
    return certificate.not_valid_before_utc <= moment < certificate.not_valid_after_utc
