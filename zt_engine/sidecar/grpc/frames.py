"""HTTP/2 as frames (RFC 9113 4 and 6): bytes read into frames, frames written as bytes. Of streams nothing is known.

A block of headers comes out in one piece, whatever frames it came in, and padding and priorities do not come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x01
END_HEADERS = 0x04
PADDED = 0x08
PRIORITISED = 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADER_LIST = range(1, 7)

LEAST_MAX_FRAME, MOST_MAX_FRAME = 1 << 14, (1 << 24) - 1
MAX_WINDOW = (1 << 31) - 1
MAX_STREAM = (1 << 31) - 1
MAX_BLOCK_BYTES, MAX_BLOCK_FRAMES = 64 << 10, 64
"""Of one block of headers, before it is decoded."""

_HEADER_BYTES = 9
_header = Struct(">HBBBL")
_settings = Struct(">HL")

Frame = tuple[int, int, int, bytes]
"""Kind, flags, stream, payload."""


class Code(IntEnum):
    """Why a stream or a connection ends (RFC 9113 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class ConnectionFault(Exception):
    """The peer broke the protocol: the connection ends with this code."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


class FrameReader:
    """The frames of one client, as they come. `counted` bytes of them count against the window of the connection."""

    __slots__ = ("_block", "_frames", "_greeted", "_left", "_opened", "counted")

    def __init__(self) -> None:
        self.counted = 0
        self._greeted = self._opened = False
        self._left = b""
        self._block: tuple[int, int, bytearray] | None = None
        """Flags, stream and what has come of a block of headers that goes on."""
        self._frames = 0

    def read(self, data: bytes) -> Iterator[Frame]:
        """Yield what is whole now; raises ConnectionFault for what is no HTTP/2."""
        if self._left:
            data = self._left + data
            self._left = b""
        at, end = 0, len(data)
        if not self._greeted:
            if not data.startswith(PREFACE):
                if not PREFACE.startswith(data):
                    raise ConnectionFault(Code.PROTOCOL_ERROR)
                self._left = data
                return
            self._greeted, at = True, len(PREFACE)
        while end - at >= _HEADER_BYTES:
            high, low, kind, flags, stream = _header.unpack_from(data, at)
            begin = at + _HEADER_BYTES
            at = begin + (high << 8 | low)
            if at - begin > LEAST_MAX_FRAME:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR)
            if at > end:
                at = begin - _HEADER_BYTES
                break
            frame = kind, flags, stream & MAX_STREAM, data[begin:at]
            if kind == DATA:
                self.counted += at - begin
            if (kind == DATA or (kind == HEADERS and flags & END_HEADERS)) and self._opened and self._block is None:
                yield _bare(frame) if flags & (PADDED | PRIORITISED) else frame
            else:
                self._before(kind, flags)
                found = self._joined(frame)
                if found is not None:
                    yield found
        self._left = data[at:]

    def _before(self, kind: int, flags: int) -> None:
        """See that a connection begins with settings, and that nothing comes between the parts of a block."""
        if not self._opened:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionFault(Code.PROTOCOL_ERROR)
            self._opened = True
        if (kind == CONTINUATION) != (self._block is not None):
            raise ConnectionFault(Code.PROTOCOL_ERROR)

    def _joined(self, frame: Frame) -> Frame | None:
        """Return a frame, a block of headers in parts with all of them; None as long as some are missing."""
        kind, flags, stream, payload = frame
        if kind == HEADERS:
            self._block, self._frames = (flags, stream, bytearray(_bare(frame)[3])), 1
            return None
        if kind != CONTINUATION or self._block is None:
            return frame
        begun, of, block = self._block
        self._frames += 1
        if stream != of:
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        if len(block) + len(payload) > MAX_BLOCK_BYTES or self._frames > MAX_BLOCK_FRAMES:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM)
        block += payload
        if not flags & END_HEADERS:
            return None
        self._block = None
        return HEADERS, begun | END_HEADERS, stream, bytes(block)


def _bare(frame: Frame) -> Frame:
    """Return a frame of data or headers without padding and priority."""
    kind, flags, stream, payload = frame
    begin, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR)
        begin, end = 1, end - payload[0]
    if kind == HEADERS and flags & PRIORITISED:
        if len(payload) < begin + 5:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR)
        if int.from_bytes(payload[begin : begin + 4]) & MAX_STREAM == stream:
            raise ConnectionFault(Code.PROTOCOL_ERROR)  # it would wait for itself
        begin += 5
    if begin > end:
        raise ConnectionFault(Code.PROTOCOL_ERROR)
    return kind, flags, stream, payload[begin:end]


def written(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Write a frame."""
    return _header.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def settings_of(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield the settings of a frame, unknown ones too; raises ConnectionFault."""
    if len(payload) % _settings.size:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR)
    for name, value in _settings.iter_unpack(payload):
        wrong = {
            ENABLE_PUSH: value > 1,
            MAX_FRAME: not LEAST_MAX_FRAME <= value <= MOST_MAX_FRAME,
        }
        if wrong.get(name):
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        if name == INITIAL_WINDOW and value > MAX_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR)
        yield name, value


def settings_frame(*settings: tuple[int, int]) -> bytes:
    """Write the settings of a connection."""
    return written(SETTINGS, 0, 0, b"".join(_settings.pack(*setting) for setting in settings))


def number_of(payload: bytes, size: int = 4) -> int:
    """Return the number at the beginning of a payload of a fixed size; raises ConnectionFault for another size."""
    if len(payload) != size:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR)
    return int.from_bytes(payload[:4])


def goaway(last: int, code: Code) -> bytes:
    """Write the end of a connection: nothing after stream `last` was heard."""
    return written(GOAWAY, 0, 0, last.to_bytes(4) + code.to_bytes(4))


def reset(stream: int, code: Code) -> bytes:
    """Write the end of a stream."""
    return written(RST_STREAM, 0, stream, code.to_bytes(4))


def more_room(size: int) -> bytes:
    """Write that the connection has room for so many more bytes."""
    return written(WINDOW_UPDATE, 0, 0, size.to_bytes(4))
