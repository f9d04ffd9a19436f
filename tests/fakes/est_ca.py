"""An external CA that speaks EST: it names devices by the label of the path, and can be told to misbehave."""

from __future__ import annotations

import base64
from collections.abc import Callable

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from zt_engine.adapters.ca_x509 import X509CertificateAuthority

Answer = tuple[int, bytes]


class FakeEstCa:
    """Answers requests as values. `break_` replaces the next answers to enrollments."""

    def __init__(self, ca: X509CertificateAuthority, *, now: float) -> None:
        self.ca = ca
        self.now = now
        self.break_: Callable[[bytes, str], Answer] | None = None
        self.seconds = 3600
        self.seen: list[tuple[str, str]] = []
        self.authorization: list[str] = []

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> Answer:
        """Answer one request to `/.well-known/est/[LABEL/]OPERATION`."""
        *labels, operation = path.removeprefix("/.well-known/est").strip("/").split("/")
        self.seen.append((method, path))
        self.authorization.append(authorization)
        if operation == "cacerts":
            return 200, bag(*x509.load_pem_x509_certificates(self.ca.authorities()))
        csr, device = base64.b64decode(body), labels[0] if labels else ""
        if self.break_ is not None:
            return self.break_(csr, device)
        return 200, self.issue(csr, device)

    def issue(self, csr: bytes, device: str, *, seconds: int | None = None) -> bytes:
        issued = self.ca.issue(csr, device_id=device, protection="file", seconds=seconds or self.seconds, now=self.now)
        return bag(x509.load_pem_x509_certificate(issued.pem))

    def transport(self) -> httpx.MockTransport:
        def handle(request: httpx.Request) -> httpx.Response:
            status, body = self.answer(
                request.method, request.url.path, request.headers.get("authorization", ""), request.content
            )
            return httpx.Response(status, content=body)

        return httpx.MockTransport(handle)


def bag(*certificates: x509.Certificate) -> bytes:
    return base64.encodebytes(pkcs7.serialize_certificates(list(certificates), Encoding.DER))
