"""A head that the decision listener read before is answered as if it had been read again."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from itertools import permutations
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
from zt_engine.sidecar.connection import Connection
from zt_engine.sidecar.hooks.credentials import Peer
from zt_engine.sidecar.repeats import Repeats


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
