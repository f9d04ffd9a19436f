"""`uuid.parse`: what a UUID tells about itself (RFC 9562; time and node of versions 1 and 2)."""

from __future__ import annotations

import re
from typing import Final

from zt_engine.adapters.rego_builtins.operands import builtin, string
from zt_engine.adapters.rego_values import UNDEFINED, Key, Undefined, Value

_HYPHENED: Final = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")
_PLAIN: Final = re.compile(r"[0-9A-Fa-f]{32}")
_GREGORIAN: Final = 122_192_928_000_000_000  # 100 ns from 1582-10-15 to 1970-01-01
_DOMAINS: Final = ("Person", "Group", "Org")


def _read(text: str) -> bytes | None:
    """The four spellings that are taken: plain, hyphened, with `urn:uuid:`, in braces."""
    if len(text) == 32:
        return bytes.fromhex(text) if _PLAIN.fullmatch(text) else None
    if len(text) == 45 and text[:9].lower() == "urn:uuid:":
        text = text[9:]
    elif len(text) == 38:
        text = text[1:37]  # the braces themselves are not looked at, as in OPA
    return bytes.fromhex(text.replace("-", "")) if _HYPHENED.fullmatch(text) else None


def _variant(octet: int) -> str:
    if octet & 0xC0 == 0x80:
        return "RFC4122"
    if octet & 0xE0 == 0xC0:
        return "Microsoft"
    return "Future" if octet & 0xE0 == 0xE0 else "Reserved"


def _node_kind(octet: int) -> str:
    return ("local" if octet & 2 else "global") + (":multicast" if octet & 1 else ":unicast")


def _wrapped(number: int) -> int:
    """A number as 64 bits hold it; OPA's nanoseconds overflow for times after 2262."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


@builtin("uuid.parse")
def parse(text: Value) -> Value | Undefined:
    """Version and variant, and what versions 1 and 2 carry; undefined for what is no UUID."""
    raw = _read(string(text, 1))
    if raw is None:
        return UNDEFINED
    version = raw[6] >> 4
    found: dict[str | Key, Value] = {"version": version, "variant": _variant(raw[8])}
    if version in {1, 2}:
        ticks = int.from_bytes(raw[:4]) | int.from_bytes(raw[4:6]) << 32 | (int.from_bytes(raw[6:8]) & 0xFFF) << 48
        found["time"] = _wrapped((ticks - _GREGORIAN) * 100)
        found["nodeid"] = raw[10:].hex("-")
        found["macvariables"] = _node_kind(raw[10])
        found["clocksequence"] = int.from_bytes(raw[8:10]) & 0x3FFF
    if version == 2:
        found["id"] = int.from_bytes(raw[:4])
        found["domain"] = _DOMAINS[raw[9]] if raw[9] < len(_DOMAINS) else f"Domain{raw[9]}"
    return found
