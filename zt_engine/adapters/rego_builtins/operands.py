"""How every host built-in is called: its error, its bounds, and the readers of its operands.

The engine's deadline cannot cut Python, so each built-in is bounded in work by itself: what a call may be given
(`MAX_ARGUMENT_BYTES`), what it may give back (`MAX_RESULT_BYTES`, `MAX_ITEMS`) and what it may do in between.
Whatever goes beyond raises `BuiltinError`, and the engine denies.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

from zt_engine.adapters.rego_values import (
    UNDEFINED,
    ExactNumber,
    RegoSet,
    RegoValueError,
    Undefined,
    Value,
    dumps,
    loads,
    type_name,
)

MAX_ARGUMENT_BYTES: Final = 128 * 1024
MAX_RESULT_BYTES: Final = 128 * 1024
MAX_ITEMS: Final = 10_000

Function = Callable[..., "Value | Undefined"]


class BuiltinError(Exception):
    """A host built-in refused its arguments, or would have cost too much; the evaluation it was part of denies."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(name, message)
        self.name = name
        self.message = message

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


class RefusedError(Exception):
    """Raised inside a built-in, which need not know its own name."""


FUNCTIONS: Final[dict[str, Function]] = {}


def builtin(name: str) -> Callable[[Function], Function]:
    """Register a function under its Rego name; whatever it raises becomes a `BuiltinError` with that name."""

    def register(function: Function) -> Function:
        @functools.wraps(function)
        def call(*arguments: Value) -> Value | Undefined:
            try:
                return function(*arguments)
            except RefusedError as error:
                raise BuiltinError(name, str(error)) from None
            except RecursionError:
                raise BuiltinError(name, "nested too deeply") from None
            except Exception as error:
                # A fault of ours must deny like a refusal does, and say no more than its kind.
                raise BuiltinError(name, f"failed with {type(error).__name__}") from error

        FUNCTIONS[name] = call
        return call

    return register


def invoke(name: str, function: Function, arguments: Sequence[bytes]) -> bytes | None:
    """Call a built-in on operands in their text form; the result in its text form, None for undefined."""
    if sum(map(len, arguments)) > MAX_ARGUMENT_BYTES:
        raise BuiltinError(name, f"arguments over {MAX_ARGUMENT_BYTES} bytes")
    try:
        result = function(*map(loads, arguments))
        if result is UNDEFINED:
            return None
        text = dumps(result)
    except RegoValueError as error:
        raise BuiltinError(name, str(error)) from None
    except RecursionError:
        raise BuiltinError(name, "nested too deeply") from None
    if len(text) > MAX_RESULT_BYTES:
        raise BuiltinError(name, f"result over {MAX_RESULT_BYTES} bytes")
    return text


def refuse_operand(position: int, wanted: str, value: Value) -> RefusedError:
    """The error for an operand of the wrong type, in OPA's words."""
    return RefusedError(f"operand {position} must be {wanted} but got {type_name(value)}")


def string(value: Value, position: int) -> str:
    """A string operand."""
    if not isinstance(value, str):
        raise refuse_operand(position, "string", value)
    return value


def octets(value: Value, position: int) -> bytes:
    """A string operand as the bytes it stands for."""
    return string(value, position).encode("utf-8", "surrogateescape")


def text_of(raw: bytes) -> str:
    """Bytes as a string value; what is not UTF-8 is carried along, and comes out as the same bytes."""
    return raw.decode("utf-8", "surrogateescape")


def number(value: Value, position: int) -> int | float:
    """A number operand; a boolean is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse_operand(position, "number", value)
    return value


def int64(value: Value) -> int | None:
    """The value as a 64-bit integer as OPA reads one: `1` and `1.0`, but not `1e0`; None when it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else None
    if isinstance(value, ExactNumber) and len(value.text) <= 19 and "e" not in value.text and "E" not in value.text:
        whole, _, rest = value.text.partition(".")
        return int(whole) if not rest.strip("0") else None
    return None


def integer(value: Value, position: int) -> int:
    """An operand that is a 64-bit integer."""
    number(value, position)
    found = int64(value)
    if found is None:
        raise RefusedError(f"operand {position} must be integer number but got floating-point number")
    return found


def big_integer(value: Value, position: int) -> int:
    """An operand that is an integer of any size, however it was written."""
    found = number(value, position)
    if isinstance(found, int):
        return found
    exact = exact_fraction(found)
    if exact.denominator != 1:
        raise RefusedError(f"operand {position} must be integer number but got floating-point number")
    return exact.numerator


def exact_fraction(value: float) -> Fraction:
    """A number without rounding; an exponent beyond a thousand is refused, since it would cost memory to write out."""
    if isinstance(value, ExactNumber):
        exact = value.exact()
        if exact and abs(exact.adjusted()) > 1000:
            raise RefusedError("number out of range")
        return Fraction(exact)
    return Fraction(value) if isinstance(value, int) else Fraction(Decimal(repr(value)))


def array(value: Value, position: int) -> list[Value]:
    """An array operand."""
    if not isinstance(value, list):
        raise refuse_operand(position, "array", value)
    return value


def strings(value: Value, position: int) -> list[str]:
    """An array or set of strings."""
    if not isinstance(value, list | RegoSet):
        raise refuse_operand(position, "one of {array, set}", value)
    found = [item for item in value if isinstance(item, str)]
    if len(found) != len(value):
        raise RefusedError(f"operand {position} must be {type_name(value)} of strings")
    return found


def limit(count: int, maximum: int = MAX_ITEMS, what: str = "items") -> None:
    """Refuse a result or a piece of work that is too large."""
    if count > maximum:
        raise RefusedError(f"over {maximum} {what}")
