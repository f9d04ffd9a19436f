"""The rules of a safe hook, one named test each, and how the printed block behaves when things break."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.forwarding import ProxyContract
from tests.e2e.lab import HOST, Answer, Backend, Lab, request
from tests.hook_support import (
    KEY,
    GateApp,
    Served,
    credential,
    hook_request,
    listening,
    one_answer,
    status,
)
from zt_engine.core.decision import Decision, Obligation
from zt_engine.core.errors import UnavailableError
from zt_engine.sidecar.hooks.answers import obligations_list
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.hooks.snippet import NginxBlock
from zt_engine.sidecar.listener import Limits

BROWSER = b"Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


@pytest.fixture
def deny(lab: Lab) -> Iterator[None]:
    """Every request is denied while a test runs."""
    lab.app.deny = Decision.deny("TRUST_LOW")
    yield
    lab.app.deny = None


@pytest.fixture
def step_up(lab: Lab) -> Iterator[None]:
    """Every request takes a stronger sign-in while a test runs."""
    lab.app.deny = Decision.deny("TOKEN_EXPIRED", step_up=True)
    yield
    lab.app.deny = None


@pytest.fixture
def as_identity(lab: Lab) -> Iterator[dict[str, object]]:
    """What an allow says of the subject; changed by a test, put back after it."""
    before = dict(lab.app.identity)
    yield lab.app.identity
    lab.app.identity.clear()
    lab.app.identity.update(before)


class TestNginx(ProxyContract):
    hook = NginxHook

    @pytest.fixture
    def front(self, lab: Lab) -> Lab:
        return lab


# -- H1 to H16


@pytest.mark.parametrize("family", [b"X-Forwarded-Uri: /public", b"X-Original-URL: http://portal.example/public"])
def test_h1_one_path_reads_one_header_family(lab: Lab, family: bytes) -> None:
    with lab.hook.connect() as client:
        client.sendall(hook_request(drop=[b"X-Original-URI"], extra=[family]))
        head, _ = one_answer(client)

    assert status(head) == 403
    assert lab.app.refused[-1] in ("HEADER_RESERVED", "HOOK_HEADER_MISSING")


@pytest.mark.parametrize(
    "target", [b"/_zt/auth", b"/_zt/denied", b"/_zt/auth?a", b"/v1/hooks/nginx", b"/v1/pages/denied"]
)
def test_h2_no_client_reaches_the_hook(lab: Lab, target: bytes) -> None:
    lab.backend.answers[target] = b"HTTP/1.1 204 No Content\r\n\r\n"

    answer = lab.get(target, b"Zt-Request-Id: 1")

    assert answer.status == (404 if target.startswith(b"/_zt") else 204)
    assert answer.values("zt-subject") == answer.values("zt-decision") == []


@pytest.mark.parametrize("key", [b"", b"x" * 32, KEY[:-1]])
def test_h2_whoever_is_not_our_proxy_gets_401_and_nothing_else(lab: Lab, key: bytes) -> None:
    with lab.hook.connect() as client:
        client.sendall(hook_request(Zt_Pep_Key=key, extra=[b"Zt-Subject: root"]))
        head, body = one_answer(client)

    assert status(head) == 401
    assert b"tanaka" not in head and body == b""


def test_h3_an_allow_is_an_empty_200_that_nobody_keeps(lab: Lab) -> None:
    with lab.hook.connect() as client:
        client.sendall(hook_request())
        head, body = one_answer(client)

    assert status(head) == 200 and body == b""
    assert b"\r\nCache-Control: no-store\r\n" in head and b"\r\nContent-Length: 0\r\n" in head


@pytest.mark.usefixtures("deny")
def test_h3_a_denial_is_403(lab: Lab) -> None:
    assert lab.get().status == 403


@pytest.mark.usefixtures("step_up")
def test_h3_a_step_up_is_401_with_one_challenge(lab: Lab) -> None:
    answer = lab.get()

    assert answer.status == 401
    assert answer.values("www-authenticate") == [b'Bearer realm="zt"']


def test_h6_what_is_ambiguous_is_denied_with_a_reason(lab: Lab) -> None:
    answer = lab.get(b"/pub/..%2fadmin", b"Accept: application/json")

    assert answer.status == 403
    assert json.loads(answer.body)["code"] == "PATH_AMBIGUOUS"


def test_h7_the_host_of_an_absolute_target_is_the_host_that_counts(lab: Lab) -> None:
    lab.send(request(b"http://portal.example/admin?q=1", host=b"portal.example:1"))
    calls = lab.app.calls
    answers = [
        lab.send(request(b"http://evil.example/admin?q=1", host=host)).status for host in (HOST, b"evil.example")
    ]

    assert lab.app.authorised[-1].target.host == "portal.example"
    assert lab.backend.received[-1].values("host") == [HOST]
    assert set(answers) <= {400, 421} and lab.app.calls == calls


@pytest.mark.parametrize("name", [b"X-HTTP-Method-Override", b"X-Method-Override", b"X-HTTP-Method"])
def test_h8_a_method_override_is_denied(lab: Lab, name: bytes) -> None:
    answer = lab.send(request(b"/cases/1", name + b": DELETE", b"Content-Length: 0", method=b"POST"))

    assert answer.status == 403
    assert lab.app.refused[-1] == "METHOD_OVERRIDE"


def test_h9_a_forged_identity_is_refused_with_its_reason(lab: Lab) -> None:
    answer = lab.get(b"/cases/1", b"Zt-Subject: root", b"Accept: application/json")

    assert answer.status == 403
    assert json.loads(answer.body)["code"] == "HEADER_RESERVED"


@pytest.mark.parametrize("line", [b"DPoP: a\r\nDPoP: b", b"Authorization: Bearer a,Bearer b"])
def test_h10_two_credentials_are_none(lab: Lab, line: bytes) -> None:
    assert lab.get(b"/cases/1", line).status == 403
    assert lab.app.refused[-1] == "HEADER_DOUBLED"


def test_h10_a_comma_in_a_target_is_a_comma(lab: Lab) -> None:
    assert lab.get(b"/a,b?c=d,e").status == 200
    assert lab.backend.received[-1].line[1] == b"/a,b?c=d,e"


@pytest.mark.parametrize("name", [b"X-Forwarded-For", b"X-Real-IP", b"Forwarded"])
def test_h11_the_client_address_is_the_one_nginx_saw(lab: Lab, name: bytes) -> None:
    lab.get(b"/cases/1", name + b": 192.0.2.66")

    assert lab.app.authorised[-1].client_ip == "127.0.0.1"


def test_h12_a_body_waits_for_the_answer_and_never_reaches_the_hook(lab: Lab) -> None:
    body = os.urandom(1_000_000)
    length = b"Content-Length: %d" % len(body)

    answer = lab.send(request(b"/cases/1", length, method=b"POST", body=body))

    assert answer.status == 200
    assert lab.backend.received[-1].body == body
    assert not {b"Content-Length", b"Transfer-Encoding"} & lab.app.asked[-1].keys()


def test_h12_a_chunked_body_never_reaches_the_hook(lab: Lab) -> None:
    answer = lab.send(
        request(b"/cases/1", b"Transfer-Encoding: chunked", method=b"PUT", body=b"5\r\nhello\r\n0\r\n\r\n")
    )

    assert answer.status == 200
    assert lab.backend.received[-1].body == b"hello"


@pytest.mark.usefixtures("deny")
def test_h12_a_denied_body_goes_nowhere(lab: Lab) -> None:
    before, calls, body = len(lab.backend.received), lab.app.calls, os.urandom(500_000)

    answer = lab.send(request(b"/cases/1", b"Content-Length: %d" % len(body), method=b"POST", body=body))

    assert answer.status == 403
    assert (len(lab.backend.received), lab.app.calls) == (before, calls + 1)


def test_h13_head_and_get_are_asked_alike(lab: Lab) -> None:
    lab.get()
    lab.send(request(method=b"HEAD"))
    get, head = lab.app.authorised[-2:]

    assert (get.method, head.method) == ("GET", "HEAD")
    assert get.target == head.target and get.authorization == head.authorization


def test_h14_every_request_is_asked_about(lab: Lab) -> None:
    calls = lab.app.calls

    for _ in range(5):
        lab.get(b"/cases/1", b"Authorization: Bearer a")

    assert lab.app.calls == calls + 5


def test_h14_the_backend_cannot_make_a_denial_cacheable(lab: Lab) -> None:
    lab.app.deny = Decision.deny("TRUST_LOW")
    try:
        answer = lab.get()
    finally:
        lab.app.deny = None

    assert answer.values("cache-control") == [b"no-store"]


def test_h15_an_upgrade_is_not_passed_on(lab: Lab) -> None:
    lab.get(b"/cases/1", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")

    received = lab.backend.received[-1]
    assert received.values("upgrade") == received.values("connection") == []
    assert b"Upgrade" not in lab.app.asked[-1]


@pytest.mark.usefixtures("deny")
def test_h16_a_preflight_is_a_request_like_any_other(lab: Lab) -> None:
    preflight = [b"Origin: https://evil.example", b"Access-Control-Request-Method: DELETE"]

    answer = lab.send(request(b"/cases/1", *preflight, method=b"OPTIONS"))

    assert answer.status == 403
    assert lab.app.asked[-1][b"X-Original-Method"] == b"OPTIONS"


# -- what the client is told


@pytest.mark.usefixtures("deny")
@pytest.mark.parametrize(
    ("language", "text"), [(b"ja,en;q=0.5", "現在の端末"), (b"en-GB", "The present state of device and sign-in")]
)
def test_a_browser_is_told_why_in_its_language(lab: Lab, language: bytes, text: str) -> None:
    answer = lab.get(b"/cases/1", BROWSER, b"Accept-Language: " + language)

    assert answer.status == 403
    assert answer.values("content-type") == [b"text/html; charset=utf-8"]
    assert answer.values("content-language") == [language[:2]]
    assert text in answer.body.decode()
    assert b"d-7" in answer.body and b"TRUST_LOW" in answer.body


@pytest.mark.usefixtures("step_up")
@pytest.mark.parametrize("method", [b"GET", b"POST", b"HEAD", b"DELETE", b"OPTIONS"])
def test_the_status_of_a_refusal_is_kept_for_every_method(lab: Lab, method: bytes) -> None:
    length = [b"Content-Length: 5"] if method == b"POST" else []

    answer = lab.send(request(b"/cases/1", *length, method=method, body=b"hello" if length else b""))

    assert answer.status == 401
    assert answer.values("www-authenticate") == [b'Bearer realm="zt"']
    assert answer.values("zt-reason") == [b"TOKEN_EXPIRED"]
    assert answer.values("zt-decision") == [b"d-7"]


@pytest.mark.usefixtures("step_up")
def test_a_program_is_told_why_in_json(lab: Lab) -> None:
    answer = lab.get(b"/cases/1", b"Accept: application/json")

    assert answer.values("content-type") == [b"application/problem+json"]
    assert json.loads(answer.body)["status"] == 401


@pytest.mark.usefixtures("deny")
def test_a_client_cannot_put_words_into_the_page(lab: Lab) -> None:
    lab.app.deny = None

    answer = lab.get(b"/cases/1", b"Zt-Reason: TOKEN_EXPIRED", b"Zt-Decision: forged", b"Zt-Challenge: Basic", BROWSER)

    assert answer.status == 403
    assert answer.values("www-authenticate") == []
    assert b"forged" not in answer.body and b"HEADER_RESERVED" in answer.body


@pytest.mark.parametrize("code", [401, 403, 404, 500])
def test_what_the_backend_says_is_not_replaced(lab: Lab, code: int) -> None:
    body = b"the backend's own words"
    lab.backend.answers[b"/own"] = (
        b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nWWW-Authenticate: Basic realm=app\r\n\r\n%b" % (code, len(body), body)
    )

    answer = lab.get(b"/own", BROWSER)

    assert (answer.status, answer.body) == (code, body)
    assert answer.values("www-authenticate") == [b"Basic realm=app"]


@pytest.mark.parametrize(
    ("obligations", "expected"),
    [((), [b"max-age=600"]), (("no_store",), [b"no-store"]), (("notify_owner", "no_store"), [b"no-store"])],
)
def test_the_obligation_no_store_overrules_the_backend(
    lab: Lab, as_identity: dict[str, object], obligations: tuple[str, ...], expected: list[bytes]
) -> None:
    as_identity["obligations"] = obligations_list(Obligation(id=name) for name in obligations)
    lab.backend.answers[b"/kept"] = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nCache-Control: max-age=600\r\n\r\na"

    assert lab.get(b"/kept").values("cache-control") == expected


def test_the_backend_cannot_redirect_nginx_to_the_hook(lab: Lab) -> None:
    lab.backend.answers[b"/accel"] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Accel-Redirect: /_zt/auth\r\n\r\nok"

    answer = lab.get(b"/accel")

    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.values("zt-subject") == []


# -- connections


def test_requests_share_one_connection_to_the_hook(lab: Lab) -> None:
    with lab.connect() as client:
        for _ in range(8):
            client.sendall(request())
            assert status(one_answer(client)[0]) == 200

        kept = lab.hook.thread.call(lambda: len(lab.hook.server._connections))
    assert kept <= 2


def test_ipv6_alone_is_enough(nginx: Path, tmp_path: Path) -> None:
    with Lab(nginx, tmp_path, host="::1") as lab:
        assert lab.get().status == 200
        assert lab.app.authorised[-1].client_ip == "::1"
        assert lab.block.sidecar[0].startswith("[::1]:") and lab.block.listen[0].startswith("[::1]:")


def unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen(64)
    return sock


def test_over_a_unix_socket_nginx_needs_no_key(nginx: Path, tmp_path: Path) -> None:
    app = GateApp(credential(uids=[os.getuid()]))
    with Lab(nginx, tmp_path, hook_socket=unix(tmp_path / "zt.sock"), app=app) as lab:
        answer = lab.get(b"/cases/1", b"Zt-Pep-Key: forged")

        assert answer.status == 200
        assert app.authorised[-1].proof == "socket"
        assert b"Zt-Pep-Key" not in app.asked[-1]


def test_over_a_unix_socket_another_user_is_nobody(nginx: Path, tmp_path: Path) -> None:
    app = GateApp(credential(uids=[os.getuid() + 1]))
    with Lab(nginx, tmp_path, hook_socket=unix(tmp_path / "zt.sock"), app=app) as lab:
        answer = lab.get()

        # What the sidecar says to a proxy that it does not know is for nobody behind that proxy.
        assert answer.status == 500 and answer.values("www-authenticate") == []
        assert lab.backend.received == [] and app.refused == ["PEP_UNKNOWN"]


# -- several services behind one nginx


class Pair:
    """Two printed blocks of one proxy on one address, each with its backend; the secret one comes first."""

    HOSTS = (b"papers.example", b"www.example")

    def __init__(self, nginx: Path, folder: Path, **options: str) -> None:
        self.other = Backend()
        self.lab = Lab(nginx, folder, server_names=("papers.example",), beside=self._second, **options)

    def _second(self, first: NginxBlock) -> NginxBlock:
        return msgspec.structs.replace(first, server_names=("www.example",), backend=self.other.address)

    def close(self) -> None:
        self.lab.__exit__()
        self.other.close()


def test_each_host_reaches_its_own_backend_and_no_other(nginx: Path, tmp_path: Path) -> None:
    pair = Pair(nginx, tmp_path)
    papers, www = pair.lab.backend, pair.other

    answers = [
        pair.lab.send(request(b"/plan", host=host)).status
        for host in (*pair.HOSTS, b"evil.example", b"127.0.0.1", b"zt-front.invalid")
    ]
    pair.close()

    assert answers == [200, 200, 421, 421, 421]
    assert [r.values("host") for r in papers.received] == [[b"papers.example"]]
    assert [r.values("host") for r in www.received] == [[b"www.example"]]
    assert [r.target.host for r in pair.lab.app.authorised] == ["papers.example", "www.example"]


def test_on_one_connection_each_request_goes_where_its_host_says(nginx: Path, tmp_path: Path) -> None:
    pair = Pair(nginx, tmp_path)
    hosts = (b"www.example", b"papers.example", b"evil.example", b"www.example")

    with pair.lab.connect() as client:
        statuses = []
        for host in hosts:
            client.sendall(request(b"/plan", host=host))
            statuses.append(status(one_answer(client)[0]))
    pair.close()

    assert statuses == [200, 200, 421, 200]
    assert [r.values("host") for r in pair.lab.backend.received] == [[b"papers.example"]]


def test_a_block_that_is_the_default_of_its_address_refuses_other_hosts_before_it_asks(
    nginx: Path, tmp_path: Path
) -> None:
    """Somebody took the block that stands in front away, or gave ours the role of the default."""
    with Lab(nginx, tmp_path, edit=as_default) as lab:
        statuses = [lab.send(request(host=host)).status for host in (HOST, b"evil.example", b"127.0.0.1")]
        statuses.append(lab.send(request(host=None, version=b"1.0")).status)

        assert statuses[:3] == [200, 421, 421]
        # HTTP/1.0 may name no host: nginx puts the block's own name in its place, for the question and the backend.
        assert statuses[3] == 200
        assert {r.target.host for r in lab.app.authorised} == {HOST.decode()}
        assert all(r.values("host") == [HOST] for r in lab.backend.received)


def as_default(text: str) -> str:
    front, last = text.rsplit("\nserver {\n", 1)
    return front + "\nserver {\n" + re.sub(r"(listen [^;]+);", r"\1 default_server;", last, count=1)


# -- client certificates


class Authority:
    """A certificate authority for the test, with files as nginx wants them."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self._signed(self.name, self.key, ca=True))

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            names = [x509.DNSName(HOST.decode()), x509.UniformResourceIdentifier("urn:zt:device:laptop-1")]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, private = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(self._signed(subject, key, ca=False))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, private


class Tls:
    """The lab behind TLS, and clients with and without a certificate."""

    def __init__(self, nginx: Path, folder: Path) -> None:
        self.devices, self.strangers = Authority(folder, "devices"), Authority(folder, "strangers")
        server = self.devices.issue("server")
        self.lab = Lab(
            nginx,
            folder,
            certificate=str(server[0]),
            certificate_key=str(server[1]),
            device_cas=str(self.devices.path),
        )

    def get(self, identity: tuple[Path, Path] | None, *headers: bytes) -> Answer:
        context = ssl.create_default_context(cafile=str(self.devices.path))
        if identity is not None:
            context.load_cert_chain(*identity)
        with self.lab.connect() as plain, context.wrap_socket(plain, server_hostname=HOST.decode()) as client:
            client.sendall(request(b"/cases/1", *headers))
            return Answer(*one_answer(client))


@pytest.fixture(scope="module")
def tls(nginx: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    """nginx with TLS and client certificates."""
    running = Tls(nginx, tmp_path_factory.mktemp("tls"))
    with running.lab:
        yield running


def test_a_verified_client_certificate_reaches_the_hook_and_not_the_backend(tls: Tls) -> None:
    identity = tls.devices.issue("laptop-1")

    answer = tls.get(identity)

    authorised = tls.lab.app.authorised[-1]
    assert answer.status == 200
    assert authorised.client_cert.startswith(b"-----BEGIN%20CERTIFICATE-----%0A")
    assert authorised.target.scheme == "https"
    assert tls.lab.backend.received[-1].values("zt-client-cert") == []
    assert tls.lab.app.asked[-1][b"Zt-Client-Verify"] == b"SUCCESS"


def test_without_a_client_certificate_there_is_none(tls: Tls) -> None:
    assert tls.get(None).status == 200
    assert tls.lab.app.authorised[-1].client_cert == b""
    assert tls.lab.app.asked[-1][b"Zt-Client-Verify"] == b"NONE"


@pytest.mark.parametrize(
    "line",
    [b"Zt-Client-Cert: -----BEGIN", b"Zt-Client-Verify: SUCCESS", b"Zt-Client-Verify: SUCCESS\r\nZt-Client-Cert: x"],
)
def test_a_certificate_in_a_header_of_the_client_is_nothing(tls: Tls, line: bytes) -> None:
    assert tls.get(None, line).status == 200
    assert tls.lab.app.authorised[-1].client_cert == b""


@pytest.mark.parametrize("name", ["evil.example", ""])
def test_a_tls_client_that_names_no_host_of_ours_gets_no_handshake(tls: Tls, name: str) -> None:
    context = ssl.create_default_context(cafile=str(tls.devices.path))
    context.check_hostname = False
    calls = tls.lab.app.calls

    with tls.lab.connect() as plain, pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        context.wrap_socket(plain, server_hostname=name or None)

    assert tls.lab.app.calls == calls


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_tls_session_is_resumed_with_the_certificate_it_began_with(tls: Tls, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(tls.devices.path))
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(*tls.devices.issue("laptop-1"))
    session = None
    for _ in range(2):
        with (
            tls.lab.connect() as plain,
            context.wrap_socket(plain, server_hostname=HOST.decode(), session=session) as client,
        ):
            client.sendall(request())
            assert status(one_answer(client)[0]) == 200
            session, reused = client.session, client.session_reused

    assert reused
    assert tls.lab.app.asked[-1][b"Zt-Client-Verify"] == b"SUCCESS"


def test_a_certificate_of_another_authority_is_refused(tls: Tls) -> None:
    calls = tls.lab.app.calls

    answer = tls.get(tls.strangers.issue("stranger"))

    assert answer.status == 400
    assert tls.lab.app.calls == calls


# -- when things break


def test_h5_without_a_sidecar_everything_is_refused(nginx: Path, tmp_path: Path) -> None:
    with Lab(nginx, tmp_path) as lab:
        assert lab.get().status == 200
        lab.hook.thread.run(lab.hook.server.close(grace=0.1))
        seen = len(lab.backend.received)

        assert [lab.get(b"/cases/%d" % n).status for n in range(3)] == [500, 500, 500]
        assert len(lab.backend.received) == seen


class Silent:
    """Accepts connections and says nothing, or whatever a test wants."""

    def __init__(self, answer: bytes = b"") -> None:
        self.sock = listening()
        self.answer = answer
        self._kept: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            self._kept.append(client)
            with contextlib.suppress(OSError):
                client.recv(65536)
                if self.answer:
                    client.sendall(self.answer)
                    client.close()

    def close(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)  # which, other than closing it, ends an accept in another thread
        self._thread.join(10)
        for sock in (self.sock, *self._kept):
            sock.close()


IMPOSTORS = {
    "silence": b"",
    "no HTTP": b"hello\r\n\r\n",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-",
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "an error": b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
    "too many": b"HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n",
    "interim only": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a challenge without a decision": b"HTTP/1.1 401 X\r\nContent-Length: 0\r\nWWW-Authenticate: Basic\r\n\r\n",
}


@pytest.mark.parametrize("answer", IMPOSTORS.values(), ids=IMPOSTORS)
def test_h5_whatever_is_not_an_allow_is_refused(nginx: Path, tmp_path: Path, answer: bytes) -> None:
    impostor = Silent(answer)
    address = "{}:{}".format(*impostor.sock.getsockname())
    with Lab(nginx, tmp_path, sidecar=(address,)) as lab:
        assert lab.get().status in (500, 502, 504)
        assert lab.backend.received == []
    impostor.close()


class Down(GateApp):
    """The log is down: the sidecar denies what it cannot record."""

    def seal(self, answers: list[bytes]) -> list[bytes]:
        raise UnavailableError("LOG_UNAVAILABLE", "no space")


def test_h5_a_decision_that_cannot_be_recorded_is_a_denial(nginx: Path, tmp_path: Path) -> None:
    with Lab(nginx, tmp_path, app=Down()) as lab:
        assert lab.get().status == 403
        assert lab.backend.received == []


def test_a_restart_of_the_sidecar_refuses_nobody(nginx: Path, tmp_path: Path) -> None:
    """The successor listens before its predecessor stops, as two processes do with SO_REUSEPORT."""
    first, second = shared_port()
    with Lab(nginx, tmp_path, hook_socket=first) as lab:
        statuses: list[int] = []
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                statuses.append(lab.get().status)

        clients = [threading.Thread(target=load) for _ in range(4)]
        for client in clients:
            client.start()
        successor = Served(GateApp(), second, limits=Limits())
        lab.hook.thread.run(lab.hook.server.close(grace=2.0))
        before = len(statuses)
        while len(statuses) < before + 100:
            stop.wait(0.005)
        stop.set()
        for client in clients:
            client.join()

        assert set(statuses) == {200}
        assert len(successor.app.authorised) > 50
        successor.close()


def shared_port() -> tuple[socket.socket, socket.socket]:
    sockets = []
    port = 0
    for _ in range(2):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", port))
        port = sock.getsockname()[1]
        sockets.append(sock)
    sockets[0].listen(64)
    return sockets[0], sockets[1]


def test_a_reload_of_nginx_keeps_the_guarantee(nginx: Path, tmp_path: Path) -> None:
    with Lab(nginx, tmp_path) as lab:
        lab.get()
        lab.nginx.reload()
        lab.app.deny = Decision.deny("TRUST_LOW")

        assert {lab.get().status for _ in range(20)} == {403}


def test_nginx_says_nothing_alarming_about_the_block(lab: Lab) -> None:
    lab.get()

    alarming = [line for line in lab.nginx.errors().splitlines() if "[warn]" in line or "[emerg]" in line]
    assert [line for line in alarming if "is buffered to a temporary file" not in line] == []
