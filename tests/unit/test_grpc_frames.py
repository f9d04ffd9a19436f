"""Frames of HTTP/2: what a library writes is read, however it is cut, and what breaks the format is told apart."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from zt_engine.sidecar.grpc import frames
from zt_engine.sidecar.grpc.frames import Code, ConnectionFault, FrameReader

SETTINGS = frames.settings_frame()
OPENING = frames.PREFACE + SETTINGS
PARTS = st.binary(max_size=30)
STREAMS = st.integers(1, 99)


@st.composite
def sent(draw: st.DrawFn) -> tuple[list[Frame], tuple[int, int, bytes]]:
    """What a peer sends as one frame, or as one block in several; and kind, stream and payload of it."""
    stream, payload = draw(STREAMS), draw(PARTS)
    padding: dict[str, Any] = {"pad_length": draw(st.integers(0, 9))} if draw(st.booleans()) else {}
    flags = ["PADDED"] if padding else []
    kind = draw(st.sampled_from(["data", "headers", "block", "ping", "room", "unknown"]))
    if kind == "data":
        return [DataFrame(stream, payload, flags=flags, **padding)], (frames.DATA, stream, payload)
    if kind == "headers":
        flags.append("END_HEADERS")
        if draw(st.booleans()):
            flags.append("PRIORITY")
            padding |= {"depends_on": 0, "stream_weight": 3}
        return [HeadersFrame(stream, payload, flags=flags, **padding)], (frames.HEADERS, stream, payload)
    if kind == "block":
        parts = [payload, *draw(st.lists(PARTS, min_size=1, max_size=4))]
        first = HeadersFrame(stream, parts[0], flags=flags, **padding)
        more = [ContinuationFrame(stream, part) for part in parts[1:]]
        more[-1].flags.add("END_HEADERS")
        return [first, *more], (frames.HEADERS, stream, b"".join(parts))
    if kind == "ping":
        return [PingFrame(0, b"12345678")], (frames.PING, 0, b"12345678")
    if kind == "room":
        return [WindowUpdateFrame(stream, 7)], (frames.WINDOW_UPDATE, stream, b"\0\0\0\x07")
    unknown = ExtensionFrame(type=99, stream_id=stream, flag_byte=0x0D, body=payload)
    unknown.body_len = len(payload)
    return [unknown], (99, stream, payload)


@settings(max_examples=300)
@given(st.lists(sent(), max_size=8), st.lists(st.integers(0, 400), max_size=8))
def test_what_is_sent_is_read_however_it_is_cut(
    said: list[tuple[list[Frame], tuple[int, int, bytes]]], cuts: list[int]
) -> None:
    written = [frame for parts, _ in said for frame in parts]
    data = OPENING + b"".join(frame.serialize() for frame in written)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = FrameReader()

    found = [
        (kind, stream, payload)
        for start, stop in itertools.pairwise(places)
        for kind, _, stream, payload in reader.read(data[start:stop])
    ]

    assert found == [(frames.SETTINGS, 0, b""), *(meant for _, meant in said)]
    assert reader.counted == sum(len(frame.serialize()) - 9 for frame in written if isinstance(frame, DataFrame))


@given(st.sampled_from(range(10)), st.integers(0, 255), STREAMS, PARTS)
def test_what_is_written_is_a_frame_to_others(kind: int, flags: int, stream: int, payload: bytes) -> None:
    written = frames.written(kind, flags, stream, payload)

    assert (int.from_bytes(written[:3]), *written[3:5]) == (len(payload), kind, flags)
    assert (int.from_bytes(written[5:9]), written[9:]) == (stream, payload)


def test_settings_are_written_and_read_as_others_do() -> None:
    written = frames.settings_frame((frames.MAX_STREAMS, 128), (frames.INITIAL_WINDOW, 7))
    told = SettingsFrame(0, settings={SettingsFrame.MAX_FRAME_SIZE: 20000, 99: 1}).serialize()

    frame, _ = Frame.parse_frame_header(memoryview(written[:9]))
    frame.parse_body(memoryview(written[9:]))
    assert isinstance(frame, SettingsFrame)
    assert frame.settings == {SettingsFrame.MAX_CONCURRENT_STREAMS: 128, SettingsFrame.INITIAL_WINDOW_SIZE: 7}
    assert dict(frames.settings_of(told[9:])) == {frames.MAX_FRAME: 20000, 99: 1}


CALL = frames.written(frames.HEADERS, 0, 1, b"\x82")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n", Code.PROTOCOL_ERROR),
        (frames.PREFACE[:10] + b"x", Code.PROTOCOL_ERROR),
        (frames.PREFACE + frames.written(frames.PING, 0, 0, b"12345678"), Code.PROTOCOL_ERROR),
        (frames.PREFACE + frames.written(frames.SETTINGS, frames.ACK, 0), Code.PROTOCOL_ERROR),
        (OPENING + b"\x00\x40\x01\0\0\0\0\0\x01", Code.FRAME_SIZE_ERROR),
        (OPENING + frames.written(frames.DATA, frames.PADDED, 1), Code.FRAME_SIZE_ERROR),
        (OPENING + frames.written(frames.DATA, frames.PADDED, 1, b"\x05abc"), Code.PROTOCOL_ERROR),
        (OPENING + frames.written(frames.HEADERS, 0x24, 1, b"\0\0\0"), Code.FRAME_SIZE_ERROR),
        (OPENING + frames.written(frames.HEADERS, 0x24, 3, b"\0\0\0\x03\x10"), Code.PROTOCOL_ERROR),
        (OPENING + frames.written(frames.CONTINUATION, 4, 1), Code.PROTOCOL_ERROR),
        (OPENING + CALL + frames.written(frames.DATA, 0, 1), Code.PROTOCOL_ERROR),
        (OPENING + CALL + frames.written(frames.HEADERS, 4, 3), Code.PROTOCOL_ERROR),
        (OPENING + CALL + frames.written(frames.CONTINUATION, 4, 3), Code.PROTOCOL_ERROR),
        (OPENING + CALL + frames.written(frames.CONTINUATION, 0, 1) * 100, Code.ENHANCE_YOUR_CALM),
        (OPENING + CALL + frames.written(frames.CONTINUATION, 0, 1, b"x" * 16384) * 5, Code.ENHANCE_YOUR_CALM),
    ],
)
def test_what_breaks_the_format_ends_the_connection(data: bytes, code: Code) -> None:
    with pytest.raises(ConnectionFault, match=code.name):
        list(FrameReader().read(data))


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\0\x02\0\0\0\x02", Code.PROTOCOL_ERROR),
        (b"\0\x05\0\0\x3f\xff", Code.PROTOCOL_ERROR),
        (b"\0\x05\x01\0\0\0", Code.PROTOCOL_ERROR),
        (b"\0\x04\x80\0\0\0", Code.FLOW_CONTROL_ERROR),
        (b"\0\x04\0\0\0", Code.FRAME_SIZE_ERROR),
    ],
)
def test_settings_that_nobody_may_have_end_the_connection(payload: bytes, code: Code) -> None:
    with pytest.raises(ConnectionFault, match=code.name):
        list(frames.settings_of(payload))
