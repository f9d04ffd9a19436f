"""What every proxy that asks over HTTP must do, whatever it is called: one contract, run with real proxies.

A front is a real proxy between a client that sends raw bytes, a gate that allows what the hook accepts, and a backend
that records every byte.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import pytest

from tests.e2e.lab import HOST, Answer, Backend, request
from tests.hook_support import END, GateApp, Served, header, listening, one_answer, until_closed
from tests.proxies.authority import Authority, Issued
from zt_engine.core.decision import Decision, Obligation
from zt_engine.core.errors import InputError
from zt_engine.core.request import canonical_path
from zt_engine.sidecar.hooks.answers import obligations_list
from zt_engine.sidecar.hooks.reading import Paths

HTML, JSON = b"Accept: text/html", b"Accept: application/json"
UPGRADE = (
    b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello"
)


class Proxy(Protocol):
    """A lab of `tests.proxies`."""

    address: tuple[str, int]

    @property
    def said(self) -> str: ...

    def stop(self) -> None: ...


class Certificates(NamedTuple):
    """Who vouches for devices, who for nobody, and what the proxy serves with."""

    devices: Authority
    strangers: Authority
    server: Issued

    @classmethod
    def made(cls, folder: Path) -> Certificates:
        devices = Authority(folder, "devices")
        return cls(devices, Authority(folder, "strangers"), devices.issue("server", hosts=[HOST.decode()]))

    @property
    def tls(self) -> tuple[Path, Path, Path | None]:
        return (*self.server, self.devices.path)


class Front:
    """Client -> proxy -> (gate, backend). `start` gets the addresses of the last two and returns the running proxy."""

    def __init__(
        self,
        start: Callable[[str, str], Proxy],
        app: GateApp,
        *,
        hook_tls: ssl.SSLContext | None = None,
        certificates: Certificates | None = None,
        hook_socket: socket.socket | None = None,
        sidecar_address: str = "",
        backend: Any = None,
    ) -> None:
        self.app = app
        self.backend = backend or Backend()
        self.hook = Served(app, hook_socket or listening(), tls=hook_tls)
        self.certificates = certificates
        try:
            self.proxy = start(sidecar_address or "{}:{}".format(*self.hook.address), self.backend.address)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if hasattr(self, "proxy"):
            self.proxy.stop()
        self.backend.close()
        self.hook.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def connected(
        self, identity: Issued | None = None, *, name: str = HOST.decode(), protocols: Sequence[str] = ()
    ) -> Iterator[socket.socket]:
        with socket.create_connection(self.proxy.address, timeout=10) as plain:
            if self.certificates is None:
                yield plain
                return
            context = ssl.create_default_context(cafile=str(self.certificates.devices.path))
            context.check_hostname = False
            if identity is not None:
                context.load_cert_chain(*identity)
            if protocols:
                context.set_alpn_protocols(list(protocols))
            with context.wrap_socket(plain, server_hostname=name) as client:
                yield client

    def send(self, raw: bytes, identity: Issued | None = None) -> Answer:
        with self.connected(identity) as client:
            client.sendall(raw)
            return Answer(*one_answer(client, bodiless=raw.startswith(b"HEAD ")))

    def get(self, target: bytes = b"/cases/1", *headers: bytes, **how: Any) -> Answer:
        return self.send(request(target, *headers, **how))


def folded(name: str) -> str:
    """A header name as WSGI and PHP read it."""
    return name.lower().replace("_", "-").replace(".", "-")


class Impostor:
    """Somebody where the sidecar should be, who says what a test wants and hangs up."""

    def __init__(self, answer: bytes, *, tls: ssl.SSLContext | None = None) -> None:
        self.sock = listening()
        self.address = "{}:{}".format(*self.sock.getsockname())
        self.answer = answer
        self._tls = tls
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                spoken = client if self._tls is None else self._tls.wrap_socket(client, server_side=True)
                with spoken:
                    spoken.recv(65536)
                    spoken.sendall(self.answer)

    def close(self) -> None:
        self.sock.close()


IMPOSTORS = {
    "nothing": b"",
    "no HTTP": b"hello\r\n\r\n",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-",
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "an error": b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
    "interim only": b"HTTP/1.1 100 Continue\r\n\r\n",
}
"""What may be said at the sidecar's address without anybody getting in."""


class ProxyContract:
    """What holds behind every proxy, whichever way it asks; `hook` is the class that is asked."""

    hook: ClassVar[Any]

    @pytest.fixture
    def identity(self, front: Front) -> Iterator[dict[str, Any]]:
        """Who asks, as a test wants it; put back after it."""
        before = dict(front.app.identity)
        yield front.app.identity
        front.app.identity.clear()
        front.app.identity.update(before)

    def test_h4_the_largest_identity_passes(self, front: Front, identity: dict[str, Any]) -> None:
        identity["groups"] = tuple(f"group-{number:04}" for number in range(360))
        identity["assertion"] = "a" * 4000

        answer = front.get()

        received = front.backend.received[-1]
        assert answer.status == 200
        assert len(received.values("zt-groups")[0]) > 3900 and received.values("zt-assertion") == [b"a" * 4000]

    def test_h4_whoever_is_nobody_is_nobody_at_the_backend(self, front: Front, identity: dict[str, Any]) -> None:
        identity.update(subject="", device="", groups=())

        answer = front.get()

        received = front.backend.received[-1]
        assert answer.status == 200
        assert [received.values(name) for name in ("zt-subject", "zt-device", "zt-groups")] in ([[]] * 3, [[b""]] * 3)

    @pytest.mark.parametrize("target", [b"/x/../cases/1", b"//cases/1", b"/cases/./1", b"/cases/%31"])
    def test_a_path_is_put_right_or_refused_as_the_hook_states_it(self, front: Front, target: bytes) -> None:
        before = len(front.backend.received)

        answer = front.get(target)

        reached = [received.line[1] for received in front.backend.received[before:]]
        if self.hook.paths is Paths.TIDIED:
            assert (answer.status, reached) == (200, [b"/cases/1"])
            assert front.app.authorised[-1].target.path == "/cases/1"
        else:
            assert (answer.status, answer.values("zt-reason"), reached) == (403, [b"PATH_AMBIGUOUS"], [])


class ForwardingContract(ProxyContract):
    """The rules of a safe hook, for a proxy of which a module has a `front` in plain HTTP."""

    strips_connection: ClassVar[bool] = False
    """Whether the proxy takes away what a client names in `Connection`, the identity included."""

    @pytest.fixture
    def denied(self, front: Front) -> Iterator[None]:
        front.app.deny = Decision.deny("TRUST_LOW")
        yield
        front.app.deny = None

    def test_an_allowed_request_reaches_the_backend_as_it_was_authorised_with_who_asks(self, front: Front) -> None:
        answer = front.get(b"/cases/1?x=%2F&y=a,b", b"Authorization: Bearer a.b.c")

        authorised, received = front.app.authorised[-1], front.backend.received[-1]
        assert (answer.status, answer.body) == (200, b"backend")
        assert received.line == (b"GET", b"/cases/1?x=%2F&y=a,b", b"HTTP/1.1")
        assert (authorised.target.host, authorised.target.path) == (HOST.decode(), "/cases/1")
        assert (authorised.target.scheme, authorised.target.port) == ("http", front.proxy.address[1])
        assert (authorised.client_ip, authorised.authorization) == ("127.0.0.1", b"Bearer a.b.c")
        assert received.values("zt-subject") == [b"tanaka"] and received.values("zt-device") == [b"laptop-1"]
        assert received.values("zt-trust") == [b"77"] and received.values("zt-decision") == [b"d-7"]
        assert received.values("authorization") == [b"Bearer a.b.c"]
        assert received.values("zt-pep-key") == received.values("x-forwarded-tls-client-cert") == []

    @pytest.mark.usefixtures("denied")
    @pytest.mark.parametrize(("language", "word"), [(b"ja", "アクセス"), (b"en", "access")])
    def test_a_denied_person_gets_the_page_in_her_language(self, front: Front, language: bytes, word: str) -> None:
        before = len(front.backend.received)

        answer = front.get(b"/cases/1", HTML, b"Accept-Language: " + language)

        assert (answer.status, answer.values("zt-reason")) == (403, [b"TRUST_LOW"])
        assert b'<html lang="%b">' % language in answer.body and word in answer.body.decode().lower()
        assert answer.values("content-language") == [language] and answer.values("cache-control") == [b"no-store"]
        assert len(front.backend.received) == before

    @pytest.mark.usefixtures("denied")
    def test_a_denied_program_gets_a_problem(self, front: Front) -> None:
        answer = front.get(b"/cases/1", JSON)

        problem = json.loads(answer.body)
        assert (answer.status, problem["status"], problem["code"]) == (403, 403, "TRUST_LOW")
        assert answer.values("content-type")[0].startswith(b"application/problem+json")

    def test_a_step_up_is_401_with_one_challenge(self, front: Front) -> None:
        front.app.deny = Decision.deny("TOKEN_EXPIRED", step_up=True)
        answer = front.get(b"/cases/1", HTML)
        front.app.deny = None

        assert answer.status == 401
        assert len(answer.values("www-authenticate")) == 1 and answer.body.startswith(b"<!")

    @pytest.mark.parametrize(
        "name",
        [
            b"Zt-Subject", b"zt-decision", b"ZT-TRUST", b"Zt-Assertion", b"Zt-Anything", b"X-Zt-Subject",
            b"Zt_Subject", b"Zt.Subject", b"zt.max-label", b"Zt-Max.Label", b"X.Forwarded.Uri", b"X_Forwarded_Uri",
            b"Client-Cert", b"Client_Cert", b"X-Original-URI", b"X-Original-Method", b"X-Envoy-Original-Path",
            b"X-Rewrite-Url", b"X-Client-Cert", b"Ssl-Client-Cert", b"X-HTTP-Method-Override", b"Zt-Pep-Key",
            b"Zt-Request-Id", b"X-Forwarded-Tls-Client-Cert", b"X-Forwarded-Tls-Client-Cert-Info",
        ],
    )  # fmt: skip
    def test_h9_no_forged_name_reaches_the_backend_under_any_spelling(self, front: Front, name: bytes) -> None:
        before = len(front.backend.received)

        answer = front.get(b"/cases/1", name + b": forged")

        assert answer.status in (200, 400, 403)
        for received in front.backend.received[before:]:
            assert b"forged" not in received.head
            assert [folded(item) for item in received.names].count("zt-subject") == 1

    @pytest.mark.parametrize(
        "line",
        [
            b"X-Forwarded-Uri: /public", b"X-Forwarded-Method: HEAD", b"X-Forwarded-Host: evil.example",
            b"X-Forwarded-Proto: https", b"X-Forwarded-Port: 443", b"X-Forwarded-For: 192.0.2.1",
            b"X-Forwarded-Prefix: /public", b"X-Real-IP: 192.0.2.1", b"Forwarded: for=192.0.2.1;host=evil.example",
            b"Client-Cert: :AAAA:", b"X-Forwarded-Tls-Client-Cert: AAAA",
        ],
    )  # fmt: skip
    def test_h1_what_the_hook_believes_is_never_what_a_client_wrote(self, front: Front, line: bytes) -> None:
        before = len(front.app.authorised)

        answer = front.get(b"/cases/1", line)

        assert answer.status in (200, 403)
        for authorised in front.app.authorised[before:]:
            target = authorised.target
            assert (target.path, target.host, authorised.method) == ("/cases/1", HOST.decode(), "GET")
            assert (target.scheme, target.port) == ("http", front.proxy.address[1])
            assert (authorised.client_ip, authorised.client_cert) == ("127.0.0.1", b"")
        assert all(b"evil" not in item.head for item in front.backend.received[-1:])

    @pytest.mark.parametrize(
        "named", [b"close, Zt-Subject", b"Zt-Subject", b"close,zt-decision", b"keep-alive, X-Forwarded-For",
                  b"X-Forwarded-Uri", b"Zt-Pep-Key", b"Client-Cert", b"X-Forwarded-Tls-Client-Cert"],
    )  # fmt: skip
    def test_nobody_takes_the_identity_away_on_the_way_to_the_backend(self, front: Front, named: bytes) -> None:
        before = len(front.backend.received)

        answers = [
            front.get(b"/cases/1", b"Connection: " + named),
            front.get(b"/cases/1", b"Connection: close", b"Connection: " + named),
        ]

        for received in front.backend.received[before:]:
            assert received.values("zt-subject") == [b"tanaka"] and received.values("zt-decision") == [b"d-7"]
            assert received.values("x-forwarded-for") == [b"127.0.0.1"]
        assert {answer.status for answer in answers} == ({400} if self.strips_connection else {200})

    def test_h7_two_hosts_are_refused(self, front: Front) -> None:
        before = len(front.backend.received)

        assert front.get(b"/cases/1", b"Host: evil.example").status == 400
        assert len(front.backend.received) == before

    @pytest.mark.parametrize("name", [b"Authorization", b"DPoP"])
    def test_h10_a_credential_comes_once(self, front: Front, name: bytes) -> None:
        before = len(front.backend.received)

        answer = front.get(b"/cases/1", name + b": Bearer a", name + b": Bearer b")

        assert (answer.status, answer.values("zt-reason")) == (403, [b"HEADER_DOUBLED"])
        assert len(front.backend.received) == before

    @pytest.mark.parametrize(
        "target",
        [
            b"/a/../b", b"/a/./b", b"//a", b"/a//b", b"/a/%2e%2e/b", b"/a/..%2fb", b"/a%2Fb", b"/a%5cb", b"/a\\..\\b",
            b"/a%00b", b"/%61dmin", b"/a;x=1/b", b"/a/..;/b", b"/a%252e", b"/a%zz", b"/a#b", b"/a%0d%0ab",
            b"/caf\xc3\xa9", b"/a?b#c", b"*", b"/a%c0%af", b"/A%3Fb", b"/ok%E6%83%85?x=/../",
        ],
    )  # fmt: skip
    def test_invariant_3_what_was_authorised_is_what_the_backend_gets(self, front: Front, target: bytes) -> None:
        before, authorised_before = len(front.backend.received), len(front.app.authorised)

        with front.connected() as client:
            client.sendall(request(target, b"Connection: close"))
            until_closed(client)

        reached, authorised = front.backend.received[before:], front.app.authorised[authorised_before:]
        assert len(reached) <= len(authorised) <= 1
        for received, asked in zip(reached, authorised, strict=False):
            path = received.line[1].partition(b"?")[0]
            assert canonical_path(path).decode() == asked.target.path
            with contextlib.suppress(InputError):
                assert canonical_path(target.partition(b"?")[0]).decode() == asked.target.path

    def test_h7_the_absolute_form_names_no_other_host(self, front: Front) -> None:
        before = len(front.backend.received)

        foreign = front.get(b"http://evil.example/cases/1")
        mixed = front.send(request(b"http://evil.example/cases/1", host=HOST))
        own = front.get(b"http://%b/cases/2" % HOST)

        reached = front.backend.received[before:]
        assert {foreign.status, mixed.status} <= {400, 403, 404, 421} and own.status in (200, 403)
        assert all(item.values("host")[0].startswith(HOST) for item in reached)

    @pytest.mark.parametrize("host", [b"evil.example", b"127.0.0.1", b"", b"portal.example.evil", b"portal.example,x"])
    def test_a_host_that_is_not_this_services_is_refused_before_anybody_is_asked(
        self, front: Front, host: bytes
    ) -> None:
        before, calls = len(front.backend.received), front.app.calls

        answer = front.get(host=host)

        assert answer.status in (400, 404, 421)
        assert (len(front.backend.received), front.app.calls) == (before, calls)

    @pytest.mark.parametrize("method", [b"get", b"Get", b"TRACE", b"CONNECT", b"G-T"])
    def test_h8_a_method_that_is_none_or_shows_too_much_never_arrives(self, front: Front, method: bytes) -> None:
        before = len(front.backend.received)

        front.get(method=method)

        assert len(front.backend.received) == before
        assert front.app.authorised == [] or front.app.authorised[-1].method.isupper()

    @pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
    def test_h12_a_body_reaches_the_backend_whole_and_the_hook_never(self, front: Front, framing: bytes) -> None:
        body = b"a=b&c" if framing.startswith(b"C") else b"5\r\na=b&c\r\n0\r\n\r\n"

        answer = front.send(request(b"/cases/1", framing, b"Content-Encoding: identity", method=b"POST", body=body))

        received = front.backend.received[-1]
        assert answer.status == 200
        assert (received.line[0], received.body) == (b"POST", b"a=b&c")
        assert front.app.authorised[-1].method == "POST"

    @pytest.mark.usefixtures("denied")
    def test_a_denied_body_is_not_read_by_anybody(self, front: Front) -> None:
        before = len(front.backend.received)

        answer = front.send(request(b"/cases/1", b"Content-Length: 5", method=b"POST", body=b"a=b&c"))

        assert answer.status == 403 and len(front.backend.received) == before

    def test_h15_a_websocket_is_decided_once_and_then_opened(self, front: Front) -> None:
        front.backend.answers[b"/socket"] = SWITCHED

        with front.connected() as client:
            client.sendall(request(b"/socket", *UPGRADE))
            head = b""
            while not head.endswith(END):
                head += client.recv(1)
            spoken = client.recv(5, socket.MSG_WAITALL)

        received = front.backend.received[-1]
        assert head.startswith(b"HTTP/1.1 101") and spoken == b"hello"
        assert received.values("zt-subject") == [b"tanaka"] and header(received.head, "upgrade") == [b"websocket"]
        assert (front.app.authorised[-1].target.scheme, front.app.authorised[-1].method) == ("http", "GET")

    @pytest.mark.parametrize("protocol", [b"h2c", b"H2C", b"websocket, h2c"])
    def test_h15_nothing_but_a_websocket_changes_the_protocol(self, front: Front, protocol: bytes) -> None:
        before = len(front.backend.received)

        front.get(
            b"/cases/1", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol,
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
        )  # fmt: skip

        # Over another protocol requests would follow that nobody was asked about.
        passed = [header(received.head, "upgrade") for received in front.backend.received[before:]]
        assert all(found in ([], [b"websocket"]) for found in passed)

    @pytest.mark.usefixtures("denied")
    def test_h15_a_denied_websocket_stays_closed(self, front: Front) -> None:
        before = len(front.backend.received)

        assert front.get(b"/socket", *UPGRADE).status == 403
        assert len(front.backend.received) == before

    def test_h16_a_preflight_is_asked_about_as_what_it_is(self, front: Front) -> None:
        front.app.deny = Decision.deny("TRUST_LOW")
        preflight = (b"Origin: https://evil.example", b"Access-Control-Request-Method: PUT")
        answer = front.get(b"/cases/1", *preflight, method=b"OPTIONS")
        front.app.deny = None

        assert answer.status == 403 and answer.values("access-control-allow-origin") == []

    @pytest.mark.parametrize("method", [b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND"])
    def test_h13_the_method_that_is_judged_is_the_one_that_arrives(self, front: Front, method: bytes) -> None:
        answer = front.get(method=method)

        assert answer.status == 200
        assert front.backend.received[-1].line[0] == method
        assert front.app.authorised[-1].method == method.decode()

    def test_an_old_client_is_served_or_refused_like_any_other(self, front: Front) -> None:
        before = len(front.backend.received)

        with_host = front.get(version=b"1.0")
        without = front.get(version=b"1.0", host=None)

        assert with_host.status == 200 and without.status in (400, 404, 421)
        assert len(front.backend.received) == before + 1

    def test_more_headers_than_the_sidecar_reads_are_refused_with_a_reason(self, front: Front) -> None:
        before = len(front.backend.received)

        answer = front.get(b"/cases/1", *(b"X-Filler-%d: 1" % number for number in range(300)))

        assert answer.status == 403 and answer.values("zt-reason") == [b"HOOK_TOO_LARGE"]
        assert len(front.backend.received) == before

    def test_the_obligation_no_store_is_carried_out(self, front: Front) -> None:
        front.backend.answers[b"/kept"] = (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: public, max-age=99\r\n\r\nok"
        )
        before = front.app.identity["obligations"]
        front.app.identity["obligations"] = obligations_list([Obligation("no_store"), Obligation("max_rows", 5)])
        answer = front.get(b"/kept")
        front.app.identity["obligations"] = before

        assert answer.values("cache-control") == [b"no-store"]

    def test_requests_share_connections_to_the_hook(self, front: Front) -> None:
        with front.connected() as client:
            for _ in range(8):
                client.sendall(request())
                assert one_answer(client)[0].startswith(b"HTTP/1.1 200")

        kept = front.hook.thread.call(lambda: len(front.hook.server._connections))
        assert kept <= 3


class EncryptedContract:
    """The same proxy with TLS in front and client certificates: a module has it as `encrypted`."""

    def test_a_verified_client_certificate_reaches_the_hook_and_not_the_backend(self, encrypted: Front) -> None:
        assert encrypted.certificates is not None
        laptop = encrypted.certificates.devices.issue("laptop-1", uris=["urn:zt:device:laptop-1"])

        answer = encrypted.send(request(), laptop)

        authorised, received = encrypted.app.authorised[-1], encrypted.backend.received[-1]
        assert answer.status == 200
        assert authorised.client_cert.startswith(b"-----BEGIN%20CERTIFICATE-----%0A")
        assert (authorised.target.scheme, authorised.target.port) == ("https", encrypted.proxy.address[1])
        assert not [name for name in received.names if "cert" in name.lower()]

    @pytest.mark.parametrize("line", [b"", b"Client-Cert: :AAAA:", b"X-Forwarded-Tls-Client-Cert: AAAA"])
    def test_without_one_there_is_none_whatever_a_header_says(self, encrypted: Front, line: bytes) -> None:
        authorised = len(encrypted.app.authorised)

        answer = encrypted.send(request(b"/cases/1", *filter(None, [line])))

        assert answer.status in (200, 403)
        assert {item.client_cert for item in encrypted.app.authorised[authorised:]} <= {b""}

    def test_one_of_another_authority_gets_no_handshake(self, encrypted: Front) -> None:
        assert encrypted.certificates is not None
        calls = encrypted.app.calls
        stranger = encrypted.certificates.strangers.issue("stranger")

        with pytest.raises((ssl.SSLError, ConnectionError)), encrypted.connected(stranger) as client:
            client.sendall(request())
            assert client.recv(1) != b""

        assert encrypted.app.calls == calls

    def test_a_connection_for_another_name_reaches_nothing(self, encrypted: Front) -> None:
        calls, reached = encrypted.app.calls, len(encrypted.backend.received)
        for name in ("evil.example", "localhost"):
            try:
                with encrypted.connected(name=name) as client:
                    client.sendall(request())
                    assert one_answer(client)[0][9:12] in (b"421", b"404", b"400", b"")
            except (ssl.SSLError, ConnectionError):
                pass

        assert (encrypted.app.calls, len(encrypted.backend.received)) == (calls, reached)
