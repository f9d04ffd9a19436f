"""FastCGI 1.0 as far as an authorizer needs it: one request in, one answer out, then the connection ends.

The reader is pure: bytes in, those of the parameters out, or one error. It takes what Apache's `mod_authnz_fcgi` sends
(role 2, flags 0, no body) and nothing else, and it holds no more than `MAX_PARAMS_BYTES` of it.
"""

from __future__ import annotations

import struct

from zt_engine.core.errors import InputError

MAX_PARAMS_BYTES = 96 << 10
MAX_PARAMS = 256
RECORD = struct.Struct(">BBHHBx")
VERSION, AUTHORIZER = 1, 2
BEGIN, ABORT, END, PARAMS, STDIN, STDOUT = 1, 2, 3, 4, 5, 6
_BEGIN_BODY = struct.Struct(">HB5x")
_LONGEST = 0xFFF8
"""Of the content of a record: a multiple of eight, so that no padding is needed between them."""


class Reader:
    """Reads one request from pieces of any size."""

    __slots__ = ("_begun", "_buffer", "_params", "_size", "request_id")

    def __init__(self) -> None:
        self.request_id = 0
        self._begun = False
        self._buffer = b""
        self._params: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes | None:
        """Return the parameters, for `pairs`, once all of them are there; raises InputError HOOK_.

        What follows the parameters is never looked at: an authorizer has no body.
        """
        buffer = self._buffer + data if self._buffer else data
        start = 0
        while len(buffer) - start >= RECORD.size:
            version, kind, number, length, padding = RECORD.unpack_from(buffer, start)
            if version != VERSION:
                raise InputError("HOOK_FRAMING", "this is not FastCGI 1.0")
            end = start + RECORD.size + length
            if len(buffer) < end + padding:
                break
            content = buffer[start + RECORD.size : end]
            start = end + padding
            if not self._begun:
                self._begin(kind, number, content)
            elif kind != PARAMS or number != self.request_id:
                raise InputError("HOOK_FRAMING", "a record that does not belong here")
            elif content:
                self._size += length
                if self._size > MAX_PARAMS_BYTES:
                    raise InputError("HOOK_TOO_LARGE", f"more than {MAX_PARAMS_BYTES} bytes of parameters")
                self._params.append(content)
            else:
                return b"".join(self._params)
        self._buffer = buffer[start:]
        return None

    def _begin(self, kind: int, number: int, content: bytes) -> None:
        if kind != BEGIN or len(content) != _BEGIN_BODY.size or not number:
            raise InputError("HOOK_FRAMING", "a request does not begin like this")
        role, flags = _BEGIN_BODY.unpack(content)
        if role != AUTHORIZER or flags:
            raise InputError("HOOK_FRAMING", "only an authorizer is served, for one request on a connection")
        self._begun, self.request_id = True, number


def pairs(raw: bytes) -> dict[bytes, bytes]:
    """Return names and values (FastCGI 1.0, 3.4); raises InputError HOOK_FRAMING, HEADER_DOUBLED.

    A name that comes twice is a refusal, as is half a pair.
    """
    found: dict[bytes, bytes] = {}
    position, size = 0, len(raw)
    try:
        while position < size:
            name = raw[position]
            position += 1
            if name > 127:
                name = int.from_bytes(raw[position - 1 : position + 3]) & 0x7FFFFFFF
                position += 3
            value = raw[position]
            position += 1
            if value > 127:
                value = int.from_bytes(raw[position - 1 : position + 3]) & 0x7FFFFFFF
                position += 3
            middle, end = position + name, position + name + value
            if end > size or len(found) >= MAX_PARAMS:
                raise InputError("HOOK_FRAMING", "half a parameter, or too many")
            key = raw[position:middle]
            if key in found:
                raise InputError("HEADER_DOUBLED", "a parameter came twice")
            found[key] = raw[middle:end]
            position = end
    except IndexError:
        raise InputError("HOOK_FRAMING", "half a parameter") from None
    return found


def answer(request_id: int, content: bytes) -> bytes:
    """Return a whole answer: the output in records, its end, and the end of the request."""
    pieces = []
    for start in range(0, len(content), _LONGEST):
        piece = content[start : start + _LONGEST]
        pieces += [RECORD.pack(VERSION, STDOUT, request_id, len(piece), 0), piece]
    pieces += [RECORD.pack(VERSION, STDOUT, request_id, 0, 0), RECORD.pack(VERSION, END, request_id, 8, 0), bytes(8)]
    return b"".join(pieces)
