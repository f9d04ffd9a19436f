"""One gzip member (RFC 1952) that is all there is, never expanded beyond a limit whatever it claims."""

from __future__ import annotations

import zlib


class MemberError(ValueError):
    """The bytes are not exactly one gzip member."""


class MemberTooLargeError(ValueError):
    """It expands beyond the limit."""


def expand(raw: bytes, *, most: int) -> bytes:
    """Return what is in it; MemberError or MemberTooLargeError."""
    stream = zlib.decompressobj(wbits=31)
    try:
        data = stream.decompress(raw, most + 1)
    except zlib.error as error:
        raise MemberError(f"not gzip: {error}") from None
    if len(data) > most:
        raise MemberTooLargeError(f"expands beyond {most} bytes")
    if not stream.eof or stream.unused_data:
        raise MemberError("the gzip stream is cut off or followed by other bytes")
    return data
