"""The decision listener on real sockets: only a valid request gets a 200, whatever is sent, on whichever socket."""

from __future__ import annotations

import os
import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.hook_support import (
    KEY,
    GateApp,
    Served,
    credential,
    header,
    hook_request,
    listening,
    one_answer,
    status,
    until_closed,
)
from tests.listener_support import Serve, ask
from tests.listener_support import serve as serve
from tests.listener_support import served as served
from zt_engine.sidecar.hooks.credentials import Peer

# -- what is answered


def test_the_exact_request_is_answered_and_the_connection_kept(served: Served) -> None:
    with served.connect() as client:
        for _ in range(3):
            client.sendall(hook_request())
            head, body = one_answer(client)

            assert status(head) == 200
            assert body == b""
            assert header(head, "cache-control") == [b"no-store"]
            assert header(head, "connection") == []


def test_a_request_split_at_every_byte_is_the_same_request(served: Served) -> None:
    request = hook_request()
    with served.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in range(1, len(request)):
            client.sendall(request[:cut])
            client.sendall(request[cut:])
            assert status(one_answer(client)[0]) == 200

        for byte in request:
            client.send(bytes([byte]))
        assert status(one_answer(client)[0]) == 200


def test_http_1_0_is_answered_and_closed(served: Served) -> None:
    answer = ask(served, hook_request(line=b"GET /v1/hooks/nginx HTTP/1.0"))

    assert status(answer) == 200


def test_a_client_that_closes_its_half_after_a_whole_request_is_answered(served: Served) -> None:
    assert status(ask(served, hook_request())) == 200


def test_connection_close_is_obeyed(served: Served) -> None:
    with served.connect() as client:
        client.sendall(hook_request(extra=[b"Connection: close"]))
        answer = until_closed(client)

    assert status(answer) == 200


# -- what is refused

FRAMING = {
    "a second request in the same read": hook_request() + hook_request(),
    "half a second request in the same read": hook_request() + b"GET /v1/ho",
    "a byte after the request": hook_request() + b"X",
    "an empty line before the request": b"\r\n" + hook_request(),
    "empty lines after the request": hook_request() + b"\r\n\r\n",
    "a body with a length": hook_request(extra=[b"Content-Length: 3"]) + b"abc",
    "a body on a POST": hook_request(line=b"POST /v1/hooks/nginx HTTP/1.1", extra=[b"Content-Length: 1"]) + b"a",
    "an empty length": hook_request(extra=[b"Content-Length:"]),
    "a signed length": hook_request(extra=[b"Content-Length: +0"]),
    "two lengths": hook_request(extra=[b"Content-Length: 0", b"Content-Length: 0"]),
    "two different lengths": hook_request(extra=[b"Content-Length: 0", b"Content-Length: 5"]) + b"GET /",
    "length and chunks": hook_request(extra=[b"Content-Length: 0", b"Transfer-Encoding: chunked"]) + b"0\r\n\r\n",
    "a chunk": hook_request(extra=[b"Transfer-Encoding: chunked"]) + b"1\r\na\r\n0\r\n\r\n",
    "no chunk": hook_request(extra=[b"Transfer-Encoding: chunked"]) + b"0\r\n\r\n",
    "trailers": hook_request(extra=[b"Transfer-Encoding: chunked"]) + b"0\r\nZt-Pep-Key: " + KEY + b"\r\n\r\n",
    "an unknown coding": hook_request(extra=[b"Transfer-Encoding: gzip"]),
    "a coding in capitals": hook_request(extra=[b"TRANSFER-ENCODING: identity"]),
    "an announced trailer": hook_request(extra=[b"Trailer: Zt-Pep-Key"]),
    "TE": hook_request(extra=[b"TE: trailers"]),
    "Expect": hook_request(extra=[b"Expect: 100-continue"]),
    "Upgrade": hook_request(extra=[b"Upgrade: websocket"]),
    "Upgrade with Connection": hook_request(extra=[b"Connection: upgrade", b"Upgrade: h2c"]),
    "CONNECT": hook_request(line=b"CONNECT portal.example:443 HTTP/1.1"),
    "POST": hook_request(line=b"POST /v1/hooks/nginx HTTP/1.1"),
    "HEAD": hook_request(line=b"HEAD /v1/hooks/nginx HTTP/1.1"),
    "a method in small letters": hook_request(line=b"get /v1/hooks/nginx HTTP/1.1"),
    "HTTP/0.9": b"GET /v1/hooks/nginx\r\n\r\n",
    "HTTP/0.9 by name": hook_request(line=b"GET /v1/hooks/nginx HTTP/0.9"),
    "HTTP/1.2": hook_request(line=b"GET /v1/hooks/nginx HTTP/1.2"),
    "HTTP/2.0": hook_request(line=b"GET /v1/hooks/nginx HTTP/2.0"),
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "RTSP": hook_request(line=b"GET /v1/hooks/nginx RTSP/1.0"),
    "TLS": bytes.fromhex("160301020001"),
    "two blanks": hook_request(line=b"GET  /v1/hooks/nginx HTTP/1.1"),
    "a TAB in the line": hook_request(line=b"GET\t/v1/hooks/nginx HTTP/1.1"),
    "a blank at the end of the line": hook_request(line=b"GET /v1/hooks/nginx HTTP/1.1 "),
    "a bare line feed": hook_request().replace(b"\r\n", b"\n", 1),
    "only line feeds": hook_request().replace(b"\r\n", b"\n"),
    "a bare carriage return": hook_request(extra=[b"X-A: a\rb"]),
    "a folded header": hook_request(extra=[b"X-A: a", b" b"]),
    "a header folded with TAB": hook_request(extra=[b"X-A: a", b"\tb"]),
    "a blank before the colon": hook_request(extra=[b"X-A : a"]),
    "a blank before the name": hook_request().replace(b"\r\nHost", b"\r\n Host", 1),
    "no name": hook_request(extra=[b": a"]),
    "no colon": hook_request(extra=[b"abc"]),
    "NUL in a value": hook_request(extra=[b"X-A: a\x00b"]),
    "DEL in a value": hook_request(extra=[b"X-A: a\x7fb"]),
    "NUL in a name": hook_request(extra=[b"X\x00A: a"]),
    "a byte above ASCII in a name": hook_request(extra=[b"X\xffA: a"]),
    "NUL in the target": hook_request(line=b"GET /v1/hooks/nginx\x00 HTTP/1.1"),
}
"""Requests that no proxy frames like this."""


@pytest.mark.parametrize("raw", FRAMING.values(), ids=FRAMING)
def test_a_request_framed_in_another_way_is_never_allowed(served: Served, raw: bytes) -> None:
    calls = len(served.app.authorised)

    answer = ask(served, raw)

    assert status(answer) in (0, 400, 401, 403)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert len(served.app.authorised) == calls


OTHER_PATHS = {
    "with a query": b"/v1/hooks/nginx?x",
    "with a slash": b"/v1/hooks/nginx/",
    "with a fragment": b"/v1/hooks/nginx#",
    "with an escape": b"/v1/hooks/%6eginx",
    "with two slashes": b"//v1/hooks/nginx",
    "absolute": b"http://zt-sidecar/v1/hooks/nginx",
    "another hook": b"/v1/hooks/traefik",
    "none": b"/",
    "an asterisk": b"*",
}


@pytest.mark.parametrize("path", OTHER_PATHS.values(), ids=OTHER_PATHS)
def test_another_path_is_not_the_hook(served: Served, path: bytes) -> None:
    answer = ask(served, hook_request(line=b"GET " + path + b" HTTP/1.1"))

    assert status(answer) in (400, 404)


REFUSED_HEADERS = {
    "no Host": (hook_request(drop=[b"Host"]), b"HOOK_FRAMING"),
    "two Hosts": (hook_request(extra=[b"Host: evil"]), b"HEADER_DOUBLED"),
    "a doubled header": (hook_request(extra=[b"X-Original-URI: /admin"]), b"HEADER_DOUBLED"),
    "a doubled header in other letters": (hook_request(extra=[b"x-original-uri: /admin"]), b"HEADER_DOUBLED"),
    "a doubled credential": (hook_request(extra=[b"authorization: Bearer x"]), b"HEADER_DOUBLED"),
    "0xFF in a header that is read": (hook_request(Authorization=b"Bearer \xff"), b"HEADER_INVALID"),
    "TAB in a header that is read": (hook_request(Authorization=b"Bearer\tx"), b"HEADER_INVALID"),
    "an alias with underscores": (hook_request(extra=[b"X_Original_URI: /admin"]), b"HEADER_RESERVED"),
    "an alias with dots": (hook_request(extra=[b"Zt.Subject: root"]), b"HEADER_RESERVED"),
}


@pytest.mark.parametrize(("raw", "code"), REFUSED_HEADERS.values(), ids=REFUSED_HEADERS)
def test_headers_that_could_be_read_in_two_ways_are_refused_with_a_reason(
    served: Served, raw: bytes, code: bytes
) -> None:
    answer = ask(served, raw)

    assert status(answer) == 403
    assert header(answer, "zt-reason") == [code]


def test_odd_bytes_in_a_header_that_is_not_read_do_not_matter(served: Served) -> None:
    answer = ask(served, hook_request(extra=[b"X-Note: \xe7\xa7\x98\t\xff", b"X-Empty:"]))

    assert status(answer) == 200


# -- our own faults


class Broken(GateApp):
    """Raises where the application must not."""

    where = "answer"

    def repeat(self, head: bytes, uid: Peer) -> None:
        if self.where == "repeat":
            raise RuntimeError("a bug")

    def answer(self, *request: Any) -> bytes:
        if self.where == "answer":
            raise RuntimeError("a bug")
        return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def seal(self, answers: list[bytes]) -> list[bytes]:
        if self.where == "seal":
            raise RuntimeError("a bug")
        return []


@pytest.mark.parametrize("where", ["repeat", "answer", "seal", "short"])
def test_a_fault_of_the_application_denies(serve: Serve, where: str) -> None:
    app = Broken()
    app.where = where
    server = serve(app)

    answer = ask(server, hook_request())

    assert status(answer) == 403
    assert header(answer, "zt-reason") == [b"INTERNAL_ERROR"]


# -- other sockets


def test_the_listener_serves_ipv6_only(serve: Serve) -> None:
    server = serve(sock=listening("::1"))

    assert status(ask(server, hook_request())) == 200


def unix_socket(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen(16)
    return sock


def test_over_a_unix_socket_the_user_id_is_the_credential(serve: Serve, tmp_path: Path) -> None:
    server = serve(GateApp(credential(uids=[os.getuid()])), unix_socket(tmp_path / "zt.sock"))

    answer = ask(server, hook_request(drop=[b"Zt-Pep-Key"]))

    assert status(answer) == 200
    assert server.app.authorised[0].proof == "socket"


@pytest.mark.parametrize(
    ("uid", "raw"),
    [
        (os.getuid() + 1, hook_request(drop=[b"Zt-Pep-Key"])),
        (os.getuid(), hook_request(Zt_Pep_Key=b"not the key of anybody")),
        (os.getuid(), hook_request(extra=[b"zt-pep-key: " + KEY])),
    ],
    ids=["another user", "a wrong key", "two keys"],
)
def test_over_a_unix_socket_anything_else_is_nobody(serve: Serve, tmp_path: Path, uid: int, raw: bytes) -> None:
    server = serve(GateApp(credential(uids=[uid])), unix_socket(tmp_path / "zt.sock"))

    answer = ask(server, raw)

    assert status(answer) == 401
    assert header(answer, "zt-reason") == [b"PEP_UNKNOWN"]


def test_the_log_says_once_a_minute_that_a_proxy_asks_that_is_not_known(serve: Serve) -> None:
    server = serve(GateApp(credential()))
    stranger = hook_request(Zt_Pep_Key=b"not the key of anybody", X_Original_Host=b"www.corp.example")

    with capture_logs() as logs:
        ask(server, b"GET /favicon.ico HTTP/1.1\r\nHost: a\r\n\r\n")
        answers = [ask(server, raw) for raw in (hook_request(), stranger, stranger)]

    assert [status(answer) for answer in answers] == [200, 401, 401]
    (line,) = [line for line in logs if line["event"] == "proxy.stranger"]
    assert (line["log_level"], line["asked"], line["host"]) == ("warning", "/v1/hooks/nginx", "www.corp.example")
    assert (line["origin"], line["requests"]) == ("127.0.0.1", 1)
    assert "not the key" not in str(line) and "`[[proxies]]`" in line["hint"]


def test_a_proxy_whose_key_no_longer_counts_is_in_the_log_on_the_connection_that_it_has(serve: Serve) -> None:
    server = serve(GateApp(credential()))

    with capture_logs() as logs, server.connect() as client:
        for raw in (hook_request(), hook_request(Zt_Pep_Key=b"the key of yesterday")):
            client.sendall(raw)
            one_answer(client)

    assert [line["event"] for line in logs] == ["proxy.stranger"]


def test_over_tcp_a_user_id_counts_for_nothing(serve: Serve) -> None:
    server = serve(GateApp(credential(uids=[os.getuid()])))

    assert status(ask(server, hook_request(drop=[b"Zt-Pep-Key"]))) == 401


# -- whatever is sent


@given(st.binary(max_size=600))
def test_random_bytes_never_get_a_200_and_never_hang(served: Served, raw: bytes) -> None:
    answer = ask(served, raw)

    assert status(answer) in (0, 400, 403)


@given(st.data())
def test_a_mutated_request_is_refused_or_means_what_it_says(served: Served, data: st.DataObject) -> None:
    """A changed byte either breaks the request or changes a value; then exactly the changed value was authorised."""
    request = bytearray(hook_request())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(request) - 1))
        kind = data.draw(st.sampled_from(["set", "delete", "insert", "double"]))
        if kind == "set":
            request[place] = data.draw(st.integers(0, 255))
        elif kind == "delete":
            del request[place]
        elif kind == "insert":
            request.insert(place, data.draw(st.sampled_from(b"\r\n\t \x00:;,/%.ag\xff")))
        else:
            end = data.draw(st.integers(place, min(place + 80, len(request))))
            request[end:end] = request[place:end]
    before = len(served.app.authorised)

    answer = ask(served, bytes(request))

    assert status(answer) in (0, 200, 400, 401, 403, 404)
    assert answer.count(b"HTTP/1.1 ") <= 1
    if status(answer) == 200:
        lines = [line.partition(b":") for line in bytes(request).split(b"\r\n")[1:]]
        said = {name.lower(): value.strip(b" \t") for name, _, value in lines}
        authorised = served.app.authorised[before]
        assert bytes(request).startswith((b"GET /v1/hooks/nginx HTTP/1.1\r\n", b"GET /v1/hooks/nginx HTTP/1.0\r\n"))
        assert said[b"zt-pep-key"] == KEY
        assert said[b"x-original-uri"].partition(b"?")[0] == authorised.target.raw_path.encode()
        assert said[b"x-original-method"] == authorised.method.encode()
        assert said.get(b"authorization", b"") == authorised.authorization.strip()


@given(st.lists(st.integers(1, 400), max_size=6))
def test_how_a_request_is_cut_into_pieces_does_not_matter(served: Served, cuts: list[int]) -> None:
    request = hook_request()
    edges = [0, *sorted(cut for cut in cuts if cut < len(request)), len(request)]

    answer = ask(served, *(request[a:b] for a, b in pairwise(edges)))

    assert status(answer) == 200
