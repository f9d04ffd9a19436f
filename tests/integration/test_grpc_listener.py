"""The gRPC listener against a client that speaks HTTP/2 frame by frame, and says what Envoy never would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
from structlog.testing import capture_logs

from tests.hook_support import LoopThread
from zt_engine.sidecar.grpc import check, health, wire
from zt_engine.sidecar.grpc.connection import MAX_MESSAGE_BYTES
from zt_engine.sidecar.grpc.listener import GrpcServer
from zt_engine.sidecar.hooks.credentials import Peer
from zt_engine.sidecar.hooks.envoy_grpc import EnvoyGrpcHook
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.turn import MOST_TOGETHER, Turn

CALL = [(":method", "POST"), (":scheme", "http"), (":authority", "zt"), ("content-type", "application/grpc")]
LEAVING = bytes.fromhex("0000080700000000007fffffff00000000")
"""GOAWAY that leaves no stream out (RFC 9113 6.8)."""
ANSWER = check.denied(403, [check.option(b"zt-reason", b"TRUST_LOW")], b"x" * 200_000)


class Hook:
    """Knows this user; answers every question alike, or breaks."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.breaks = self.unsealed = False
        self.user = os.getuid()

    def known(self, peer: Peer) -> bool:
        return peer == self.user

    def answer(self, message: bytes, peer: Peer) -> bytes:
        if self.breaks:
            raise RuntimeError("broken")
        self.asked.append(message)
        return ANSWER

    def seal(self, answers: list[Any]) -> list[bytes]:
        if self.unsealed:
            raise RuntimeError("no log")
        return answers


class Client:
    """One connection; `call` sends what it is told and returns status, gRPC status and message."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(path))
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="ascii"))
        self.h2.initiate_connection()

    def begin(self, method: bytes, body: bytes, *, verb: str = "POST", kind: str = "application/grpc") -> int:
        stream = self.h2.get_next_available_stream_id()
        headers = [(":method", verb), (":path", method.decode()), (":scheme", "http"), (":authority", "zt")]
        self.h2.send_headers(stream, [*headers, ("content-type", kind), ("te", "trailers")])
        for start in range(0, len(body), 16384):
            self.h2.send_data(stream, body[start : start + 16384])
        self.h2.end_stream(stream)
        return stream

    def call(self, method: bytes, body: bytes, **how: str) -> tuple[str, str, bytes]:
        stream = self.begin(method, body, **how)
        found: dict[str, str] = {}
        message = b""
        while True:
            self.sock.sendall(self.h2.data_to_send())
            data = self.sock.recv(65536)
            if not data:
                return "", "", b""
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    found |= dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    message += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                    self.sock.sendall(self.h2.data_to_send())
                    return found[":status"], found.get("grpc-status", ""), message[5:]


class Listening:
    """The listener in a thread."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "grpc.sock"
        self.hook = Hook()
        self.meters = Meters()
        self.thread = LoopThread()
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(self.path))
        sock.setblocking(False)

        def make() -> GrpcServer:
            loop = self.thread.loop
            hook = cast("EnvoyGrpcHook", self.hook)
            return GrpcServer(hook, Turn(self.hook, loop), loop, meters=self.meters, ready=lambda: not self.hook.breaks)

        self.server = self.thread.call(make)
        self.thread.run(self.server.listen(sock))
        self._clients: list[Client] = []

    def client(self) -> Client:
        self._clients.append(Client(self.path))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.sock.close()
        self.thread.run(self.server.close(grace=2.0))
        self.thread.close()
        assert self.thread.faults == []


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Listening]:
    running = Listening(tmp_path)
    yield running
    running.close()


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4) + message


def test_an_answer_larger_than_the_peer_has_room_for_arrives_whole(listening: Listening) -> None:
    client = listening.client()

    answers = [client.call(check.METHOD, framed(b"question")) for _ in range(3)]

    assert answers == [("200", "0", ANSWER)] * 3
    assert listening.hook.asked == [b"question"] * 3


def test_a_question_in_padded_pieces_of_a_byte_waits_for_no_room(listening: Listening) -> None:
    client = listening.client()
    assert client.call(check.METHOD, framed(b"first"))[1] == "0"
    body = framed(b"x" * 1500)
    stream = client.h2.get_next_available_stream_id()
    client.h2.send_headers(stream, [(":path", check.METHOD.decode()), *CALL])
    for at in range(len(body)):
        client.h2.send_data(stream, body[at : at + 1], pad_length=255, end_stream=at == len(body) - 1)
        client.sock.sendall(client.h2.data_to_send())
        while client.h2.local_flow_control_window(stream) < 300:
            client.h2.receive_data(client.sock.recv(65536))

    assert client.call(check.METHOD, framed(b"next"))[1] == "0"
    assert listening.hook.asked == [b"first", b"x" * 1500, b"next"]


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
