"""A browser's device proof, verified: a JWS by the key of the device certificate in its header (RFC 7515, `x5c`).

The certificate is checked by the very verifier of forwarded client certificates, so a CA that is withdrawn, or a
certificate that is over, ends a proof as it ends a connection. What was signed stays signed, so the signature is
checked once for each JWS; everything that time or a change of settings can end is asked for every time.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final
from urllib.parse import quote

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from zt_engine.adapters.tokens_jwt import signature_holds
from zt_engine.core.device_proof import MAX_JWS_BYTES, TYPE, Proven, Statement, read_statement
from zt_engine.core.errors import InputError
from zt_engine.core.generations import Generations
from zt_engine.core.jose import split_compact
from zt_engine.ports import CertificateVerifier

ENTRIES: Final = 16_384
ALGORITHM: Final = "ES256"


class _Read(msgspec.Struct, frozen=True):
    """A JWS whose signature holds under the certificate it names."""

    statement: Statement
    escaped: bytes


class JwsDeviceProofs:
    """The `DeviceProofVerifier`. One event loop; bounded."""

    def __init__(self, certificates: CertificateVerifier, *, entries: int = ENTRIES) -> None:
        self._certificates = certificates
        self._read: Generations[bytes, _Read] = Generations(entries)

    def verify(self, jws: bytes, *, now: float) -> Proven:
        """Return what was signed, and by whom; InputError DEVICE_PROOF_MALFORMED, DEVICE_PROOF_SIGNATURE, CERT_*."""
        known = self._read.get(jws)
        if known is not None:
            certificate = self._certificates.verify(known.escaped, now=now)
            return Proven(statement=known.statement, certificate=certificate)
        parts = split_compact(
            jws, max_bytes=MAX_JWS_BYTES, malformed="DEVICE_PROOF_MALFORMED", too_large="DEVICE_PROOF_MALFORMED"
        )
        if parts.header.get("typ") != TYPE or parts.header.get("alg") != ALGORITHM:
            raise InputError("DEVICE_PROOF_MALFORMED", f"`typ` is not `{TYPE}`, or `alg` not `{ALGORITHM}`")
        key, escaped = _certificate(parts.header.get("x5c"))
        # The certificate first: whoever has none has no signature of theirs checked.
        certificate = self._certificates.verify(escaped, now=now)
        if not signature_holds(parts, key, ALGORITHM):
            raise InputError("DEVICE_PROOF_SIGNATURE", "the signature was not made by the key of its certificate")
        read = _Read(read_statement(parts.claims), escaped)
        self._read.put(jws, read)
        return Proven(statement=read.statement, certificate=certificate)


def _certificate(chain: object) -> tuple[EllipticCurvePublicKey, bytes]:
    """Return the key of the one certificate, and the certificate as a proxy would forward it."""
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise InputError("DEVICE_PROOF_MALFORMED", "`x5c` is not one certificate")
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
        pem = certificate.public_bytes(Encoding.PEM)
        key = certificate.public_key()
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm, x509.InvalidVersion):
        raise InputError("DEVICE_PROOF_MALFORMED", "`x5c` is not one certificate") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise InputError("DEVICE_PROOF_MALFORMED", f"the certificate's key makes no {ALGORITHM}")
    return key, quote(pem.decode("ascii"), safe="").encode("ascii")
