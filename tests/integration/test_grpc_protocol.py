"""HTTP/2 of the gRPC listener: what breaks it ends the connection and says why, and what does not is served."""

from __future__ import annotations

import socket

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from tests.grpc_support import CALL, Listening, framed
from zt_engine.sidecar.grpc import check, frames
from zt_engine.sidecar.grpc.connection import MAX_STREAMS
from zt_engine.sidecar.grpc.frames import Code

BLOCK = b"\x83\x86\x01\x02zt\x04" + bytes((len(check.METHOD),)) + check.METHOD + b"\x0f\x10\x10application/grpc"
BEGUN = frames.written(frames.HEADERS, frames.END_HEADERS, 1, BLOCK)
SIZED = frames.written(frames.HEADERS, frames.END_HEADERS, 1, BLOCK + b"\x0f\x0d\x017")
WHOLE = frames.written(frames.DATA, frames.END_STREAM, 1, framed(b"question"))


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (SIZED + WHOLE, Code.PROTOCOL_ERROR),
        (BEGUN + frames.written(frames.HEADERS, frames.END_HEADERS, 1, b""), Code.PROTOCOL_ERROR),
        (frames.written(frames.HEADERS, frames.END_HEADERS, 2, BLOCK), Code.PROTOCOL_ERROR),
        (frames.written(frames.HEADERS, frames.END_HEADERS, 0, BLOCK), Code.PROTOCOL_ERROR),
        (BEGUN + WHOLE + WHOLE, Code.STREAM_CLOSED),
        (BEGUN + WHOLE + BEGUN, Code.STREAM_CLOSED),
        (frames.written(frames.DATA, 0, 1, b"x"), Code.PROTOCOL_ERROR),
        (frames.written(frames.DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
        (frames.reset(1, Code.NO_ERROR), Code.PROTOCOL_ERROR),
        (BEGUN + frames.written(frames.RST_STREAM, 0, 1, b"\0"), Code.FRAME_SIZE_ERROR),
        (frames.written(frames.PRIORITY, 0, 0, b"\0" * 5), Code.PROTOCOL_ERROR),
        (frames.written(frames.PRIORITY, 0, 1, b"\0" * 4), Code.FRAME_SIZE_ERROR),
        (frames.written(frames.SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
        (frames.written(frames.SETTINGS, frames.ACK, 0, b"\0" * 6), Code.FRAME_SIZE_ERROR),
        (frames.written(frames.PUSH_PROMISE, 4, 1, b"\0" * 5), Code.PROTOCOL_ERROR),
        (frames.written(frames.PING, 0, 1, b"\0" * 8), Code.PROTOCOL_ERROR),
        (frames.written(frames.PING, 0, 0, b"\0" * 7), Code.FRAME_SIZE_ERROR),
        (frames.written(frames.GOAWAY, 0, 0, b"\0" * 7), Code.FRAME_SIZE_ERROR),
        (frames.more_room(0), Code.PROTOCOL_ERROR),
        (frames.more_room(frames.MAX_WINDOW), Code.FLOW_CONTROL_ERROR),
        (frames.written(frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\1"), Code.PROTOCOL_ERROR),
        (BEGUN + frames.written(frames.WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"), Code.FLOW_CONTROL_ERROR),
    ],
)
def test_frames_that_break_the_protocol_end_the_connection_and_say_why(
    listening: Listening, sent: bytes, code: Code
) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(listening.path))
        client.sendall(frames.PREFACE + frames.settings_frame() + sent)
        said = b"".join(iter(lambda: client.recv(65536), b""))

    assert said[-17:-8] == frames.goaway(0, code)[:9] and said[-4:] == code.to_bytes(4)
    assert listening.client().call(check.METHOD, framed(b"next"))[1] == "0"


def test_a_call_beyond_those_that_may_be_under_way_is_taken_back_and_may_be_asked_again(listening: Listening) -> None:
    last = 2 * MAX_STREAMS + 1
    begun = [frames.written(frames.HEADERS, frames.END_HEADERS, stream, BLOCK) for stream in range(1, last + 1, 2)]
    again = [
        frames.reset(1, Code.NO_ERROR),
        frames.written(frames.HEADERS, frames.END_HEADERS, last + 2, BLOCK),
        frames.written(frames.DATA, frames.END_STREAM, last + 2, framed(b"again")),
    ]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(listening.path))
        client.sendall(b"".join([frames.PREFACE, frames.settings_frame(), *begun]))
        said = b""
        while frames.reset(last, Code.REFUSED_STREAM) not in said:
            said += client.recv(65536)
        assert said.count(b"\0\0\x04\x03") == 1
        client.sendall(b"".join(again))
        while not listening.hook.asked:
            client.recv(65536)

    assert listening.hook.asked == [b"again"]


def test_a_connection_takes_questions_of_any_number_and_size(listening: Listening) -> None:
    client, question = listening.client(), b"x" * 60_000  # h2 sends no more than there is room for

    assert {client.call(check.METHOD, framed(question))[1] for _ in range(40)} == {"0"}
    assert listening.hook.asked == [question] * 40


def test_two_connections_that_ask_in_one_turn_are_both_answered(listening: Listening) -> None:
    clients = [listening.client() for _ in range(2)]
    for client in clients:
        client.begin(check.METHOD, framed(b"question"))

    def both() -> None:
        # One turn of the loop: what both have sent is read before the seal that it schedules.
        for client in clients:
            client.sock.sendall(client.h2.data_to_send())

    listening.thread.call(both)

    for client in clients:
        stream, ended = 1, False
        while not ended:
            for event in client.h2.receive_data(client.sock.recv(65536)):
                ended |= isinstance(event, h2.events.StreamEnded) and event.stream_id == stream
                if isinstance(event, h2.events.DataReceived):
                    client.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            client.sock.sendall(client.h2.data_to_send())
    assert listening.hook.asked == [b"question"] * 2


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
