"""EST on the wire (RFC 7030): what is sent, what is answered, and in whose language."""

from __future__ import annotations

import asyncio
import base64

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.control_support import Control
from tests.csr import make_csr, new_key
from tests.enrollment_support import FakeAttestation
from tests.est_support import CODE, Scene, authority_in_memory, basic, opened
from tests.unit.est_scene import enrolled, renewal
from tests.unit.est_scene import scene as scene
from zt_engine.adapters.ca_x509 import X509CertificateAuthority
from zt_engine.adapters.est_certificates import X509EstCertificates
from zt_engine.control_plane.api.est import CHALLENGE, est_room
from zt_engine.control_plane.context import Enrolling
from zt_engine.control_plane.enrollment import PARTS, EnrollmentParts
from zt_engine.control_plane.est import RETRY_AFTER


def test_the_routes_of_est_demand_attestation_as_the_settings_do() -> None:
    ca = X509CertificateAuthority([authority_in_memory()])
    enrolling = Enrolling(attestation="required")
    attestation = EnrollmentParts(attestation=FakeAttestation())
    rooms = (est_room(X509EstCertificates(ca)),)
    with Control(authority=ca, rooms=rooms, enrolling=enrolling, extras={PARTS: attestation}) as control:
        body = {"subject": "tanaka", "issuer": "https://idp.example", "ownership": "corp", "kind": "robot"}
        made = control.call("POST", "/v1/invitations", body).json()
        answer = control.call(
            "POST",
            "/.well-known/est/simpleenroll",
            wire(make_csr()),
            who=None,
            authorization=basic(made["id"], made["code"]),
            content_type="application/pkcs10",
        )

    assert (answer.status_code, answer.text.split("\n")[0]) == (400, "ATTESTATION_REQUIRED")


def send(scene: Scene, method: str, path: str, certificate: bytes = b"", **named: object) -> httpx.Response:
    """One request, as if the listener had proved `certificate`."""

    async def app(scope: dict, receive: object, send_: object) -> None:
        if scope["type"] == "http" and certificate:
            scope["extensions"] = {"tls": {"client_cert_chain": [certificate.decode()]}}
        await scene.app(scope, receive, send_)  # type: ignore[arg-type]

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="https://control.example") as client:
            return await client.request(method, f"/.well-known/est/{path}", **named)  # type: ignore[arg-type]

    return asyncio.run(call())


def post(
    scene: Scene,
    body: bytes,
    *,
    path: str = "simpleenroll",
    authorization: str = "",
    kind: str = "application/pkcs10",
    certificate: bytes = b"",
    language: str = "en",
) -> httpx.Response:
    headers = {"Content-Type": kind, "Accept-Language": language}
    if authorization:
        headers["Authorization"] = authorization
    return send(scene, "POST", path, certificate, content=body, headers=headers)


def wire(csr: bytes) -> bytes:
    return base64.encodebytes(x509.load_pem_x509_csr(csr).public_bytes(Encoding.DER))


GOOD = basic("inv-1", CODE)


def test_cacerts_needs_nobody_to_authenticate(scene: Scene) -> None:
    answer = send(scene, "GET", "cacerts")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert answer.headers["content-transfer-encoding"] == "base64"
    (found,) = opened(base64.b64decode(answer.content))
    assert found.public_bytes(Encoding.PEM) == scene.ca.authorities()


def test_csrattrs_suggests_a_key_on_p256(scene: Scene) -> None:
    answer = send(scene, "GET", "csrattrs")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/csrattrs")
    assert base64.b64decode(answer.content)[:2] == b"\x30\x21"


def test_simpleenroll_answers_with_a_bag_of_one_certificate(scene: Scene) -> None:
    scene.invite()

    answer = post(scene, wire(make_csr()), authorization=GOOD)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert len(opened(base64.b64decode(answer.content))) == 1


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"inv-1").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Basic " + base64.b64encode(b"inv\0-1:x").decode(),
        "Basic " + "A" * 2000,
        "Bearer " + CODE,
        basic("inv-1", "wrong"),
        basic("", CODE),
    ],
)
def test_whoever_does_not_authenticate_is_challenged(scene: Scene, authorization: str) -> None:
    scene.invite()

    answer = post(scene, wire(make_csr()), authorization=authorization)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, CHALLENGE)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("EST_UNAUTHORIZED\n")


def test_a_waiting_robot_is_told_when_to_come_back(scene: Scene) -> None:
    scene.invite(approval=True)

    answer = post(scene, wire(make_csr()), authorization=GOOD)

    assert (answer.status_code, answer.headers["retry-after"]) == (202, str(RETRY_AFTER))


def test_simplereenroll_takes_a_certificate_and_never_a_password(scene: Scene) -> None:
    held = enrolled(scene, new_key())
    body = wire(renewal(scene, held))

    by_certificate = post(scene, body, path="simplereenroll", certificate=held)
    by_password = post(scene, body, path="simplereenroll", authorization=GOOD)

    assert by_certificate.status_code == 200
    assert (by_password.status_code, by_password.text.split()[0]) == (403, "EST_CERTIFICATE")


def test_a_header_is_no_certificate(scene: Scene) -> None:
    held = enrolled(scene, new_key())
    pem = base64.b64encode(held).decode()
    headers = {"Content-Type": "application/pkcs10", "Client-Cert": f":{pem}:", "X-SSL-Client-Cert": pem}

    answer = send(scene, "POST", "simplereenroll", content=wire(renewal(scene, held)), headers=headers)

    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "application/pkcs10", 400, "CSR_MALFORMED"),
        (b"????", "application/pkcs10", 400, "CSR_MALFORMED"),
        (base64.b64encode(b"garbage"), "application/pkcs10", 400, "CSR_MALFORMED"),
        (make_csr(), "application/pkcs10", 400, "CSR_MALFORMED"),
        (base64.b64encode(bytes(17_000)), "application/pkcs10", 413, "CSR_TOO_LARGE"),
        (b"A" * 1_000_000, "application/pkcs10", 413, "CSR_TOO_LARGE"),
        (wire(make_csr()), "application/json", 415, "EST_TYPE"),
        (wire(make_csr()), "", 415, "EST_TYPE"),
    ],
)
def test_a_body_that_is_no_request_is_refused(scene: Scene, body: bytes, kind: str, status: int, code: str) -> None:
    scene.invite()

    answer = post(scene, body, kind=kind, authorization=GOOD)

    assert (answer.status_code, answer.text.split()[0]) == (status, code)
    assert isinstance(scene.enroll(), bytes)


def test_a_refusal_speaks_the_clients_language(scene: Scene) -> None:
    japanese = post(scene, b"", language="ja").text

    assert "招待" in japanese
    assert CODE not in japanese


def test_a_ca_that_is_down_is_said_to_be(scene: Scene) -> None:
    scene.invite()
    scene.ca.replace([])

    assert post(scene, wire(make_csr()), authorization=GOOD).status_code == 503


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.text(max_size=30), st.text(max_size=30))
def test_no_bytes_and_no_credentials_break_it(scene: Scene, body: bytes, user: str, password: str) -> None:
    try:
        authorization = basic(user, password)
    except UnicodeEncodeError:
        return

    answer = post(scene, base64.b64encode(body), authorization=authorization)

    assert answer.status_code == 401


def test_the_control_plane_serves_est_beside_its_own_routes() -> None:
    ca = X509CertificateAuthority([authority_in_memory()])
    with Control(authority=ca, rooms=(est_room(X509EstCertificates(ca)),)) as control:
        answer = control.call("GET", "/.well-known/est/cacerts", who=None)
        refused = control.call("POST", "/.well-known/est/simpleenroll", b"", who=None)

    assert answer.status_code == 200
    assert len(opened(base64.b64decode(answer.content))) == 1
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, CHALLENGE)
