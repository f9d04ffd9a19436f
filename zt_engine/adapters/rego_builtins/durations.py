"""`time.parse_duration_ns`: Go's durations, and OPA's days, weeks and years."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from zt_engine.adapters.rego_builtins.operands import RefusedError, builtin, limit, string
from zt_engine.adapters.rego_values import Value

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_EXTENDED: Final = {"d": 24, "w": 7 * 24, "y": 365 * 24}
_PART: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]+)")
_EXTENDED_PART: Final = re.compile(r"([0-9.]+)(ms|us|\u00b5s|ns|[a-z])")
_DECIMAL: Final = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_LARGEST: Final = 1 << 63
_MAX_LENGTH: Final = 256


def _in_hours(text: str) -> str:
    """Days, weeks and years written as hours, which is how OPA has them read."""
    sign = text[:1] if text[:1] in {"+", "-"} else ""
    at, out = len(sign), [sign]
    while at < len(text):
        match = _EXTENDED_PART.match(text, at)
        if match is None:
            raise RefusedError("invalid duration")
        digits, unit = match.groups()
        at = match.end()
        if unit in _EXTENDED:
            if not _DECIMAL.fullmatch(digits):
                raise RefusedError("invalid duration")
            digits, unit = format(Decimal(repr(float(digits) * _EXTENDED[unit])), "f"), "h"
        out.append(digits + unit)
    return "".join(out)


def _nanoseconds(match: re.Match[str]) -> int:
    whole, fraction, unit = match.groups()
    if (not whole and not fraction) or unit not in _UNITS:
        raise RefusedError("invalid duration")
    size = _UNITS[unit]
    found = int(whole or 0)
    if found > _LARGEST // size:
        raise RefusedError("duration out of range")
    digits = (fraction or "")[:18]
    # Go multiplies the fraction as a float, which rounds where exact arithmetic would not.
    return found * size + (int(float(int(digits)) * (float(size) / 10.0 ** len(digits))) if digits else 0)


@builtin("time.parse_duration_ns")
def parse_duration_ns(value: Value) -> Value:
    """`1h30m`, `-1.5s`, `2d`; nanoseconds, or a refusal beyond 64 bits."""
    text = string(value, 1)
    limit(len(text), _MAX_LENGTH, "characters")
    if not text:
        raise RefusedError("invalid duration")
    if any(unit in text for unit in _EXTENDED):
        text = _in_hours(text)
    negative = text[0] == "-"
    rest = text[1:] if text[0] in "+-" else text
    if rest == "0":
        return 0
    total, at = 0, 0
    while at < len(rest) or not rest:
        match = _PART.match(rest, at)
        if match is None:
            raise RefusedError("invalid duration")
        total += _nanoseconds(match)
        at = match.end()
    if total > _LARGEST - (0 if negative else 1):
        raise RefusedError("duration out of range")
    return -total if negative else total
