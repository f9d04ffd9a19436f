"""HTTP/2 between clients and a proxy: a client that says what no browser says, and what every proxy must make of it."""

from __future__ import annotations

import contextlib
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.e2e.forwarding import Front, folded
from tests.e2e.lab import HOST, Accepting
from zt_engine.core.decision import Decision
from zt_engine.core.request import canonical_path

Fields = Sequence[tuple[bytes, bytes]]
H2 = ("h2",)
GRPC = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
MESSAGE = b"\0\0\0\0\x02hi"


class Answered(NamedTuple):
    """What one stream came to; status 0 where it was reset, or the connection with it."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes


class Client:
    """One connection. It writes fields as it is told, and reads until every stream has ended."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # Nothing is put right on the way out, and nothing that a peer says back breaks the test.
        config = h2.config.H2Configuration(
            header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False,
            validate_inbound_headers=False,
        )  # fmt: skip
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        self._found: dict[int, Answered] = {}
        self._open: set[int] = set()

    def begin(self, fields: Fields, body: bytes = b"") -> int:
        """Send one request; return its stream."""
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, fields, end_stream=not body)
        if body:
            self._h2.send_data(stream, body, end_stream=True)
        self._open.add(stream)
        self._found[stream] = Answered(0, {}, b"")
        return stream

    def flush(self) -> None:
        """Send what was begun."""
        with contextlib.suppress(OSError):
            self._sock.sendall(self._h2.data_to_send())

    def read(self) -> dict[int, Answered]:
        """Return what became of every stream so far."""
        try:
            while self._open:
                self._sock.sendall(self._h2.data_to_send())
                data = self._sock.recv(65536)
                if not data:
                    break
                for event in self._h2.receive_data(data):
                    self._take(event)
        except (OSError, h2.exceptions.ProtocolError):
            pass
        self._open.clear()
        return self._found

    def ask(self, fields: Fields, body: bytes = b"") -> Answered:
        """Send one request and return its answer."""
        stream = self.begin(fields, body)
        return self.read()[stream]

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived(stream_id=stream, headers=headers):
                fields = {bytes(name): bytes(value) for name, value in headers or ()}
                self._found[stream] = Answered(int(fields[b":status"]), fields, b"")
            case h2.events.TrailersReceived(stream_id=stream, headers=headers):
                self._found[stream].fields.update((bytes(name), bytes(value)) for name, value in headers or ())
            case h2.events.DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                found = self._found[stream]
                self._found[stream] = found._replace(body=found.body + (data or b""))
                self._h2.acknowledge_received_data(length, stream)
            case h2.events.StreamEnded(stream_id=stream) | h2.events.StreamReset(stream_id=stream):
                self._open.discard(stream)
            case h2.events.ConnectionTerminated():
                self._open.clear()


def all_at_once(many: Iterable[Fields], connect: Callable[[], socket.socket]) -> list[int]:
    """Ask for each over a connection of its own, and return the statuses: some proxies take a second to hang up."""
    clients = [(Client(connect()), asked) for asked in many]
    streams = [client.begin(asked) for client, asked in clients]
    for client, _ in clients:
        client.flush()
    return [client.read()[stream].status for (client, _), stream in zip(clients, streams, strict=True)]


def fields(
    path: bytes = b"/cases/1", *more: tuple[bytes, bytes], method: bytes = b"GET", authority: bytes = HOST,
    scheme: bytes = b"https",
) -> list[tuple[bytes, bytes]]:  # fmt: skip
    """The fields of a request."""
    pseudo = [(b":method", method), (b":scheme", scheme), (b":authority", authority), (b":path", path)]
    return [*pseudo, *more]


HOSTILE: dict[str, Fields] = {
    "another host beside the authority": fields(b"/cases/1", (b"host", b"evil.example")),
    "two hosts beside the authority": fields(b"/cases/1", (b"host", HOST), (b"host", b"evil.example")),
    "two authorities": [*fields(), (b":authority", b"evil.example")],
    "an authority with a user": fields(authority=b"evil.example@" + HOST),
    "an authority of two": fields(authority=HOST + b",evil.example"),
    "an authority with a path": fields(authority=HOST + b"/evil"),
    "two paths": [*fields(), (b":path", b"/evil")],
    "a path with lines of its own": fields(b"/cases/1 HTTP/1.1\r\nZt-Subject: evil\r\nX: "),
    "a path with a blank": fields(b"/cases/1 HTTP/1.0"),
    "a path of dots": fields(b"/evil/../cases/1"),
    "a path of escaped dots": fields(b"/evil/%2e%2e/cases/1"),
    "an escaped slash": fields(b"/cases%2fevil"),
    "a fragment": fields(b"/cases/1#/evil"),
    "an absolute path": fields(b"http://evil.example/cases/1"),
    "a path without a slash": fields(b"evil"),
    "no path": [field for field in fields() if field[0] != b":path"],
    "a method of two words": fields(method=b"GET /evil HTTP/1.1\r\nX:"),
    "a method in lower case": fields(method=b"get"),
    "a method override": fields(b"/cases/1", (b"x-http-method-override", b"DELETE")),
    "TRACE": fields(method=b"TRACE"),
    "CONNECT": [(b":method", b"CONNECT"), (b":authority", HOST)],
    "CONNECT for a WebSocket": [*fields(method=b"CONNECT"), (b":protocol", b"websocket")],
    "CONNECT for another protocol": [*fields(method=b"CONNECT"), (b":protocol", b"connect-udp")],
    "another scheme": fields(scheme=b"http"),
    "a scheme with a host": fields(scheme=b"https://evil.example/x?"),
    "a name in capitals": fields(b"/cases/1", (b"Zt-Subject", b"evil")),
    "the name of who asks": fields(b"/cases/1", (b"zt-subject", b"evil")),
    "the same with an underscore": fields(b"/cases/1", (b"zt_subject", b"evil")),
    "the same with a dot": fields(b"/cases/1", (b"zt.subject", b"evil")),
    "a name with a colon": fields(b"/cases/1", (b"zt-subject:evil", b"x")),
    "a name with a line end": fields(b"/cases/1", (b"x\r\nzt-subject", b"evil")),
    "a value with a line end": fields(b"/cases/1", (b"x", b"1\r\nZt-Subject: evil")),
    "a value with a NUL": fields(b"/cases/1", (b"x", b"1\0evil")),
    "a pseudo-header behind the others": [*fields(), (b"x", b"1"), (b":path", b"/evil")],
    "Connection": fields(b"/cases/1", (b"connection", b"zt-subject")),
    "Transfer-Encoding": fields(b"/cases/1", (b"transfer-encoding", b"chunked")),
    "an upgrade to h2c": fields(b"/cases/1", (b"connection", b"upgrade"), (b"upgrade", b"h2c")),
    "where a proxy says the target was": fields(b"/cases/1", (b"x-forwarded-uri", b"/evil")),
    "where a proxy says the host was": fields(b"/cases/1", (b"x-forwarded-host", b"evil.example")),
    "a certificate": fields(b"/cases/1", (b"client-cert", b":evil:")),
    "two credentials": fields(b"/cases/1", (b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")),
}  # fmt: skip


class Http2Contract:
    """The same proxy as `EncryptedContract` has it, for clients that speak HTTP/2."""

    grpc_denied = 403
    """What the status of a refused gRPC call is; `grpc-status` says the rest where it is 200."""

    def test_over_http_2_a_request_reaches_the_backend_as_it_was_authorised_with_who_asks(
        self, encrypted: Front
    ) -> None:
        with encrypted.connected(protocols=H2) as sock:
            answer = Client(sock).ask(fields(b"/cases/1?x=%2F&y=a,b", (b"authorization", b"Bearer a.b.c")))

        authorised, received = encrypted.app.authorised[-1], encrypted.backend.received[-1]
        assert (answer.status, answer.body) == (200, b"backend")
        assert received.line == (b"GET", b"/cases/1?x=%2F&y=a,b", b"HTTP/1.1")
        assert received.values("host") == [HOST] and received.values("zt-subject") == [b"tanaka"]
        target = authorised.target
        assert (target.host, target.path, target.scheme) == (HOST.decode(), "/cases/1", "https")
        assert (target.port, authorised.client_ip) == (encrypted.proxy.address[1], "127.0.0.1")
        assert (authorised.method, authorised.authorization) == ("GET", b"Bearer a.b.c")

    def test_over_http_2_what_was_authorised_is_what_the_backend_gets(self, encrypted: Front) -> None:
        app, backend = encrypted.app, encrypted.backend
        asked, reached = len(app.authorised), len(backend.received)

        with contextlib.ExitStack() as stack:
            all_at_once(HOSTILE.values(), lambda: stack.enter_context(encrypted.connected(protocols=H2)))

        authorised, received = app.authorised[asked:], backend.received[reached:]
        for one in authorised:
            assert (one.target.host, one.target.scheme) == (HOST.decode(), "https")
            assert (one.target.port, one.client_ip) == (encrypted.proxy.address[1], "127.0.0.1")
            assert one.client_cert == b"" and one.method.isupper()
        for it in received:
            assert b"evil" not in it.head and it.values("host") == [HOST]
            assert it.values("zt-subject") == [b"tanaka"] and it.values("transfer-encoding") == []
            assert [folded(name) for name in it.names].count("zt-subject") == 1
            assert it.values("upgrade") == [] and it.line[0] not in (b"CONNECT", b"TRACE")
        came = Counter((it.line[0].decode(), canonical_path(it.line[1]).decode()) for it in received)
        assert came <= Counter((one.method, one.target.path) for one in authorised)

    def test_over_http_2_each_stream_of_a_connection_is_decided_by_itself(self, encrypted: Front) -> None:
        reached = len(encrypted.backend.received)
        with encrypted.connected(protocols=H2) as sock:
            client = Client(sock)
            streams = [
                client.begin(fields(b"/cases/1")),
                client.begin(fields(b"/cases/2", (b"x-original-uri", b"/cases/1"))),
                client.begin(fields(b"/cases/3", (b"zt-trust", b"100"))),
                client.begin(fields(b"/cases/4")),
            ]
            found = client.read()

        assert [found[stream].status for stream in (streams[0], streams[3])] == [200, 200]
        paths = {received.line[1] for received in encrypted.backend.received[reached:]}
        assert {b"/cases/1", b"/cases/4"} <= paths
        assert all(b"zt-trust: 100" not in item.head.lower() for item in encrypted.backend.received[reached:])

    def test_over_http_2_a_refusal_says_why(self, encrypted: Front) -> None:
        reached = len(encrypted.backend.received)
        encrypted.app.deny = Decision.deny("TRUST_LOW")
        with encrypted.connected(protocols=H2) as sock:
            answer = Client(sock).ask(fields(b"/cases/1", (b"accept", b"application/json")))
        encrypted.app.deny = None

        assert (answer.status, answer.fields[b"zt-reason"]) == (403, b"TRUST_LOW")
        assert json.loads(answer.body)["code"] == "TRUST_LOW"
        assert len(encrypted.backend.received) == reached

    def test_a_grpc_call_is_asked_about_as_what_it_is(self, encrypted: Front) -> None:
        call = fields(b"/people.People/Get", *GRPC, method=b"POST")
        with encrypted.connected(protocols=H2) as sock:
            allowed = Client(sock).ask(call, MESSAGE)
        authorised, received = encrypted.app.authorised[-1], encrypted.backend.received[-1]
        reached = len(encrypted.backend.received)
        encrypted.app.deny = Decision.deny("TRUST_LOW")
        with encrypted.connected(protocols=H2) as sock:
            denied = Client(sock).ask(call, MESSAGE)
        encrypted.app.deny = None

        assert allowed.status == 200
        assert (received.line[:2], received.body) == ((b"POST", b"/people.People/Get"), MESSAGE)
        assert (authorised.method, authorised.target.path) == ("POST", "/people.People/Get")
        assert denied.status == self.grpc_denied
        # PERMISSION_DENIED: of itself, or because that is what a gRPC client makes of a 403.
        assert denied.status == 403 or denied.fields[b"grpc-status"] == b"7"
        assert len(encrypted.backend.received) == reached


class GrpcBackend(Accepting):
    """A service that speaks HTTP/2 without TLS, and answers every call alike."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[bytes, bytes], bytes]] = []
        super().__init__()

    def _serve(self, client: socket.socket) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        asked: dict[int, tuple[dict[bytes, bytes], bytearray]] = {}
        with contextlib.suppress(OSError, h2.exceptions.ProtocolError), client:
            while True:
                client.sendall(connection.data_to_send())
                data = client.recv(65536)
                if not data:
                    return
                for event in connection.receive_data(data):
                    match event:
                        case h2.events.RequestReceived(stream_id=stream, headers=headers):
                            asked[stream] = {bytes(name): bytes(value) for name, value in headers or ()}, bytearray()
                        case h2.events.DataReceived(stream_id=stream, data=piece, flow_controlled_length=length):
                            asked[stream][1].extend(piece or b"")
                            connection.acknowledge_received_data(length, stream)
                        case h2.events.StreamEnded(stream_id=stream):
                            named, body = asked.pop(stream)
                            self.received.append((named, bytes(body)))
                            connection.send_headers(stream, [(b":status", b"200"), GRPC[0]])
                            connection.send_data(stream, MESSAGE)
                            connection.send_headers(stream, [(b"grpc-status", b"0")], end_stream=True)

    def close(self) -> None:
        self._sock.close()


class GrpcContract:
    """A service of gRPC behind the same proxy, which `--backend-http2` was printed for: `service` has that backend."""

    def test_a_call_comes_to_a_grpc_service_with_who_calls_and_its_trailers_come_back(self, service: Front) -> None:
        call = fields(b"/people.People/Get", *GRPC, (b"zt_subject", b"evil"), method=b"POST")
        with service.connected(protocols=H2) as sock:
            Client(sock).ask(call, MESSAGE)
        with service.connected(protocols=H2) as sock:
            answer = Client(sock).ask([field for field in call if field[1] != b"evil"], MESSAGE)

        received, body = service.backend.received[-1]
        authorised = service.app.authorised[-1]
        assert (answer.status, answer.body, answer.fields[b"grpc-status"]) == (200, MESSAGE, b"0")
        assert (received[b":method"], received[b":path"]) == (b"POST", b"/people.People/Get")
        assert (received[b":authority"], received[b"zt-subject"], body) == (HOST, b"tanaka", MESSAGE)
        assert (authorised.method, authorised.target.path) == ("POST", "/people.People/Get")
        assert all(b"evil" not in named.values() for named, _ in service.backend.received)

    def test_a_call_that_is_refused_does_not_come_to_the_service(self, service: Front) -> None:
        reached = len(service.backend.received)
        service.app.deny = Decision.deny("TRUST_LOW")
        with service.connected(protocols=H2) as sock:
            answer = Client(sock).ask(fields(b"/people.People/Get", *GRPC, method=b"POST"), MESSAGE)
        service.app.deny = None

        assert answer.status == 403 or answer.fields[b"grpc-status"] == b"7"
        assert len(service.backend.received) == reached
