"""`units.parse` and `units.parse_bytes`: `10KiB`, `1.5M`, `100m`."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

from zt_engine.adapters.rego_builtins.operands import RefusedError, builtin, string
from zt_engine.adapters.rego_values import ExactNumber, Value

_SI: Final = {prefix: Fraction(1000) ** power for power, prefix in enumerate(("", "k", "m", "g", "t", "p", "e"))}
_BINARY: Final = {prefix + "i": Fraction(1024) ** power for power, prefix in enumerate("kmgtpe", start=1)}
_MILLI: Final = Fraction(0.001)  # OPA multiplies by the float
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MAX_EXPONENT: Final = 400
_MAX_DIGITS: Final = 1000


def _split(text: str) -> tuple[str, str]:
    """Number and unit; an `e` belongs to the number when a digit or a sign follows it."""
    at = 0
    while at < len(text):
        char = text[at]
        if char in "eE":
            following = text[at + 1 : at + 2]
            if not following or following not in "0123456789+-":
                break
            at += 1 if following in "+-" else 0
        elif char not in "0123456789.+-":
            break
        at += 1
    return text[:at], text[at:]


def _amount(text: str) -> Fraction:
    if not text:
        raise RefusedError("no amount provided")
    match = _NUMBER.fullmatch(text)
    if match is None or len(text) > _MAX_DIGITS:
        raise RefusedError("could not parse amount to a number")
    number = Decimal(text)
    if number and abs(number.adjusted()) > _MAX_EXPONENT:
        raise RefusedError("exponent too large")
    return Fraction(number)


def _parts(value: Value) -> tuple[str, str]:
    text = string(value, 1).replace('"', "")
    if " " in text:
        raise RefusedError("spaces not allowed in resource strings")
    return _split(text)


@builtin("units.parse")
def parse(value: Value) -> Value:
    """A number with an SI or binary unit; a small `m` is a thousandth, a big one a million."""
    number, unit = _parts(value)
    unit = unit[:1] + unit[1:].lower()
    amount = _amount(number)
    if unit == "m":
        factor = _MILLI
    elif unit.lower() in _SI and len(unit) <= 1:
        factor = _SI[unit.lower()]
    elif unit.lower() in _BINARY:
        factor = _BINARY[unit.lower()]
    else:
        raise RefusedError(f"unit {unit[:20]} not recognized")
    result = amount * factor
    return result.numerator if result.denominator == 1 else ExactNumber(_ten_places(result))


def _ten_places(value: Fraction) -> str:
    """Ten decimal places, halves away from zero."""
    scaled, rest = divmod(abs(value.numerator) * 10**10, value.denominator)
    scaled += 1 if rest * 2 >= value.denominator else 0
    return f"{'-' if value < 0 else ''}{scaled // 10**10}.{scaled % 10**10:010d}"


@builtin("units.parse_bytes")
def parse_bytes(value: Value) -> Value:
    """A whole number of bytes; the unit is not case-sensitive and may end in `b`."""
    number, unit = _parts(value.lower() if isinstance(value, str) else value)
    amount = _amount(number)
    prefix = unit.removesuffix("b")
    if prefix in _BINARY or (prefix in _SI and unit != "b"):
        return int(_round64(_round64(amount) * (_BINARY.get(prefix) or _SI[prefix])))
    raise RefusedError(f"byte unit {unit[:20]} not recognized")


def _round64(value: Fraction) -> Fraction:
    """The nearest value with 64 bits of mantissa, ties to even, which is how OPA reads the number here."""
    if not value:
        return value
    shift = value.numerator.bit_length() - value.denominator.bit_length() - 64
    scaled = abs(value) / Fraction(2) ** shift
    while scaled >= 1 << 64:
        scaled, shift = scaled / 2, shift + 1
    while scaled < 1 << 63:
        scaled, shift = scaled * 2, shift - 1
    return Fraction(round(scaled)) * Fraction(2) ** shift * (1 if value > 0 else -1)
