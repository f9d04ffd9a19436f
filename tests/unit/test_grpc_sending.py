"""What a connection is sent: a client of another make takes all of it, and never more than it has room for."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zt_engine.sidecar.grpc import frames
from zt_engine.sidecar.grpc.frames import Code, ConnectionFault
from zt_engine.sidecar.grpc.sending import Sending

CALL = [(":method", "POST"), (":path", "/a"), (":scheme", "http"), (":authority", "zt")]
ROOM = st.sampled_from([0, 1, 7, 100, 65_535, 200_000])


class Call:
    def __init__(self, stream: int, room: int) -> None:
        self.stream = stream
        self.room = room
        self.rest = b""


class Peer:
    """A client, h2's, that is answered by what is tested; it would not take what it has no room for."""

    def __init__(self) -> None:
        self.sending = Sending()
        self.calls: dict[int, Call] = {}
        self.heard: dict[int, bytes] = {}
        self.ended: dict[int, dict[str, str]] = {}
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="ascii"))
        self.h2.initiate_connection()
        self.h2.receive_data(frames.settings_frame((frames.MAX_STREAMS, 128)))
        self.hear()

    def hear(self) -> None:
        """What the client says of itself, then what it is sent."""
        data, at = self.h2.data_to_send().removeprefix(frames.PREFACE), 0
        while at < len(data):
            size, kind, flags = int.from_bytes(data[at : at + 3]), data[at + 3], data[at + 4]
            stream, payload = int.from_bytes(data[at + 5 : at + 9]), data[at + 9 : at + 9 + size]
            at += 9 + size
            if kind == frames.SETTINGS and not flags & frames.ACK:
                self.sending.settle(payload, self.calls.values())
            elif kind == frames.WINDOW_UPDATE and not stream:
                self.sending.widen(int.from_bytes(payload))
            elif kind == frames.WINDOW_UPDATE and stream in self.calls:
                self.calls[stream].room += int.from_bytes(payload)
        for stream in self.sending.go_on():
            del self.calls[stream]
        self.told()

    def told(self) -> None:
        data = b"".join(self.sending.out)
        self.sending.out.clear()
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self.heard[event.stream_id] = self.heard.get(event.stream_id, b"") + event.data
            elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                self.ended.setdefault(event.stream_id, {}).update(dict(event.headers))

    def begin(self) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, CALL, end_stream=True)
        self.calls[stream] = Call(stream, self.sending.of_stream)
        self.hear()
        return stream

    def answer(self, stream: int, message: bytes) -> None:
        if self.sending.answer(self.calls[stream], message):
            del self.calls[stream]
        self.told()

    def read(self, stream: int) -> None:
        """Make room for as much as has come."""
        size = len(self.heard.get(stream, b""))
        if size and stream in self.calls:  # the room of another one may have been enough for this one, too
            self.h2.increment_flow_control_window(size)
            self.h2.increment_flow_control_window(size, stream)
        self.hear()


@settings(max_examples=300)
@given(st.data())
def test_every_answer_arrives_whole_in_whichever_order_a_peer_makes_room(data: st.DataObject) -> None:
    peer = Peer()
    answers: dict[int, bytes] = {}
    setting: Any = h2.settings.SettingCodes
    for _ in range(data.draw(st.integers(1, 12))):
        match data.draw(st.sampled_from(["answer", "answer", "window", "table", "frame", "read"])):
            case "answer":
                stream = peer.begin()
                answers[stream] = bytes((len(answers),)) * data.draw(st.integers(0, 70_000))
                peer.answer(stream, answers[stream])
            case "window":
                peer.h2.update_settings({setting.INITIAL_WINDOW_SIZE: data.draw(ROOM)})
            case "table":
                peer.h2.update_settings({setting.HEADER_TABLE_SIZE: data.draw(st.sampled_from([0, 50, 4096, 9000]))})
            case "frame":
                peer.h2.update_settings({setting.MAX_FRAME_SIZE: data.draw(st.sampled_from([16_384, 50_000]))})
            case _:
                for stream in list(peer.calls):
                    peer.read(stream)
        peer.hear()

    peer.h2.increment_flow_control_window(1 << 24)
    for stream in list(peer.calls):
        peer.h2.increment_flow_control_window(1 << 20, stream)
    peer.hear()

    assert peer.calls == {}
    assert {stream: peer.heard[stream][5:] for stream in answers} == answers
    assert all(int.from_bytes(peer.heard[stream][1:5]) == len(answers[stream]) for stream in answers)
    told = {":status": "200", "content-type": "application/grpc", "grpc-status": "0"}
    assert all(peer.ended[stream] == told for stream in answers)


def test_an_answer_without_room_keeps_no_other_from_being_sent() -> None:
    peer = Peer()
    peer.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10})
    peer.hear()
    first, second = peer.begin(), peer.begin()
    peer.h2.increment_flow_control_window(1000, second)
    peer.hear()

    peer.answer(first, b"x" * 100)
    peer.answer(second, b"y" * 100)

    assert peer.heard[second][5:] == b"y" * 100
    assert len(peer.heard[first]) == 10


@pytest.mark.parametrize("status", [b"13", b"8"])
def test_a_status_alone_ends_a_call(status: bytes) -> None:
    peer = Peer()
    stream = peer.begin()

    peer.sending.status(stream, status)
    peer.told()

    assert peer.ended[stream]["grpc-status"] == status.decode()
    assert stream not in peer.heard


def test_what_was_no_call_is_told_so() -> None:
    peer = Peer()
    stream = peer.begin()

    peer.sending.no_grpc(stream)
    peer.told()

    assert peer.ended[stream] == {":status": "415"}


def test_a_call_that_was_taken_back_is_owed_nothing() -> None:
    peer = Peer()
    stream = peer.begin()
    peer.answer(stream, b"x" * 100_000)

    peer.sending.forget(stream)
    peer.sending.widen(1 << 20)
    peer.calls[stream].room += 1 << 20

    assert peer.sending.go_on() == [] and peer.sending.out == []


def test_room_that_no_peer_may_have_ends_the_connection() -> None:
    sending, call = Sending(), Call(1, frames.MAX_WINDOW - 1)

    with pytest.raises(ConnectionFault, match=Code.FLOW_CONTROL_ERROR.name):
        sending.widen(frames.MAX_WINDOW)
    with pytest.raises(ConnectionFault, match=Code.FLOW_CONTROL_ERROR.name):
        widest, narrow = (frames.INITIAL_WINDOW, (1 << 16) + 9), (frames.INITIAL_WINDOW, 0)
        sending.settle(frames.settings_frame(widest, narrow)[9:], [call])
