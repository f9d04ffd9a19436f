"""Just enough HTTP/1.1 to ask one server one question at a time: strict about framing, bounded, one deadline.

Framing is RFC 9112 section 6: a length or chunks, never both, never neither. Anything else is a ValueError, after
which the connection is worth nothing.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Callable
from typing import Final

import msgspec

MAX_HEAD: Final = 16 << 10
MAX_BODY: Final = 1 << 20
_STATUS: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2})(?: [^\r\n]*)?")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?")


class Answer(msgspec.Struct, frozen=True):
    """One whole answer; `keep_alive` says whether the connection may be used again."""

    status: int
    body: bytes
    keep_alive: bool


class AnswerReader:
    """One connection. `exchange` returns the answer to a request, or raises TimeoutError, OSError or ValueError."""

    def __init__(self, connection: socket.socket, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._socket = connection
        self._monotonic = monotonic
        self._buffer = bytearray()
        self._until = 0.0

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def is_quiet(self) -> bool:
        """Whether the idle connection is still open and nothing was sent unasked."""
        poll = select.poll()  # select() ends at file descriptor 1023
        try:
            poll.register(self._socket, select.POLLIN)
            return not self._buffer and not poll.poll(0)
        except (OSError, ValueError):
            return False

    def exchange(self, request: bytes, *, until: float) -> Answer:
        """Send and receive; `until` is on the clock given at construction and covers both."""
        self._until = until
        self._wait()
        self._socket.sendall(request)
        head = self._until_mark(b"\r\n\r\n", MAX_HEAD)
        status_line, *lines = head.split(b"\r\n")
        match = _STATUS.fullmatch(status_line)
        if match is None:
            raise ValueError("not an HTTP/1.1 answer")
        length, chunked, keep_alive = _framing(lines)
        body = self._chunks() if chunked else self._exactly(length)
        if self._buffer:
            raise ValueError("bytes after the answer")
        return Answer(status=int(match[1]), body=body, keep_alive=keep_alive)

    def _wait(self) -> None:
        """Give the next socket call only what is left: a server that sends a byte at a time gains nothing."""
        left = self._until - self._monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _more(self) -> None:
        self._wait()
        received = self._socket.recv(65536)
        if not received:
            raise ValueError("the server closed the connection within an answer")
        self._buffer += received

    def _until_mark(self, mark: bytes, limit: int) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > limit:
                raise ValueError("a line or head that is too long")
            self._more()
        found = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return found

    def _exactly(self, length: int) -> bytes:
        if length > MAX_BODY:
            raise ValueError("an answer that is too large")
        while len(self._buffer) < length:
            self._more()
        found = bytes(self._buffer[:length])
        del self._buffer[:length]
        return found

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        total = 0
        while True:
            match = _CHUNK_SIZE.fullmatch(self._until_mark(b"\r\n", 256))
            if match is None:
                raise ValueError("a chunk without a size")
            size = int(match[1], 16)
            total += size
            if total > MAX_BODY:
                raise ValueError("an answer that is too large")
            parts.append(self._exactly(size))
            if self._exactly(2) != b"\r\n":
                raise ValueError("a chunk of another size than it says, or trailers")
            if size == 0:
                return b"".join(parts)


def _framing(lines: list[bytes]) -> tuple[int, bool, bool]:
    """Return length, whether chunked, and whether the connection stays, from the header lines."""
    lengths: list[bytes] = []
    chunked, keep_alive = False, True
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise ValueError("a header line that is none")
        name, value = name.lower(), value.strip()
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked" or chunked:
                raise ValueError("an unknown transfer encoding")
            chunked = True
        elif name == b"connection":
            keep_alive = value.lower() != b"close"
    if chunked == bool(lengths) or len(lengths) > 1:
        raise ValueError("an answer without exactly one length")
    if lengths and not (lengths[0].isdigit() and len(lengths[0]) < 10):
        raise ValueError("a length that is no number")
    return (int(lengths[0]) if lengths else 0), chunked, keep_alive
