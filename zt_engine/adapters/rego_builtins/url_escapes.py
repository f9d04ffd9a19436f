"""Percent-encoding as Go's `net/url` does it, byte by byte; shared by `uri.*` and `urlquery.*`."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from zt_engine.adapters.rego_builtins.operands import RefusedError

_UNRESERVED: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~")
_HOST: Final = _UNRESERVED | frozenset(b"!$&'()*+,;=:[]<>\"")


class Part(Enum):
    """The part of a URI that is encoded or decoded."""

    PATH = "path"
    QUERY = "query"
    USER = "user"
    FRAGMENT = "fragment"
    HOST = "host"
    ZONE = "zone"


_LITERAL: Final = {
    Part.PATH: _UNRESERVED | frozenset(b"$&+,/:;=@"),
    Part.QUERY: _UNRESERVED,
    Part.FRAGMENT: _UNRESERVED | frozenset(b"$&+,/:;=?@!()*"),
}
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})?")
_TABLES: Final = {
    part: [bytes([b]) if b in literal else b"%%%02X" % b for b in range(256)] for part, literal in _LITERAL.items()
}


def escape(raw: bytes, part: Part) -> bytes:
    """The text with everything escaped that may not stand in that part; a space is `+` in a query."""
    table = _TABLES[part]
    text = b"".join([table[b] for b in raw])
    return text.replace(b"%20", b"+") if part is Part.QUERY else text


def _check_host(raw: bytes, part: Part) -> None:
    """A host takes escapes of non-ASCII bytes only, a zone also of what may stand in a host (RFC 6874)."""
    for match in _ESCAPE.finditer(raw):
        byte = int(match.group(1), 16)
        if match.group() == b"%25":
            continue
        if (part is Part.HOST and byte < 0x80) or (part is Part.ZONE and byte != 0x20 and byte not in _HOST):
            raise RefusedError("invalid URL escape")
    for byte in _ESCAPE.sub(b"", raw):
        if byte < 0x80 and byte not in _HOST:
            raise RefusedError("invalid character in host name")


def unescape(raw: bytes, part: Part) -> bytes:
    """The text without escapes; a broken escape is refused."""
    if any(match.group(1) is None for match in _ESCAPE.finditer(raw)):
        raise RefusedError("invalid URL escape")
    if part in {Part.HOST, Part.ZONE}:
        _check_host(raw, part)
    if part is Part.QUERY:
        raw = raw.replace(b"+", b" ")
    return _ESCAPE.sub(lambda match: bytes([int(match.group(1), 16)]), raw)
