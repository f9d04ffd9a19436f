"""`hex.*`, `base64url.encode_no_pad`, `urlquery.*`; the other encodings are inside the compiled policy."""

from __future__ import annotations

import base64
import binascii

from zt_engine.adapters.rego_builtins.json_text import json_key
from zt_engine.adapters.rego_builtins.operands import (
    RefusedError,
    builtin,
    limit,
    octets,
    refuse_operand,
    text_of,
)
from zt_engine.adapters.rego_builtins.url_escapes import Part, escape, unescape
from zt_engine.adapters.rego_values import RegoSet, Value, sorted_pairs


@builtin("hex.encode")
def hex_encode(text: Value) -> Value:
    """The bytes of the text in hexadecimal."""
    return octets(text, 1).hex()


@builtin("hex.decode")
def hex_decode(text: Value) -> Value:
    """The bytes as a string, also when they are not UTF-8 (the policy then refuses them)."""
    try:
        return text_of(binascii.unhexlify(octets(text, 1)))
    except binascii.Error:
        raise RefusedError("not hexadecimal") from None


@builtin("base64url.encode_no_pad")
def base64url_encode_no_pad(text: Value) -> Value:
    """Base64 for URLs without padding (RFC 4648, 5)."""
    return base64.urlsafe_b64encode(octets(text, 1)).rstrip(b"=").decode("ascii")


@builtin("urlquery.encode")
def urlquery_encode(text: Value) -> Value:
    """Escaped for a query; a space becomes `+`."""
    return escape(octets(text, 1), Part.QUERY).decode("ascii")


@builtin("urlquery.decode")
def urlquery_decode(text: Value) -> Value:
    """The inverse; a broken escape is refused."""
    return text_of(unescape(octets(text, 1), Part.QUERY))


def _texts(value: Value) -> list[Value]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list | RegoSet) and all(isinstance(item, str) for item in value):
        return list(value)
    raise RefusedError("operand 1 values must be string, array[string], or set[string]")


@builtin("urlquery.encode_object")
def urlquery_encode_object(value: Value) -> Value:
    """`a=1&a=2&b=3`, in the order of the keys."""
    if not isinstance(value, dict):
        raise refuse_operand(1, "object", value)
    named = [(json_key(key), item) for key, item in sorted_pairs(value)]
    pairs = [
        (octets(key, 1), octets(item, 1)) for key, items in sorted(named, key=lambda p: p[0]) for item in _texts(items)
    ]
    return b"&".join(escape(k, Part.QUERY) + b"=" + escape(v, Part.QUERY) for k, v in pairs).decode("ascii")


@builtin("urlquery.decode_object")
def urlquery_decode_object(text: Value) -> Value:
    """Every key with all its values; a semicolon is no separator (WHATWG URL, and Go since 1.17)."""
    found: dict[str, list[Value]] = {}
    parts = octets(text, 1).split(b"&")
    limit(len(parts), what="parameters")
    for part in filter(None, parts):
        if b";" in part:
            raise RefusedError("invalid semicolon separator in query")
        key, _, value = part.partition(b"=")
        found.setdefault(text_of(unescape(key, Part.QUERY)), []).append(text_of(unescape(value, Part.QUERY)))
    return dict(found.items())
