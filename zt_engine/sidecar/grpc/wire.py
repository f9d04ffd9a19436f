"""The wire format of protocol buffers: fields out of bytes, and bytes out of fields. Nothing is known of messages here.

https://protobuf.dev/programming-guides/encoding: a message is a sequence of fields, each a number with a wire type and
a value. Groups (types 3 and 4) are gone since proto3 and are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from zt_engine.core.errors import InputError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MAX_VARINT_BYTES = 10

Field = tuple[int, int | bytes]
"""The number of a field and its value: a number for VARINT, the bytes for every other type."""


def fields(message: bytes) -> Iterator[Field]:
    """Yield the fields of a message in order, unknown ones too; raises InputError HOOK_FRAMING where it is none."""
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise _malformed("a field has no number")
        if kind == LENGTH:
            size, position = _varint(message, position)
        elif kind == VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        elif kind == FIXED64:
            size = 8
        elif kind == FIXED32:
            size = 4
        else:
            raise _malformed("a field has an unknown wire type")
        stop = position + size
        if stop > end:
            raise _malformed("a field is cut off")
        yield number, message[position:stop]
        position = stop


def payload(value: int | bytes) -> bytes:
    """Return the value of a field that is a message, a text or bytes; raises InputError HOOK_FRAMING for a number."""
    if isinstance(value, int):
        raise InputError("HOOK_FRAMING", "a number where a message was expected")
    return value


def integer(value: int | bytes) -> int:
    """Return the value of a field that is a number; raises InputError HOOK_FRAMING for anything else."""
    if not isinstance(value, int):
        raise InputError("HOOK_FRAMING", "a message where a number was expected")
    return value


def last(message: bytes, wanted: int) -> bytes:
    """Return the message in a field, the last one if there are several, empty if it is not there."""
    found = b""
    for key, value in fields(message):
        if key == wanted:
            found = payload(value)
    return found


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the number that begins at a position, and where it ends."""
    try:
        value = message[position]
        if value < 0x80:
            return value, position + 1
        value &= 0x7F
        for count in range(1, MAX_VARINT_BYTES):
            byte = message[position + count]
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position + count + 1
    except IndexError:
        raise _malformed("a number is cut off") from None
    raise _malformed("a number has more than ten bytes")


def varint(value: int) -> bytes:
    """Write a number that is not negative."""
    if value < 0x80:
        return bytes((value,))
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def number(field: int, value: int) -> bytes:
    """Write a field with a number. Zero is written as well, which a reader takes as the same as leaving it out."""
    return varint(field << 3 | VARINT) + varint(value)


def data(field: int, value: bytes) -> bytes:
    """Write a field with bytes, a text or a message."""
    return b"".join((varint(field << 3 | LENGTH), varint(len(value)), value))


def _malformed(message: str) -> InputError:
    return InputError("HOOK_FRAMING", f"no protocol buffer: {message}")
