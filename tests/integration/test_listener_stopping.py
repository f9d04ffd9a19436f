"""A decision listener that stops answers what was begun, and lets nobody wait who need not."""

from __future__ import annotations

from tests.hook_support import (
    header,
    hook_request,
    one_answer,
    status,
    until_closed,
)
from tests.listener_support import Serve, eventually
from tests.listener_support import serve as serve


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
