"""The decision listener on real sockets: limits, broken and slow clients, and that only a valid request gets a 200."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import time
from collections.abc import Callable, Iterator
from itertools import pairwise, permutations
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
from zt_engine.sidecar.connection import Connection
from zt_engine.sidecar.hooks.credentials import Peer
from zt_engine.sidecar.listener import Limits
from zt_engine.sidecar.repeats import Repeats

Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """One listener with the limits of production."""
    server = Served(GateApp(), listening())
    yield server
    server.close()
    assert server.faults == []


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Listeners of a test's own; none may leave an unhandled exception behind."""
    started: list[Served] = []

    def start(app: Any = None, sock: socket.socket | None = None, **limits: Any) -> Served:
        server = Served(app or GateApp(), sock or listening(), limits=Limits(**limits))
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()
        assert server.faults == []


def ask(server: Served, *pieces: bytes) -> bytes:
    """Send pieces, say that no more will come, and return everything that is answered."""
    with server.connect() as client:
        try:
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # The listener has refused and hung up already.
        return until_closed(client)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for the other thread; the deadline only bounds a failure."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


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


# -- limits


def test_more_bytes_than_allowed_are_refused_and_the_reason_arrives(serve: Serve) -> None:
    server = serve(head_bytes=4096)

    answer = ask(server, hook_request(extra=[b"X-A: " + b"a" * 4096]) + b"a" * 100_000)

    assert status(answer) == 403
    assert header(answer, "zt-reason") == [b"HOOK_TOO_LARGE"]
    assert header(answer, "connection") == [b"close"]
    assert server.server.refusals == {"bytes": 1}


def test_bytes_are_counted_anew_for_every_request(serve: Serve) -> None:
    server = serve(head_bytes=1000)
    with server.connect() as client:
        for _ in range(5):
            client.sendall(hook_request())

            assert status(one_answer(client)[0]) == 200


@pytest.mark.parametrize("same", [False, True], ids=["different", "repeated"])
def test_more_headers_than_allowed_are_refused(serve: Serve, same: bool) -> None:
    server = serve(headers=20)
    fill = [b"X-%d: a" % (0 if same else n) for n in range(20)]

    answer = ask(server, hook_request(extra=fill))

    assert status(answer) == 403
    assert header(answer, "zt-reason") == [b"HOOK_TOO_LARGE"]


def test_an_endless_head_is_cut_off(serve: Serve) -> None:
    server = serve(head_bytes=8192)

    answer = ask(server, b"GET /v1/hooks/nginx HTTP/1.1\r\n", *[b"X-A: b\r\n" * 100] * 50)

    assert status(answer) == 403


def test_endless_empty_lines_are_cut_off(serve: Serve) -> None:
    server = serve(head_bytes=8192)

    answer = ask(server, *[b"\r\n" * 1000] * 20)

    assert status(answer) in (400, 403)


def test_more_connections_than_allowed_are_told_so_and_closed(serve: Serve) -> None:
    server = serve(connections=2)
    first, second = server.connect(), server.connect()
    for client in (first, second):
        client.sendall(hook_request())
        one_answer(client)

    with server.connect() as third:
        answer = until_closed(third)
    first.close()
    eventually(lambda: len(server.server._connections) == 1)
    with server.connect() as fourth:
        fourth.sendall(hook_request())
        again, _ = one_answer(fourth)
    second.close()

    assert status(answer) == 503
    assert header(answer, "zt-reason") == [b"HOOK_BUSY"]
    assert status(again) == 200


def test_strangers_cannot_keep_a_proxy_out(serve: Serve) -> None:
    server = serve(connections=4, stranger_seconds=60.0)
    proxy = server.connect()
    proxy.sendall(hook_request())
    one_answer(proxy)
    silent = [server.connect() for _ in range(12)]
    for number, client in enumerate(silent[:6]):
        client.sendall(hook_request(Zt_Pep_Key=b"wrong") if number % 2 else b"GET ")

    with server.connect() as another:
        another.sendall(hook_request())
        late, _ = one_answer(another)
        proxy.sendall(hook_request())
        kept, _ = one_answer(proxy)
    for client in (proxy, *silent):
        client.close()

    assert (status(late), status(kept)) == (200, 200)
    assert server.server.refusals["strangers"] >= 9


STRANGE = {
    "silence": b"",
    "half a request": hook_request()[:-10],
    "a wrong key": hook_request(Zt_Pep_Key=b"wrong"),
    "no key": hook_request(drop=[b"Zt-Pep-Key"]),
    "no path of ours": hook_request(line=b"GET /elsewhere HTTP/1.1"),
    "the page without a key": hook_request(line=b"GET /v1/pages/denied HTTP/1.1", drop=[b"Zt-Pep-Key"]),
}


@pytest.mark.parametrize("sent", STRANGE.values(), ids=STRANGE)
def test_who_shows_no_credential_may_not_hold_a_connection(serve: Serve, sent: bytes) -> None:
    server = serve(stranger_seconds=0.05)
    with server.connect() as client:
        client.sendall(sent)

        assert b" 200 " not in until_closed(client)
    eventually(lambda: not server.server._connections and not server.server._unknown)


def test_asking_again_and_again_makes_no_acquaintance(serve: Serve) -> None:
    server = serve(stranger_seconds=0.2)
    with server.connect() as client:
        answers = 0
        with contextlib.suppress(OSError):
            while True:
                client.sendall(hook_request(Zt_Pep_Key=b"wrong"))
                if not one_answer(client)[0]:
                    break
                answers += 1

        assert answers > 0


def test_a_proxy_that_has_shown_its_key_may_idle(serve: Serve) -> None:
    server = serve(stranger_seconds=0.05)
    with server.connect() as client:
        client.sendall(hook_request())
        one_answer(client)
        with server.connect() as stranger:
            until_closed(stranger)
        with server.connect() as stranger:
            until_closed(stranger)

        client.sendall(hook_request())
        assert status(one_answer(client)[0]) == 200


def test_a_slow_request_is_ended_from_its_first_byte_on_however_it_drips(serve: Serve) -> None:
    server = serve(request_seconds=0.1)
    request = hook_request()
    answer = b""
    with server.connect() as client:
        for byte in request:
            try:
                client.send(bytes([byte]))
            except OSError:
                break
            time.sleep(0.002)
        answer = until_closed(client)

    assert status(answer) == 408
    assert header(answer, "zt-reason") == [b"HOOK_SLOW"]


def test_an_idle_connection_is_closed_without_a_word(serve: Serve) -> None:
    server = serve(idle_seconds=0.05, request_seconds=0.2)
    with server.connect() as client:
        client.sendall(hook_request())
        assert status(one_answer(client)[0]) == 200

        assert until_closed(client) == b""


def test_a_connection_that_never_speaks_is_closed(serve: Serve) -> None:
    server = serve(idle_seconds=0.05, request_seconds=0.2)
    with server.connect() as client:
        assert until_closed(client) == b""


def test_a_refused_peer_that_neither_reads_nor_hangs_up_is_dropped(serve: Serve) -> None:
    server = serve(linger_seconds=0.05)
    with server.connect() as client:
        client.sendall(b"nonsense\r\n\r\n")

        eventually(lambda: server.server.refusals != {} and not server.server._connections)


# -- clients that misbehave in time


@pytest.mark.parametrize("cut", [1, 20, 200, -1])
def test_a_client_that_vanishes_in_a_request_leaves_nothing_behind(serve: Serve, cut: int) -> None:
    server = serve()
    client = server.connect()
    client.sendall(hook_request()[:cut])
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # reset, not close

    client.close()

    eventually(lambda: not server.server._connections)
    assert server.app.authorised == []


def test_a_client_that_vanishes_before_its_answer_harms_nobody(serve: Serve) -> None:
    server = serve()
    for _ in range(20):
        client = server.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        client.sendall(hook_request())
        client.close()

    with server.connect() as client:
        client.sendall(hook_request())

        assert status(one_answer(client)[0]) == 200


class LongAnswers(GateApp):
    """Answers with more than any socket buffer holds."""

    SIZE = 4_000_000

    def answer(self, *request: Any) -> bytes:
        self.calls += 1
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.SIZE + b"a" * self.SIZE


def test_a_client_that_does_not_read_is_not_read_from(serve: Serve) -> None:
    server = serve(LongAnswers())
    with server.connect() as client:
        client.sendall(hook_request())
        eventually(lambda: server.app.calls == 1)
        client.sendall(hook_request())
        server.thread.call(lambda: None)
        server.thread.call(lambda: None)

        assert server.app.calls == 1
        for _ in range(2):
            _, body = one_answer(client)
            assert len(body) == LongAnswers.SIZE


def test_a_client_that_never_reads_is_dropped(serve: Serve) -> None:
    server = serve(LongAnswers(), idle_seconds=0.05, request_seconds=0.2)
    with server.connect() as client:
        client.sendall(hook_request())

        eventually(lambda: server.app.calls == 1 and not server.server._connections)


# -- heads that were read before


class Remembering(GateApp):
    """Answers a head it has seen from memory, as the sidecar does."""

    def __init__(self) -> None:
        super().__init__()
        self.repeats: Any = Repeats()
        self.repeated = 0

    def repeat(self, head: bytes, uid: Peer) -> Any:
        found = self.repeats.find(head, uid)
        if found is None:
            return None
        self.repeated += 1
        return found[0]

    def answer(self, *request: Any) -> bytes:
        response = super().answer(*request)
        head, uid = request[5], request[4]
        if head and response.startswith(b"HTTP/1.1 200"):
            self.repeats.keep(head, uid, response)
        return response


def numbered(number: int, **values: Any) -> bytes:
    return hook_request(Zt_Request_Id=b"r%d" % number, **values)


def test_a_head_that_came_before_is_not_read_again_and_answered_alike(serve: Serve) -> None:
    app = Remembering()
    server = serve(app)
    with server.connect() as client:
        answers = []
        for number in range(5):
            client.sendall(numbered(number))
            answers.append(one_answer(client))

    assert (app.calls, app.repeated) == (1, 4)
    assert answers == [answers[0]] * 5
    assert status(answers[0][0]) == 200


def test_between_repeats_the_parser_reads_as_if_there_had_been_none(serve: Serve) -> None:
    """Whole heads, heads in pieces and other heads, in every order of three, on one connection."""
    app = Remembering()
    server = serve(app)
    ways: dict[str, Callable[[int], list[bytes]]] = {
        "same": lambda number: [numbered(number)],
        "pieces": lambda number: [numbered(number)[:40], numbered(number)[40:200], numbered(number)[200:]],
        "byte": lambda number: [numbered(number)[:1], numbered(number)[1:]],
        "other": lambda number: [numbered(number, X_Original_URI=b"/other/%d" % number)],
        "refused": lambda number: [numbered(number, X_Original_Method=b"get")],
    }
    wanted = {"same": 200, "pieces": 200, "byte": 200, "other": 200, "refused": 403}
    with server.connect() as client:
        for number, order in enumerate(permutations(ways, 3)):
            for name in order:
                for piece in ways[name](number):
                    client.sendall(piece)
                    time.sleep(0.001)  # so that it is most likely read apart; either way the answer is the same
                assert status(one_answer(client)[0]) == wanted[name], (number, order, name)
    assert app.repeated > 20


@pytest.mark.parametrize(
    "sent",
    [
        lambda head: head + head,
        lambda head: head + b"G",
        lambda head: head + b"\r\n",
        lambda head: b"\r\n" + head,
        lambda head: head.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc"),
    ],
    ids=["two at once", "one byte more", "blank line after", "blank line before", "a body"],
)
def test_what_is_more_than_a_head_that_came_before_is_refused_like_the_first_time(
    serve: Serve, sent: Callable[[bytes], bytes]
) -> None:
    answers = []
    for known in (False, True):
        server = serve(Remembering())
        if known:
            ask(server, numbered(1))
        answers.append(ask(server, sent(numbered(2))))

    assert answers[0] == answers[1]
    assert status(answers[1]) == 400 or header(answers[1], "zt-reason") == [b"HOOK_FRAMING"]


@pytest.mark.parametrize("number", [b"", b"a b", b"a\tb", "é".encode(), b"x" * 129])
def test_a_bad_request_id_is_refused_like_the_first_time(serve: Serve, number: bytes) -> None:
    app = Remembering()
    server = serve(app)
    ask(server, hook_request())

    assert status(ask(server, hook_request(Zt_Request_Id=number))) == 403
    assert app.repeated == 0


def test_a_head_that_ends_the_connection_is_read_every_time(serve: Serve) -> None:
    app = Remembering()
    server = serve(app)
    for _ in range(3):
        answer = ask(server, hook_request(extra=[b"Connection: close"]))
        assert status(answer) == 200

    assert (app.calls, app.repeated) == (3, 0)


def test_a_second_request_before_the_answer_to_a_repeat_is_refused(serve: Serve) -> None:
    server = serve(Remembering())
    with server.connect() as client:
        client.sendall(numbered(1))
        one_answer(client)
        client.sendall(numbered(2))
        one_answer(client)
        client.sendall(numbered(3) + numbered(4))

        assert status(until_closed(client)) == 400


def test_a_closed_connection_leaves_nothing_for_the_collector(serve: Serve) -> None:
    """A parser holds its connection and is held by it; strangers could fill the memory with such pairs."""
    server = serve()
    gc.collect()
    gc.disable()
    try:
        for _ in range(30):
            with server.connect() as client:
                client.sendall(hook_request())
                one_answer(client)
        eventually(lambda: not server.server._connections)
        eventually(lambda: sum(isinstance(thing, Connection) for thing in gc.get_objects()) <= 1)
    finally:
        gc.enable()


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


# -- stopping


def test_while_draining_the_answer_says_that_the_connection_ends(serve: Serve) -> None:
    server = serve()
    with server.connect() as client:
        client.sendall(hook_request()[:50])
        eventually(lambda: len(server.server._connections) == 1)
        server.thread.call(lambda: setattr(server.server, "draining", True))
        client.sendall(hook_request()[50:])
        answer = until_closed(client)

    assert status(answer) == 200
    assert header(answer, "connection") == [b"close"]


def test_stopping_answers_what_was_begun_and_closes_what_idles(serve: Serve) -> None:
    server = serve(drain_seconds=0.05)
    idle, begun = server.connect(), server.connect()
    idle.sendall(hook_request())
    one_answer(idle)
    begun.sendall(hook_request()[:50])
    eventually(lambda: any(connection._begun for connection in server.server._connections))

    stopping = server.thread.loop.create_task
    server.thread.loop.call_soon_threadsafe(stopping, server.server.close(grace=5.0))
    assert until_closed(idle) == b""
    begun.sendall(hook_request()[50:])
    answer = until_closed(begun)
    idle.close()
    begun.close()

    assert status(answer) == 200
    assert header(answer, "connection") == [b"close"]


def test_stopping_lets_an_idle_connection_ask_once_more(serve: Serve) -> None:
    server = serve()
    with server.connect() as idle:
        idle.sendall(hook_request())
        one_answer(idle)
        server.thread.loop.call_soon_threadsafe(server.thread.loop.create_task, server.server.close())
        eventually(lambda: server.server.draining)
        idle.sendall(hook_request())
        answer = until_closed(idle)

    assert status(answer) == 200
    assert header(answer, "connection") == [b"close"]


def test_stopping_serves_who_waits_to_be_accepted(serve: Serve) -> None:
    server = serve()
    answers = []

    def connect_and_stop() -> None:
        clients = [server.connect() for _ in range(5)]
        for client in clients:
            client.sendall(hook_request())
        answers.extend(clients)
        server.thread.loop.create_task(server.server.close())

    server.thread.call(connect_and_stop)

    assert [status(until_closed(client)) for client in answers] == [200] * 5
    for client in answers:
        client.close()


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
