"""The decision listener's limits, and clients that are slow, vanish or do not read."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

import pytest

from tests.hook_support import (
    GateApp,
    header,
    hook_request,
    one_answer,
    status,
    until_closed,
)
from tests.listener_support import Serve, ask, eventually
from tests.listener_support import serve as serve

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
