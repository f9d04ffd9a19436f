"""Serial numbers are compared, never stored: the same serial gives the same hash wherever it was read."""

from __future__ import annotations

import hashlib
from typing import Final

# What boards say whose maker never wrote a serial number. Machines that share it are not the same machine.
_PLACEHOLDERS: Final = frozenset(
    {
        "",
        "0",
        "00000000",
        "0123456789",
        "1234567890",
        "123456789",
        "default string",
        "invalid",
        "n/a",
        "na",
        "none",
        "not applicable",
        "not available",
        "not specified",
        "oem",
        "system serial number",
        "to be filled by o.e.m.",
        "unknown",
        "xxxxxxxx",
    }
)


def serial_hash(serial: str) -> str:
    """Return the hex SHA-256 of a serial number, whatever its case and blanks; empty when it is none."""
    normal = " ".join(serial.split()).lower()
    if normal in _PLACEHOLDERS:
        return ""
    return hashlib.sha256(normal.encode()).hexdigest()
