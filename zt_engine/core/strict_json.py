"""JSON that has one reading only: what two parsers would read differently is refused.

Duplicate names, NaN and infinities, numbers that overflow, lone surrogates, byte-order marks, UTF-16 and deep nesting
are all legal to some parser and refused here (RFC 8725 section 3.11, RFC 8259 section 4, RFC 7493).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

MAX_DEPTH = 16
MAX_INTEGER = 2**63 - 1


def read_object(raw: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, object]:
    """Return the JSON object in `raw`, or raise ValueError whose text never quotes a value."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    try:
        value = _decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON at character {error.pos}") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 -- callers catch one type
    # So many opening brackets, inside of texts or not, are no deeper than that: the common case ends here.
    if text.count("{") + text.count("[") > max_depth and _depth(value, max_depth) > max_depth:
        raise ValueError("nested too deeply")
    if "\\" in text:  # only an escape can spell half a character
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("half a surrogate pair") from None
    return value


def read_value(raw: bytes, *, max_depth: int = MAX_DEPTH) -> object:
    """Return the one JSON value of any type in `raw`, or raise ValueError as `read_object` does."""
    found = read_object(b'{"":%b}' % raw, max_depth=max_depth + 1)
    if len(found) != 1:
        raise ValueError("more than one JSON value")
    return found[""]


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise ValueError("a name occurs twice")
    return read


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError("not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number overflows")
    return value


def _bounded(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise ValueError("a number overflows")
    return int(text)


_decode: Final[Callable[[str], object]] = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_bounded
).decode
"""Made once: `json.loads` with hooks makes a decoder, and a scanner, for every text."""


def _depth(value: object, budget: int) -> int:
    """Return the nesting depth of `value`, looking one level beyond `budget` at most."""
    if budget < 0:
        return 1
    if isinstance(value, Mapping):
        return 1 + max((_depth(item, budget - 1) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(item, budget - 1) for item in value), default=0)
    return 0
