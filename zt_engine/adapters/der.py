"""DER as far as it is written here: a tag, a length and a value (X.690 8.1, 10.1)."""

from __future__ import annotations

import base64

SEQUENCE = 0x30
SET = 0x31
INTEGER = 0x02
OCTET_STRING = 0x04
NULL = bytes.fromhex("0500")


def tlv(tag: int, *contents: bytes) -> bytes:
    """Return one element; `contents` are set one after the other."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def integer(number: int) -> bytes:
    """Return a non-negative INTEGER in its shortest form."""
    return tlv(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def pem(label: str, der: bytes) -> bytes:
    """Return DER as PEM (RFC 7468)."""
    text = base64.b64encode(der).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode("ascii")
