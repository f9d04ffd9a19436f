"""Calls over gRPC: what they are answered, who may make them, and how a connection ends that still has some."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
from structlog.testing import capture_logs

from tests.grpc_support import ANSWER, CALL, LEAVING, Listening, framed
from zt_engine.sidecar.grpc import check, health, wire
from zt_engine.sidecar.grpc.connection import MAX_MESSAGE_BYTES
from zt_engine.sidecar.turn import MOST_TOGETHER


def test_an_answer_larger_than_the_peer_has_room_for_arrives_whole(listening: Listening) -> None:
    client = listening.client()

    answers = [client.call(check.METHOD, framed(b"question")) for _ in range(3)]

    assert answers == [("200", "0", ANSWER)] * 3
    assert listening.hook.asked == [b"question"] * 3


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        (b"/envoy.service.auth.v2.Authorization/Check", framed(b""), "12"),
        (b"/", framed(b""), "12"),
        (check.METHOD, b"", "3"),
        (check.METHOD, b"\0\0\0\0\x05abc", "3"),
        (check.METHOD, b"\x01" + framed(b"packed")[1:], "3"),
        (check.METHOD, framed(b"one") + framed(b"two"), "3"),
        (check.METHOD, framed(b"x" * (MAX_MESSAGE_BYTES + 1))[: 60_000], "3"),
    ],
)  # fmt: skip
def test_what_is_no_call_of_ours_is_no_allow(listening: Listening, method: bytes, body: bytes, status: str) -> None:
    client = listening.client()

    assert client.call(method, body) == ("200", status, b"")
    assert client.call(check.METHOD, framed(b"next"))[1] == "0"
    assert listening.hook.asked == [b"next"]


@pytest.mark.parametrize("how", [{"verb": "GET"}, {"kind": "application/json"}])
def test_what_is_no_grpc_is_told_so(listening: Listening, how: dict[str, str]) -> None:
    assert listening.client().call(check.METHOD, framed(b""), **how)[0] == "415"


@pytest.mark.parametrize("fault", ["breaks", "unsealed"])
def test_a_decision_that_breaks_is_no_allow(listening: Listening, fault: str) -> None:
    setattr(listening.hook, fault, True)

    assert listening.client().call(check.METHOD, framed(b"question")) == ("200", "13", b"")


def test_health_says_whether_decisions_can_be_made(listening: Listening) -> None:
    client = listening.client()

    ready = client.call(health.METHOD, framed(b""))
    listening.hook.breaks = True

    assert ready == ("200", "0", wire.number(1, 1))
    assert client.call(health.METHOD, framed(b"")) == ("200", "0", wire.number(1, 2))


def test_a_stranger_is_closed_on(listening: Listening) -> None:
    listening.hook.user += 1

    client = listening.client()
    try:
        said = client.call(check.METHOD, framed(b"question"))
    except (BrokenPipeError, ConnectionResetError):
        said = ("", "", b"")

    assert said == ("", "", b"")
    assert listening.hook.asked == [] and listening.meters.strangers == 1


def test_of_strangers_the_log_says_once_a_minute_who_they_are(listening: Listening) -> None:
    user = listening.hook.user
    listening.hook.user += 1
    with capture_logs() as logs:
        for number in range(1, 4):
            client = listening.client()
            while client.sock.recv(65536):
                pass
            assert listening.meters.strangers == number

    lines = [(line["event"], line["asked"], line["origin"]) for line in logs]
    assert lines == [("proxy.stranger", "/v1/hooks/envoy_grpc", f"user id {user}")]


def test_bytes_that_are_no_http_2_end_the_connection(listening: Listening) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(listening.path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: zt\r\n\r\n" * 4)
        while client.recv(65536):
            pass

    assert listening.client().call(check.METHOD, framed(b"next"))[1] == "0"


@pytest.mark.parametrize(
    ("more", "trailers"),
    [(("Upper", "x"), None), (("connection", "close"), None), (("x", "a\nb"), None), (None, (":path", "/"))],
)
def test_headers_that_http_2_forbids_end_the_connection_also_behind_some_that_it_allows(
    listening: Listening, more: tuple[str, str] | None, trailers: tuple[str, str] | None
) -> None:
    client = listening.client()
    assert client.call(check.METHOD, framed(b"first"))[1] == "0"
    client.h2.config.validate_outbound_headers = client.h2.config.normalize_outbound_headers = False
    stream = client.h2.get_next_available_stream_id()
    client.h2.send_headers(stream, [(":path", check.METHOD.decode()), *CALL, *([more] if more else [])])
    client.h2.send_data(stream, framed(b"second"), end_stream=trailers is None)
    if trailers is not None:
        client.h2.send_headers(stream, [trailers], end_stream=True)
    client.sock.sendall(client.h2.data_to_send())

    events: list[h2.events.Event] = []
    while data := client.sock.recv(65536):
        events += client.h2.receive_data(data)

    (ended,) = [event for event in events if isinstance(event, h2.events.ConnectionTerminated)]
    assert ended.error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert listening.hook.asked == [b"first"]
    assert listening.client().call(check.METHOD, framed(b"third"))[1] == "0"


def test_more_headers_than_were_agreed_end_the_connection(listening: Listening) -> None:
    client = listening.client()
    assert client.call(check.METHOD, framed(b"first"))[1] == "0"
    stream = client.h2.get_next_available_stream_id()
    more = [(f"x-{number}", "y" * 1000) for number in range(17)]
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        client.h2.send_headers(stream, [(":path", check.METHOD.decode()), *CALL, *more])
        client.h2.send_data(stream, framed(b"second"), end_stream=True)
        client.sock.sendall(client.h2.data_to_send())
        while client.sock.recv(65536):
            pass

    assert listening.hook.asked == [b"first"]


def test_what_is_begun_before_a_peer_has_heard_that_we_leave_is_answered(listening: Listening) -> None:
    client = listening.client()
    assert client.call(check.METHOD, framed(b"first"))[1] == "0"

    ending = asyncio.run_coroutine_threadsafe(listening.server.close(grace=5.0), listening.thread.loop)
    said = client.sock.recv(65536)  # it leaves, and asks whether that was heard
    second = client.begin(check.METHOD, framed(b"second"))
    client.sock.sendall(client.h2.data_to_send())
    while len(listening.hook.asked) < 2 or LEAVING not in said:
        said += client.sock.recv(65536)
    assert not ending.done()

    ended = False
    data = said.replace(LEAVING, b"")
    while data:  # the first of it says that it was
        for event in client.h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                client.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            ended |= isinstance(event, h2.events.StreamEnded) and event.stream_id == second
        with contextlib.suppress(BrokenPipeError):  # who has said everything reads no more
            client.sock.sendall(client.h2.data_to_send())
        data = client.sock.recv(65536)
    ending.result(timeout=10)
    assert ended and listening.hook.asked == [b"first", b"second"]


def test_a_peer_that_leaves_gets_the_answers_to_what_it_had_begun(listening: Listening) -> None:
    client = listening.client()
    client.sock.sendall(client.h2.data_to_send())
    answered, unfinished = client.begin(check.METHOD, framed(b"first")), client.h2.get_next_available_stream_id()
    client.h2.send_headers(unfinished, [(":path", check.METHOD.decode()), *CALL])
    client.sock.sendall(client.h2.data_to_send() + LEAVING)
    client.h2.send_data(unfinished, framed(b"second"), end_stream=True)
    client.sock.sendall(client.h2.data_to_send())

    ended = set()
    while data := client.sock.recv(65536):
        for event in client.h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                client.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if isinstance(event, h2.events.TrailersReceived):
                assert dict(event.headers) == {"grpc-status": "0"}
                ended.add(event.stream_id)
        with contextlib.suppress(BrokenPipeError):  # who has said everything reads no more
            client.sock.sendall(client.h2.data_to_send())

    assert ended == {answered, unfinished}
    assert listening.hook.asked == [b"first", b"second"]


def test_calls_that_are_taken_back_in_the_piece_that_began_them_end_no_others(listening: Listening) -> None:
    client = listening.client()
    asked = [client.begin(check.METHOD, framed(b"asked")) for _ in range(2 * MOST_TOGETHER)]
    told = [client.begin(health.METHOD, framed(b"")) for _ in range(3)]
    for stream in (*asked[1:], *told[1:]):
        client.h2.reset_stream(stream)
    client.sock.sendall(client.h2.data_to_send())

    ended = set()
    while ended != {asked[0], told[0]}:
        data = client.sock.recv(65536)
        assert data
        for event in client.h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                client.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if isinstance(event, h2.events.StreamEnded):
                ended.add(event.stream_id)
        client.sock.sendall(client.h2.data_to_send())


def test_what_a_peer_sends_with_its_leaving_is_answered_too(listening: Listening) -> None:
    client = listening.client()
    opening = client.h2.data_to_send()
    client.begin(health.METHOD, framed(b""))
    client.sock.sendall(opening + LEAVING + client.h2.data_to_send())

    events = []
    while data := client.sock.recv(65536):
        events += client.h2.receive_data(data)

    assert any(isinstance(event, h2.events.TrailersReceived) for event in events)


def test_a_peer_that_leaves_and_takes_no_answer_keeps_nobody_from_hearing_that_we_leave(listening: Listening) -> None:
    leaves, stays = listening.client(), listening.client()
    leaves.begin(check.METHOD, framed(b"owed"))
    leaves.sock.sendall(leaves.h2.data_to_send())
    while not listening.hook.asked:  # more is owed than there is room for
        leaves.sock.recv(65536)
    leaves.sock.sendall(LEAVING)
    assert stays.call(health.METHOD, framed(b""))[1] == "0"

    ending = asyncio.run_coroutine_threadsafe(listening.server.close(grace=0.2), listening.thread.loop)
    said = b""
    while data := stays.sock.recv(65536):
        said += data

    ending.result(timeout=10)
    assert LEAVING in said


def test_who_leaves_before_a_turn_without_a_log_keeps_nobody_from_being_refused(listening: Listening) -> None:
    listening.hook.unsealed = True
    leaves, stays = listening.client(), listening.client()
    leaves.begin(check.METHOD, framed(b"owed"))
    leaves.sock.sendall(leaves.h2.data_to_send() + LEAVING)
    while leaves.sock.recv(65536):
        pass

    assert stays.call(check.METHOD, framed(b"next"))[1] == "13"
