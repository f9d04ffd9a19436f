"""A certificate signing request by a key that may live elsewhere, and what a certificate that comes back must be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NoReturn, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from msgspec import Struct

from device_inventory.agent.errors import AgentError
from device_inventory.agent.jose import Signer, digest, from_base64url, to_base64url

NAME = "device"
"""The common name of every request. A host name often is a person's, and the notice does not list it."""


class Certificate(Struct, frozen=True, kw_only=True):
    """What the agent has to know of its certificate."""

    x5t: str
    not_before: int
    not_after: int


class RemoteKey(ec.EllipticCurvePrivateKey):
    """A key of which only the public half is here, in the shape that `cryptography` signs requests with."""

    def __init__(self, signer: Signer, public: ec.EllipticCurvePublicKey) -> None:
        self._signer = signer
        self._public = public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    def sign(self, data: object, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        raw = self._signer.sign(bytes(data))  # type: ignore[call-overload]
        return utils.encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))

    def exchange(self, algorithm: object, peer_public_key: object) -> NoReturn:
        raise TypeError("a device key only signs")

    def private_numbers(self) -> NoReturn:
        raise TypeError("a device key only signs")

    def private_bytes(self, encoding: object, format: object, encryption_algorithm: object) -> NoReturn:  # noqa: A002
        raise TypeError("a device key only signs")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def make_csr(signer: Signer, public: ec.EllipticCurvePublicKey, name: str) -> str:
    """Return a PKCS #10 request in PEM that asks for nothing but a certificate of this key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(RemoteKey(signer, public), hashes.SHA256()).public_bytes(Encoding.PEM).decode("ascii")


def csr_digest(pem: str) -> str:
    """Return the base64url SHA-256 of a request's DER."""
    return digest(x509.load_pem_x509_csr(pem.encode()).public_bytes(Encoding.DER))


def public_jwk(public: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """Return the JWK of a P-256 key (RFC 7518 section 6.2)."""
    numbers = public.public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": to_base64url(numbers.x.to_bytes(32)),
        "y": to_base64url(numbers.y.to_bytes(32)),
    }


def public_of(jwk: Mapping[str, str]) -> ec.EllipticCurvePublicKey:
    """Return the key of a P-256 JWK."""
    x, y = (int.from_bytes(from_base64url(jwk[name])) for name in ("x", "y"))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def raw_signature(der: bytes) -> bytes:
    """Return r and s of an ECDSA signature in DER, 32 bytes each."""
    r, s = utils.decode_dss_signature(der)
    return r.to_bytes(32) + s.to_bytes(32)


def read_certificate(pem: str, *, device_id: str, jwk: Mapping[str, str], now: float) -> Certificate:
    """Return what a certificate says, or raise AGENT_CERTIFICATE_UNFIT: not of this key, this device, or this time."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise _unfit("it cannot be read") from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or public_jwk(public) != dict(jwk):
        raise _unfit("it is for another key")
    if uris != [f"urn:zt:device:{device_id}"]:
        raise _unfit("it is for another device")
    if certificate.not_valid_after_utc <= datetime.fromtimestamp(now, UTC):
        raise _unfit("it is over already; is the clock of this machine right?")
    return Certificate(
        x5t=digest(certificate.public_bytes(Encoding.DER)),
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
    )


def _unfit(why: str) -> AgentError:
    return AgentError("AGENT_CERTIFICATE_UNFIT", f"the certificate that was issued is of no use: {why}")
