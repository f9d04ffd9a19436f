"""What one connection is sent: answers as frames, as far as the peer has room for them (RFC 9113 5.2 and 6.9).

It names no table to its peer: every block of headers that it writes is a constant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from zt_engine.sidecar.grpc import frames
from zt_engine.sidecar.grpc.frames import END_HEADERS, END_STREAM, MAX_WINDOW, Code, ConnectionFault

FIRST_ROOM = (1 << 16) - 1
"""What there is room for before somebody says otherwise (RFC 9113 6.9.2)."""
_FIRST_TABLE = 4096

# Literals without indexing, of names in the static table or spelled out (RFC 7541 6.2.2, appendix A).
_OK = b"\x88\x0f\x10\x10application/grpc"
_NO_GRPC = b"\x08\x03415"
_STATUS = b"\x00\x0bgrpc-status"
_DONE = _STATUS + b"\x010"
_FORGET_TABLE = b"\x20"


def _beginning(flags: int, block: bytes) -> bytes:
    """A frame of headers up to its stream."""
    return frames.written(frames.HEADERS, flags, 0, block)[:5]


_OK_BEGINS, _DONE_BEGINS = _beginning(END_HEADERS, _OK), _beginning(END_HEADERS | END_STREAM, _DONE)


class Recipient(Protocol):
    """A call that is answered."""

    stream: int
    room: int
    """Bytes of its answer that the peer takes, if it takes them on the connection."""
    rest: bytes
    """What of the answer is not sent yet."""


class Sending:
    """Frames that are to be written, in `out`. What the peer has no room for waits, each answer for its own room."""

    __slots__ = ("_most_frame", "_owing", "_room", "_table", "_update", "of_stream", "out")

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.of_stream = FIRST_ROOM
        """The room of a call that begins now."""
        self._room = FIRST_ROOM
        self._most_frame = frames.LEAST_MAX_FRAME
        self._owing: dict[int, Recipient] = {}
        self._table = _FIRST_TABLE
        self._update = b""
        """What the next block has to begin with: that the table which the peer made smaller is empty (RFC 7541 4.2)."""

    def answer(self, call: Recipient, message: bytes) -> bool:
        """Send a message with status 0; False if some of it has to wait."""
        size = len(message) + 5
        if size <= call.room and size <= self._room and size <= self._most_frame and not self._update:
            self._room -= size
            stream, length = call.stream.to_bytes(4), len(message).to_bytes(4)
            self.out.append(
                b"%b%b%b%b\0\0%b\0%b%b%b%b%b"
                % (
                    _OK_BEGINS, stream, _OK, size.to_bytes(3), stream, length, message, _DONE_BEGINS, stream, _DONE,
                )
            )  # fmt: skip
            return True
        self._headers(call.stream, END_HEADERS, _OK)
        call.rest = b"\0%b%b" % (len(message).to_bytes(4), message)
        self._owing[call.stream] = call
        return self._send_rest(call)

    def status(self, stream: int, status: bytes) -> None:
        """Send a status alone."""
        block = b"%b%b%c%b" % (_OK, _STATUS, len(status), status)
        self._headers(stream, END_HEADERS | END_STREAM, block)

    def no_grpc(self, stream: int) -> None:
        """Say that this was no call."""
        self._headers(stream, END_HEADERS | END_STREAM, _NO_GRPC)

    def forget(self, stream: int) -> None:
        """Owe a call nothing any more."""
        self._owing.pop(stream, None)

    def settle(self, payload: bytes, calls: Iterable[Recipient]) -> None:
        """Take up the peer's settings; raises ConnectionFault."""
        more = most = 0
        for name, value in frames.settings_of(payload):
            if name == frames.INITIAL_WINDOW:
                more += value - self.of_stream
                most = max(most, more)
                self.of_stream = value
            elif name == frames.MAX_FRAME:
                self._most_frame = value
            elif name == frames.HEADER_TABLE_SIZE:
                if value < self._table:
                    self._update = _FORGET_TABLE
                self._table = value
        if more or most:
            for call in calls:  # once for all that a frame says
                if call.room + most > MAX_WINDOW:
                    raise ConnectionFault(Code.FLOW_CONTROL_ERROR)
                call.room += more
        self.out.append(frames.written(frames.SETTINGS, frames.ACK, 0))

    def widen(self, more: int) -> None:
        """Take up that the connection has more room; raises ConnectionFault."""
        self._room += more
        if self._room > MAX_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR)

    def go_on(self) -> list[int]:
        """Send what there is room for now, and return the streams that are owed nothing any more."""
        if self._room <= 0:
            return []
        owed = [call for call in self._owing.values() if call.room > 0]
        return [call.stream for call in owed if self._send_rest(call)]

    def _send_rest(self, call: Recipient) -> bool:
        while call.rest:
            size = min(len(call.rest), call.room, self._room, self._most_frame)
            if size <= 0:
                return False
            self.out.append(frames.written(frames.DATA, 0, call.stream, call.rest[:size]))
            call.rest = call.rest[size:]
            call.room -= size
            self._room -= size
        del self._owing[call.stream]
        self._headers(call.stream, END_HEADERS | END_STREAM, _DONE)
        return True

    def _headers(self, stream: int, flags: int, block: bytes) -> None:
        self.out.append(frames.written(frames.HEADERS, flags, stream, self._update + block))
        self._update = b""
