"""Rego values in Python, and the text form in which they cross the border of a compiled policy.

`opa_value_dump` writes and `opa_value_parse` reads JSON with three additions: sets (`{1, 2}`, the empty one `set()`),
object keys of any type (`{[1]: 2}`), and numbers that are kept as the text they were written in. Facts about that form:
OPA 1.20.2, `wasm/src/json.c`.

Numbers are exact: integers are `int` whatever their size, everything else is an `ExactNumber`, a float that remembers
its text, so that a value which is only passed through is not rounded. Strings may hold bytes that are not UTF-8 (the
result of a decoder); they are carried as surrogate escapes and come out as the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Final, NoReturn, Self, TypeAlias

MAX_DEPTH: Final = 64
"""Deepest nesting that is read or written; the policy input itself is capped at the same depth."""

_MAX_PARTS: Final = 1_000_000

_Order: TypeAlias = tuple[object, ...]


class RegoValueError(ValueError):
    """The text is not a Rego value, or is one beyond the limits."""


class Undefined(Enum):
    """What a built-in returns when OPA would leave the call undefined; it is neither a value nor a failure."""

    UNDEFINED = "undefined"


UNDEFINED: Final = Undefined.UNDEFINED


class ExactNumber(float):
    """A number with a point or an exponent, together with the text it was written in."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def exact(self) -> Decimal:
        """The number without rounding, for comparison; hashes like an equal `int`."""
        try:
            return Decimal(self.text)
        except InvalidOperation as error:
            raise RegoValueError("number out of range") from error


class RegoSet:
    """An immutable Rego set: distinct by Rego's equality (`1` equals `1.0`, not `true`), iterated in Rego's order."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[Value] = ()) -> None:
        unique = {order(item): item for item in items}
        self._items = {key: unique[key] for key in sorted(unique)}

    def __iter__(self) -> Iterator[Value]:
        return iter(self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: Value) -> bool:
        return order(item) in self._items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RegoSet) and self._items.keys() == other._items.keys()

    def __hash__(self) -> int:
        return hash(tuple(self._items))

    def __repr__(self) -> str:
        return f"RegoSet({list(self)!r})"

    def orders(self) -> tuple[_Order, ...]:
        """The sort keys of the members, in order."""
        return tuple(self._items)


class Key:
    """An object key that is not a string; equal and hashed by Rego's equality."""

    __slots__ = ("order", "value")

    def __init__(self, value: Value) -> None:
        self.value = value
        self.order = order(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self.order == other.order

    def __hash__(self) -> int:
        return hash(self.order)

    def __repr__(self) -> str:
        return f"Key({self.value!r})"


Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str | Key, Value] | RegoSet | None"


def key_of(value: Value) -> str | Key:
    """A value as an object key."""
    return value if isinstance(value, str) else Key(value)


def value_of(key: str | Key) -> Value:
    """An object key as a value."""
    return key if isinstance(key, str) else key.value


def order(value: Value) -> _Order:
    """A hashable key that sorts and compares as Rego does: null < boolean < number < string < array < object < set."""
    match value:
        case None:
            return (0,)
        case bool():
            return (1, value)
        case ExactNumber():
            return (2, value.exact())
        case int() | float():
            return (2, value)
        case str():
            return (3, value)
        case list():
            return (4, tuple(order(item) for item in value))
        case dict():
            pairs = sorted((order(value_of(key)), order(item)) for key, item in value.items())
            return (5, tuple(pairs))
        case RegoSet():
            return (6, value.orders())


def equal(a: Value, b: Value) -> bool:
    """Whether two values are equal in Rego."""
    return order(a) == order(b)


def type_name(value: Value) -> str:
    """The name of a value's type, as Rego's `type_name` says it."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case RegoSet():
            return "set"


def sorted_pairs(value: dict[str | Key, Value]) -> list[tuple[Value, Value]]:
    """The members of an object in Rego's order of keys."""
    if all(type(key) is str for key in value):
        return [(key, value[key]) for key in sorted(value)]  # type: ignore[type-var,misc]
    return sorted(((value_of(key), item) for key, item in value.items()), key=lambda pair: order(pair[0]))


# --- writing -------------------------------------------------------------------------------------------------------

_ESCAPED = re.compile(r'[\x00-\x1f"\\]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    return _SHORT.get(char) or f"\\u{ord(char):04x}"


def _quoted(text: str) -> str:
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def number_text(value: float) -> str:
    """A number as the text that OPA would keep for it; infinities and NaN are refused."""
    if isinstance(value, ExactNumber):
        return value.text
    if isinstance(value, int):
        return int.__repr__(value)
    if value - value != 0:  # infinite or not a number
        raise RegoValueError("number out of range")
    return repr(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)


def _write(value: Value, out: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise RegoValueError("nested too deeply")
    if len(out) > _MAX_PARTS:
        raise RegoValueError("too large")
    match value:
        case None:
            out.append("null")
        case bool():
            out.append("true" if value else "false")
        case int() | float():
            out.append(number_text(value))
        case str():
            out.append(_quoted(value))
        case list() | RegoSet():
            is_set = isinstance(value, RegoSet)
            if is_set and not len(value):
                out.append("set()")
                return
            out.append("{" if is_set else "[")
            for index, item in enumerate(value):
                if index:
                    out.append(",")
                _write(item, out, depth + 1)
            out.append("}" if is_set else "]")
        case dict():
            out.append("{")
            for index, (key, item) in enumerate(sorted_pairs(value)):
                if index:
                    out.append(",")
                _write(key, out, depth + 1)
                out.append(":")
                _write(item, out, depth + 1)
            out.append("}")


def dumps(value: Value) -> bytes:
    """The text form of a value, as bytes; raises `RegoValueError` for what has none."""
    out: list[str] = []
    _write(value, out, 0)
    try:
        return "".join(out).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise RegoValueError("a string holds a lone surrogate") from error


# --- reading -------------------------------------------------------------------------------------------------------


def _no_constant(text: str) -> NoReturn:
    raise RegoValueError(f"`{text}` is not a value")


_FAST = json.JSONDecoder(parse_float=ExactNumber, parse_constant=_no_constant)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_SPACE = re.compile(r"[ \t\n\r]*")
_ATOMS: Final[tuple[tuple[str, bool | None], ...]] = (("null", None), ("true", True), ("false", False))


class _Reader:
    """A recursive reader of what plain JSON cannot say; used only when the fast reader gave up."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip(self) -> str:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def expect(self, char: str) -> None:
        if self.skip() != char:
            raise RegoValueError(f"expected `{char}` at {self.at}")
        self.at += 1

    def value(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise RegoValueError("nested too deeply")
        char = self.skip()
        if char == '"':
            return self.string()
        if char == "[":
            self.at += 1
            return self.items("]", depth)
        if char == "{":
            self.at += 1
            return self.object_or_set(depth)
        return self.scalar()

    def string(self) -> str:
        match = _STRING.match(self.text, self.at)
        if match is None:
            raise RegoValueError(f"no string at {self.at}")
        self.at = match.end()
        return str(_FAST.decode(match.group()))

    def scalar(self) -> Value:
        if self.text.startswith("set(", self.at):
            self.at += 4
            self.expect(")")
            return RegoSet()
        for word, atom in _ATOMS:
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return atom
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            raise RegoValueError(f"no value at {self.at}")
        self.at = match.end()
        return int(match.group()) if match.group(1) is None and match.group(2) is None else ExactNumber(match.group())

    def items(self, end: str, depth: int) -> list[Value]:
        """The members up to the closing bracket, which is consumed."""
        found: list[Value] = []
        if self.skip() == end:
            self.at += 1
            return found
        while True:
            found.append(self.value(depth + 1))
            if self.skip() == end:
                self.at += 1
                return found
            self.expect(",")

    def object_or_set(self, depth: int) -> Value:
        if self.skip() == "}":
            self.at += 1
            return {}
        first = self.value(depth + 1)
        if self.skip() != ":":
            if self.skip() == "}":
                self.at += 1
                return RegoSet([first])
            self.expect(",")
            return RegoSet([first, *self.items("}", depth)])
        found: dict[str | Key, Value] = {}
        while True:
            self.expect(":")
            found[key_of(first)] = self.value(depth + 1)
            if self.skip() == "}":
                self.at += 1
                return found
            self.expect(",")
            first = self.value(depth + 1)


def loads(raw: bytes) -> Value:
    """The value of a text form; raises `RegoValueError` for anything that is not exactly one value."""
    text = raw.decode("utf-8", "surrogateescape")
    try:
        return _FAST.decode(text)  # type: ignore[no-any-return]
    except (ValueError, RecursionError):
        pass  # sets, keys of other types, or a fault that the reader below names
    reader = _Reader(text)
    try:
        value = reader.value(0)
    except RegoValueError:
        raise
    except ValueError as error:
        raise RegoValueError(str(error)) from error
    if reader.skip():
        raise RegoValueError(f"text after the value at {reader.at}")
    return value
