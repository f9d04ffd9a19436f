"""What httpd writes, in the words of FastCGI 1.0."""

from __future__ import annotations

import struct
from collections.abc import Mapping


def encoded(params: Mapping[bytes, bytes]) -> bytes:
    """Names and values (3.4), each with its length before both."""
    return b"".join(_length(name) + _length(value) + name + value for name, value in params.items())


def _length(text: bytes) -> bytes:
    return bytes([len(text)]) if len(text) < 128 else struct.pack(">I", len(text) | 0x8000_0000)
