"""The routes of EST (RFC 7030 3.2.2): base64 in and out, `certs-only` answers, and errors as plain text.

They authenticate by themselves and are no part of the OpenAPI document, as their bodies are described by the RFC.
Not offered: server-side keys, full CMC, and labels.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.est import EstService, Pending
from zt_engine.control_plane.ledger import Ledger
from zt_engine.core.errors import InputError, UnavailableError, ZtError
from zt_engine.pages.denied import language_of
from zt_engine.pages.registry import registry
from zt_engine.ports import Clock
from zt_engine.ports.est import EstCertificates

PREFIX: Final = "/.well-known/est"
MAX_BODY: Final = 24 * 1024
"""16 KiB of DER in base64, with line ends."""
CHALLENGE: Final = 'Basic realm="EST", charset="UTF-8"'
CSR_ATTRIBUTES: Final = bytes.fromhex(
    "3021"  # a key on P-256, and a signature with SHA-256; anything else that is read is taken as well
    "3015" "06072a8648ce3d0201" "310a" "06082a8648ce3d030107"
    "06082a8648ce3d040302"
)  # fmt: skip

_BLANKS = re.compile(rb"[ \t\r\n]+")
_STATUS = {"EST_UNAUTHORIZED": 401, "EST_CERTIFICATE": 403, "EST_TYPE": 415, "CSR_TOO_LARGE": 413}


def est_room(certificates: EstCertificates) -> Callable[[ControlPlane], APIRouter]:
    """Return the room of EST for `ControlPlane.rooms`."""

    def router(plane: ControlPlane) -> APIRouter:
        service = EstService(
            tenant=plane.settings.tenant,
            store=plane.store,
            authority=plane.authority,
            certificates=certificates,
            record=Ledger(plane.settings.facts),
            lifetime=plane.settings.enrolling.certificate_seconds,
            attested_only=plane.settings.enrolling.attestation == "required",
        )
        return est_routes(service, plane.clock)

    return router


def est_routes(service: EstService, clock: Clock) -> APIRouter:
    """Return the routes. The listener must put the client's certificate into the scope (ASGI TLS extension)."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    @router.get("/cacerts")
    async def cacerts() -> Response:
        return _bag(await run_in_threadpool(service.authorities))

    @router.get("/csrattrs")
    async def csrattrs() -> Response:
        return _encoded(CSR_ATTRIBUTES, "application/csrattrs")

    @router.post("/simpleenroll")
    async def simpleenroll(request: Request) -> Response:
        async def answer() -> Response:
            user, password = _basic(request)
            csr = await _body(request)
            now = clock.now()
            return _issued(await run_in_threadpool(service.enroll, csr, user=user, password=password, now=now))

        return await _answered(request, answer)

    @router.post("/simplereenroll")
    async def simplereenroll(request: Request) -> Response:
        async def answer() -> Response:
            presented = client_certificate(request)
            if not presented:
                raise InputError("EST_CERTIFICATE", "a renewal comes with the certificate it renews, over TLS")
            csr = await _body(request)
            return _issued(await run_in_threadpool(service.reenroll, csr, presented=presented, now=clock.now()))

        return await _answered(request, answer)

    return router


def client_certificate(request: Request) -> bytes:
    """Return the certificate the TLS client proved to hold, as PEM; empty when it came without one."""
    tls = request.scope.get("extensions", {}).get("tls")
    chain = tls.get("client_cert_chain") if isinstance(tls, dict) else None
    return chain[0].encode("ascii") if chain else b""


async def _answered(request: Request, answer: Callable[[], Awaitable[Response]]) -> Response:
    try:
        return await answer()
    except (InputError, UnavailableError) as error:
        return _refused(request, error)


def _refused(request: Request, error: ZtError) -> Response:
    language = language_of(request.headers.get("accept-language", ""), default="en")
    code = registry().get(error.code)
    words = [error.code] if code is None else [error.code, code.text(language), code.hint(language)]
    status = 503 if isinstance(error, UnavailableError) else _STATUS.get(error.code, 400)
    headers = {"WWW-Authenticate": CHALLENGE} if status == 401 else {}
    return Response("\n".join([*filter(None, words), ""]), status, headers, "text/plain; charset=utf-8")


def _basic(request: Request) -> tuple[str, str]:
    """Return user and password (RFC 7617), or refuse whoever brings none."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic" or len(encoded) > 1024:
        raise InputError("EST_UNAUTHORIZED", "no user name and password")
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        raise InputError("EST_UNAUTHORIZED", "no user name and password") from None
    if not (user and colon and password) or "\0" in user:
        raise InputError("EST_UNAUTHORIZED", "no user name and password")
    return user, password


async def _body(request: Request) -> bytes:
    """Return the DER of a request body, whatever it says of its transfer encoding (RFC 8951 3.1)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/pkcs10":
        raise InputError("EST_TYPE", "the body is no `application/pkcs10`")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise InputError("CSR_TOO_LARGE", f"more than {MAX_BODY} bytes")
    try:
        return base64.b64decode(_BLANKS.sub(b"", bytes(body)), validate=True)
    except binascii.Error:
        raise InputError("CSR_MALFORMED", "the body is no base64") from None


def _issued(answer: bytes | Pending) -> Response:
    if isinstance(answer, Pending):
        text = "the device waits for its approval; ask again with the same key\n"
        return Response(text, 202, {"Retry-After": str(answer.retry_after)}, "text/plain; charset=utf-8")
    return _bag(answer)


def _bag(der: bytes) -> Response:
    return _encoded(der, "application/pkcs7-mime; smime-type=certs-only")


def _encoded(der: bytes, kind: str) -> Response:
    # Without line ends, as RFC 8951 3.1 has it: some clients do not skip them. The header is for those that are older.
    return Response(base64.b64encode(der), 200, {"Content-Transfer-Encoding": "base64"}, kind)
