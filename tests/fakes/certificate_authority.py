"""A certificate authority without cryptography: a request is the text of a public key, a certificate a numbered text.

Who holds the key is not proven by the request, as it is by a real one; the proofs beside it are real.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping

from device_inventory.inventory import HeldKey, KeyProtection
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.jose import thumbprint, to_base64url
from zt_engine.ports.credentials import CertificateRequest, IssuedCertificate

PREFIX = b"csr:"


def fake_csr(jwk: Mapping[str, object], *, nonce: str = "") -> bytes:
    """Return a request for a key; another `nonce` is another request for the same one."""
    return PREFIX + json.dumps({"jwk": jwk, "nonce": nonce}, sort_keys=True).encode()


class FakeAuthority:
    """Issues what it is asked for, remembers it, and may be down."""

    def __init__(self) -> None:
        self.issued: list[IssuedCertificate] = []
        self.devices: list[str] = []
        self.down = False
        self._numbers = itertools.count(1)

    def read(self, csr: bytes) -> CertificateRequest:
        """Return the request."""
        if len(csr) > 16 * 1024:
            raise InputError("CSR_TOO_LARGE", "more than 16 KiB")
        if not csr.startswith(PREFIX):
            raise InputError("CSR_MALFORMED", "not made by `fake_csr`")
        jwk = json.loads(csr.removeprefix(PREFIX))["jwk"]
        print_ = thumbprint(jwk)
        return CertificateRequest(spki=_digest(b"spki" + print_.encode()), jkt=print_, jwk=jwk, der_digest=_digest(csr))

    def issue(
        self, csr: bytes, *, device_id: str, protection: KeyProtection, seconds: int, now: float
    ) -> IssuedCertificate:
        """Issue a certificate, or say that it cannot now."""
        if self.down:
            raise UnavailableError("CA_DOWN", "told to be")
        request = self.read(csr)
        number = next(self._numbers)
        pem = f"certificate {number} of {device_id}".encode()
        key = HeldKey(
            x5t=_digest(pem),
            spki=request.spki,
            jkt=request.jkt,
            jwk=request.jwk,
            issuer="CN=fake",
            serial=f"{number:x}",
            not_before=int(now) - 300,
            not_after=int(now) + seconds,
            protection=protection,
        )
        certificate = IssuedCertificate(pem=pem, chain=b"the fake CA", key=key)
        self.issued.append(certificate)
        self.devices.append(device_id)
        return certificate

    def authorities(self) -> bytes:
        """Return the CA."""
        return b"the fake CA"


def _digest(raw: bytes) -> str:
    return to_base64url(hashlib.sha256(raw).digest())
