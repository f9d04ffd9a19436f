"""Digests of bundle files as OPA computes them (opa `v1/bundle/hash.go`), and the canonical JSON that follows from it.

OPA hashes `.manifest` and `data.json` not as bytes but as a walk over the parsed value. That walk is itself a JSON
text: keys sorted, no blanks, numbers as they were written, Go's string escapes. We store these files in exactly that
form, so that for every file of ours the digest is plain SHA-256 over its bytes and no second spelling of the same
value exists. Whoever only verifies never has to walk.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn, TypeAlias

from zt_engine.core.errors import BundleError

MAX_DEPTH = 64
"""Nesting of a structured file. Policy data is shallow; the walk is recursive."""

STRUCTURED = (".manifest", "data.json")
"""Base names that OPA hashes by value. It does the same for `data.yaml`, which no bundle of ours contains."""


class Number(str):
    """A JSON number by its literal text: 1.50 stays 1.50, and no integer is too long."""

    __slots__ = ()


Json: TypeAlias = "bool | str | Number | int | Sequence[Json] | Mapping[str, Json] | None"

_NEEDS_ESCAPE = re.compile('[\x00-\x1f"\\\\\u2028\u2029]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def parse(raw: bytes, *, where: str) -> Json:
    """Read strict JSON keeping the text of numbers; a repeated key, NaN or bytes that are not UTF-8 are refused."""
    try:
        value: Json = json.loads(
            raw.decode(),
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except (ValueError, RecursionError) as error:
        raise BundleError("BUNDLE_MALFORMED", f"not strict JSON: {error}", where=where) from None
    return value


def canonical(value: Json, *, where: str = "") -> bytes:
    """Return the bytes that OPA's walk feeds to the hash; they are JSON and parse back to the same value."""
    try:
        return "".join(_walk(value, 0)).encode()
    except ValueError as error:  # lone surrogates and excessive depth have no canonical form
        raise BundleError("BUNDLE_MALFORMED", f"no canonical form: {error}", where=where) from None


def file_digest(name: str, raw: bytes) -> str:
    """SHA-256 of a bundle file in hexadecimal, as OPA computes it for this name."""
    if name.rpartition("/")[2] in STRUCTURED:
        raw = canonical(parse(raw, where=name), where=name)
    return hashlib.sha256(raw).hexdigest()


def _walk(value: Json, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, Number):
        yield str(value)
    elif isinstance(value, str):
        yield _text(value)
    elif value is None:
        yield "null"
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, int):
        yield str(value)
    elif isinstance(value, Mapping):
        opening = "{"
        # Go sorts by UTF-8 bytes and Python by code point: the same order for everything that can be encoded.
        for key in sorted(value):
            yield f"{opening}{_text(key)}:"
            yield from _walk(value[key], depth + 1)
            opening = ","
        yield "}" if value else "{}"
    elif isinstance(value, Sequence):
        opening = "["
        for item in value:
            yield opening
            yield from _walk(item, depth + 1)
            opening = ","
        yield "]" if value else "[]"
    else:
        raise ValueError(f"a {type(value).__name__} is not JSON")


def _text(value: str) -> str:
    return f'"{_NEEDS_ESCAPE.sub(_escape, value)}"'


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return _ESCAPES.get(character) or f"\\u{ord(character):04x}"


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"`{text}` is not JSON")
