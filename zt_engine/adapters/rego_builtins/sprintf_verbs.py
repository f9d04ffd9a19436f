"""One value under one verb, as Go's `fmt` renders it."""

from __future__ import annotations

import math
import re
import struct
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from zt_engine.adapters.rego_builtins.operands import RefusedError, int64
from zt_engine.adapters.rego_values import RegoSet, Value, number_text, sorted_pairs

MAX_WIDTH: Final = 4_096
_BASES: Final = {"b": "b", "o": "o", "O": "o", "d": "d", "v": "d", "s": "d", "x": "x", "X": "X"}
_MASK: Final = (1 << 64) - 1


class Text(str):
    """An argument that is text; a plain `str` never is an argument."""

    __slots__ = ()


Argument = int | float | Text


class Flags(NamedTuple):
    """What stands between the percent sign and the verb."""

    plus: bool = False
    minus: bool = False
    sharp: bool = False
    space: bool = False
    zero: bool = False
    width: int | None = None
    precision: int | None = None


# --- text of values ------------------------------------------------------------------------------------------------

_QUOTE_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\",
}  # fmt: skip


def _quoted_char(char: str, quote: str, *, ascii_only: bool) -> str:
    if char == quote:
        return "\\" + quote
    if char in _QUOTE_ESCAPES:
        return _QUOTE_ESCAPES[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if 0xD800 <= code <= 0xDFFF:
        return "\\ufffd"
    if char.isprintable() and (code < 0x80 or not ascii_only):
        return char
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quoted(text: str, *, quote: str = '"', ascii_only: bool = False) -> str:
    """A Go string literal (`strconv.Quote`)."""
    if text.isprintable() and quote not in text and "\\" not in text and (text.isascii() or not ascii_only):
        return quote + text + quote
    return quote + "".join([_quoted_char(char, quote, ascii_only=ascii_only) for char in text]) + quote


def value_text(value: Value) -> str:
    """A value as OPA prints it: like JSON, with blanks after commas and colons, and sets."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number_text(value)
        case str():
            return quoted(value)
        case list():
            return "[" + ", ".join([value_text(item) for item in value]) + "]"
        case dict():
            return "{" + ", ".join([f"{value_text(k)}: {value_text(v)}" for k, v in sorted_pairs(value)]) + "}"
        case RegoSet():
            return "{" + ", ".join([value_text(item) for item in value]) + "}" if len(value) else "set()"


# --- verbs ---------------------------------------------------------------------------------------------------------


def _is_big(argument: Argument) -> bool:
    return isinstance(argument, int) and int64(argument) is None


def go_type(argument: Argument) -> str:
    """The name of the Go type that OPA passes."""
    if isinstance(argument, Text):
        return "string"
    if isinstance(argument, float):
        return "float64"
    return "*big.Int" if _is_big(argument) else "int64"


def _padded(text: str, flags: Flags, *, zero: bool = False) -> str:
    lacking = (flags.width or 0) - len(text)
    if lacking <= 0:
        return text
    if flags.minus:
        return text + " " * lacking
    return ("0" if zero else " ") * lacking + text


def render(argument: Argument, verb: str, flags: Flags) -> str:
    """The argument under the verb; a verb that does not fit is marked in the text."""
    if verb == "T":
        return _string(go_type(argument), "s", flags) or ""
    if _is_big(argument):
        return _big(int(argument), verb, flags)
    go_syntax = flags.sharp and verb in {"v", "w"}
    plain = flags._replace(sharp=False, plus=False) if verb in {"v", "w"} else flags
    if go_syntax and isinstance(argument, Text):
        return _padded(quoted(argument[: plain.precision]), plain, zero=plain.zero)
    text = _rendered(argument, verb, plain)
    return f"%!{verb}({go_type(argument)}={_rendered(argument, 'v', plain)})" if text is None else text


def _rendered(argument: Argument, verb: str, flags: Flags) -> str | None:
    if isinstance(argument, Text):
        return _string(argument, verb, flags)
    return _float(argument, verb, flags) if isinstance(argument, float) else _integer(argument, verb, flags)


def _string(text: str, verb: str, flags: Flags) -> str | None:
    if verb in {"x", "X"}:
        return _hexadecimal(text, verb, flags)
    if verb not in {"v", "s", "q"}:
        return None
    if flags.precision is not None:
        text = text[: flags.precision]
    if verb == "q":
        raw = flags.sharp and "`" not in text and all(char == "\t" or char.isprintable() for char in text)
        text = f"`{text}`" if raw else quoted(text, ascii_only=flags.plus)
    return _padded(text, flags, zero=flags.zero)


def _hexadecimal(text: str, verb: str, flags: Flags) -> str:
    raw = text.encode("utf-8", "surrogateescape")
    if flags.precision is not None:
        raw = raw[: flags.precision]
    prefix = "0" + verb if flags.sharp else ""
    digits = [f"{byte:02x}" if verb == "x" else f"{byte:02X}" for byte in raw]
    if flags.space:
        found = " ".join([prefix + pair for pair in digits])
    else:
        found = (prefix if digits else "") + "".join(digits)
    return _padded(found, flags, zero=flags.zero)


def _sign(negative: bool, flags: Flags) -> str:
    if negative:
        return "-"
    return "+" if flags.plus else (" " if flags.space else "")


def _integer(number: int, verb: str, flags: Flags) -> str | None:
    if verb in {"c", "q", "U"}:
        return _character(number & _MASK, verb, flags)
    if verb not in _BASES or verb == "s":
        return None
    if flags.precision == 0 and number == 0:
        return " " * (flags.width or 0)
    digits = format(abs(number), _BASES[verb])
    sign = _sign(number < 0, flags)
    precision = flags.precision
    if precision is None and flags.zero and not flags.minus and flags.width is not None:
        precision = flags.width - len(sign)
    digits = digits.rjust(precision or 0, "0")
    return _padded(sign + _prefix(digits, verb, flags) + digits, flags)


def _prefix(digits: str, verb: str, flags: Flags) -> str:
    if verb == "O":
        return "0o" + ("0" if flags.sharp and digits[0] != "0" else "")
    if not flags.sharp:
        return ""
    return {"b": "0b", "o": "" if digits[0] == "0" else "0", "x": "0x", "X": "0X"}.get(verb, "")


def _big(number: int, verb: str, flags: Flags) -> str:
    """Integers over 64 bits print themselves in Go, with rules of their own."""
    if verb == "p":
        raise RefusedError("an address has no meaning here")
    if verb not in _BASES:
        return f"%!{verb}(big.Int={number})"
    digits = format(abs(number), _BASES[verb])
    sign = _sign(number < 0, flags)
    prefix = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}.get(verb, "") if flags.sharp else ""
    prefix = "0o" if verb == "O" else prefix
    zeros = max((flags.precision or 0) - len(digits), 0)
    lacking = max((flags.width or 0) - len(sign) - len(prefix) - zeros - len(digits), 0)
    if lacking and flags.zero and not flags.minus and flags.precision is None:
        zeros, lacking = lacking, 0
    text = sign + prefix + "0" * zeros + digits
    return text + " " * lacking if flags.minus else " " * lacking + text


def _character(code: int, verb: str, flags: Flags) -> str:
    valid = code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF
    char = chr(code) if valid else "\ufffd"
    if verb == "c":
        return _padded(char, flags, zero=flags.zero)
    if verb == "q":
        return _padded(quoted(char, quote="'", ascii_only=flags.plus), flags, zero=flags.zero)
    text = "U+" + f"{code:X}".rjust(max(flags.precision or 0, 4), "0")
    if flags.sharp and valid and char.isprintable():
        text += f" '{char}'"
    return _padded(text, flags)


# --- floats --------------------------------------------------------------------------------------------------------


def _float(number: float, verb: str, flags: Flags) -> str | None:
    if verb == "v":
        kind, default = "g", None
    elif verb in {"g", "G", "e", "E", "f", "F"}:
        kind, default = verb.replace("F", "f"), None if verb in {"g", "G"} else 6
    elif verb in {"b", "x", "X"}:
        kind, default = verb, None
    else:
        return None
    precision = default if flags.precision is None else flags.precision
    digits = _digits(abs(number), kind, precision)
    if flags.sharp and kind != "b":
        digits = _sharp(digits, kind, precision)
    sign = _sign(math.copysign(1, number) < 0, flags)
    if flags.zero and not flags.minus and flags.width is not None and sign:
        return sign + digits.rjust(flags.width - len(sign), "0")
    return _padded(sign + digits, flags, zero=flags.zero)


def _digits(number: float, kind: str, precision: int | None) -> str:
    """`strconv.FormatFloat` of a number that is not negative."""
    if kind == "b":
        mantissa, exponent = _binary(number)
        return f"{mantissa}p{exponent:+d}"
    if kind in {"x", "X"}:
        return _hexadecimal_float(number, kind, precision)
    if kind == "f" and precision is not None:
        return f"{Decimal(number):.{precision}f}"
    if kind in {"e", "E"} and precision is not None:
        return _exponent(f"{Decimal(number):.{precision}{kind}}")
    if kind in {"g", "G"}:
        return _general(number, kind, precision)
    raise RefusedError("unknown kind of float")


def _exponent(text: str) -> str:
    """At least two digits in the exponent."""
    return re.sub(r"([eE][+-])(\d)$", r"\g<1>0\2", text)


def _general(number: float, kind: str, precision: int | None) -> str:
    """The shortest text that reads back, or so many digits; an exponent below 1e-4 and from 1e6 (or 10^digits) on."""
    exact = Decimal(repr(number)) if precision is None else Decimal(number)
    if precision is not None:
        exact = Context(prec=max(precision, 1), rounding=ROUND_HALF_EVEN).plus(exact)
    exact = exact.normalize(Context(prec=max(800, precision or 0))) if exact else Decimal(0)
    _, digits, _ = exact.as_tuple()
    power = exact.adjusted() if exact else 0
    threshold = 6 if precision is None else max(precision, 1)
    if power < -4 or power >= threshold:
        mantissa = str(digits[0]) + ("." + "".join(map(str, digits[1:])) if len(digits) > 1 else "")
        return f"{mantissa}{'e' if kind == 'g' else 'E'}{'-' if power < 0 else '+'}{abs(power):02d}"
    return format(exact, "f")


def _sharp(text: str, kind: str, precision: int | None) -> str:
    """The point is always printed, and the general form keeps its zeros."""
    mantissa, mark, tail = text, "", ""
    for separator in ("p", "P") if kind in {"x", "X"} else ("e", "E"):
        head, found, rest = text.partition(separator)
        if found:
            mantissa, mark, tail = head, found, rest
    wanted = 0
    if kind in {"g", "G", "x"}:
        wanted = 6 if precision is None else precision
    digits = mantissa.replace(".", "")
    significant = len(digits.lstrip("0"))
    if mantissa == "0":
        significant = 1
    if "." not in mantissa:
        mantissa += "."
    return mantissa + "0" * max(wanted - significant, 0) + mark + tail


def _binary(number: float) -> tuple[int, int]:
    bits = struct.unpack(">Q", struct.pack(">d", number))[0]
    exponent, fraction = (bits >> 52) & 0x7FF, bits & ((1 << 52) - 1)
    return (fraction, -1074) if exponent == 0 else (fraction | 1 << 52, exponent - 1075)


def _hexadecimal_float(number: float, kind: str, precision: int | None) -> str:
    """`0x1.8p+01`: a leading one and the fraction in hexadecimal, rounded to even when a precision asks for less."""
    fraction, power = 0, 0
    if number:
        mantissa, scale = _binary(number)
        length = mantissa.bit_length()  # Go normalises what is subnormal
        power = scale + length - 1
        fraction = (mantissa << (53 - length)) & ((1 << 52) - 1)
    digits = f"{fraction:013x}".rstrip("0")
    whole = 1 if number else 0
    if precision is not None:
        kept = min(precision, 13)
        rounded = round(Fraction((whole << 52) | fraction, 16 ** (13 - kept)))
        if rounded >> (4 * kept) > 1:
            rounded, power = rounded >> 1, power + 1
        digits = f"{rounded & ((1 << 4 * kept) - 1):0{kept}x}" if kept else ""
        digits = digits.ljust(precision, "0")
    text = f"0x{whole}{'.' + digits if digits else ''}p{'-' if power < 0 else '+'}{abs(power):02d}"
    return text.upper() if kind == "X" else text
