"""The attributes of a CheckRequest as `protojson` writes them: what policies for `opa-envoy-plugin` read.

Names are those of `attribute_context.proto` in lower camel case; what is not set is left out, and a 64-bit number is a
text. Metadata of types that are not known here is left out as well.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from zt_engine.core.errors import InputError
from zt_engine.sidecar.grpc.check import header
from zt_engine.sidecar.grpc.wire import data, fields, integer, last, number, payload, varint

Object = dict[str, Any]
MAX_DEPTH = 16
MAX_SECONDS = 253_402_300_800
"""The end of the year 9999: what a Timestamp may say."""
_HTTP_TEXTS = {
    1: "id", 2: "method", 4: "path", 5: "host", 6: "scheme", 7: "query", 8: "fragment", 10: "protocol",
}  # fmt: skip
_PEER_TEXTS = {2: "service", 4: "principal", 5: "certificate"}


def read_attributes(message: bytes) -> Object:
    """Return `attributes` of a CheckRequest; raises InputError HOOK_FRAMING for what is none."""
    found: Object = {}
    for key, value in fields(last(message, 1)):
        if key in (1, 2):
            found["source" if key == 1 else "destination"] = _peer(payload(value))
        elif key == 4:
            found["request"] = _request(payload(value))
        elif key == 10:
            name, text = _entry(payload(value))
            found.setdefault("contextExtensions", {})[name] = _text(text)
        elif key in (11, 13):
            found["metadataContext" if key == 11 else "routeMetadataContext"] = _metadata(payload(value))
        elif key == 12:
            sni = last(payload(value), 1)
            found["tlsSession"] = {"sni": _text(sni)} if sni else {}
    return found


def _peer(message: bytes) -> Object:
    found: Object = {}
    for key, value in fields(message):
        if key == 1:
            found["address"] = _address(payload(value))
        elif key in _PEER_TEXTS:
            found[_PEER_TEXTS[key]] = _text(payload(value))
        elif key == 3:
            name, text = _entry(payload(value))
            found.setdefault("labels", {})[name] = _text(text)
    return found


def _address(message: bytes) -> Object:
    for key, value in fields(message):
        if key == 1:
            found: Object = {}
            for name, part in fields(payload(value)):
                if name == 1 and part == 1:
                    found["protocol"] = "UDP"
                elif name == 2:
                    found["address"] = _text(payload(part))
                elif name == 3:
                    found["portValue"] = integer(part)
            return {"socketAddress": found}
        if key == 2:
            return {"pipe": {"path": _text(last(payload(value), 1))}}
    return {}


def _request(message: bytes) -> Object:
    found: Object = {}
    for key, value in fields(message):
        if key == 1:
            found["time"] = _timestamp(payload(value))
        elif key == 2:
            found["http"] = _http(payload(value))
    return found


def _http(message: bytes) -> Object:
    found: Object = {}
    lines: list[tuple[str, str]] = []
    for key, value in fields(message):
        if key == 11:
            found["body"] = _body(payload(value))
        elif key in _HTTP_TEXTS:
            found[_HTTP_TEXTS[key]] = _text(payload(value))
        elif key == 3:
            name, text = _entry(payload(value))
            lines.append((name, _text(text)))
        elif key == 9:
            size = integer(value)
            found["size"] = str(size - (1 << 64) if size >> 63 else size)
        elif key == 12:
            found["rawBody"] = base64.b64encode(payload(value)).decode("ascii")
        elif key == 13:
            lines += [_line(payload(line)) for name, line in fields(payload(value)) if name == 1]
    if lines:
        found["headers"] = joined(lines)
    return found


def joined(lines: list[tuple[str, str]]) -> dict[str, str]:
    """Return headers as Envoy joins them for a policy that is told them by name."""
    found: dict[str, str] = {}
    for name, value in lines:
        found[name] = found[name] + ("; " if name == "cookie" else ",") + value if name in found else value
    return found


def _line(message: bytes) -> tuple[str, str]:
    name, value = header(message)
    return _text(name), _text(value)


def _entry(message: bytes) -> tuple[str, bytes]:
    """Return an entry of a map."""
    return _text(last(message, 1)), last(message, 2)


def _timestamp(message: bytes) -> str:
    seconds = nanoseconds = 0
    for key, value in fields(message):
        if key == 1:
            seconds = integer(value)
        elif key == 2:
            nanoseconds = integer(value)
    if seconds >= MAX_SECONDS or nanoseconds >= 10**9:
        raise InputError("HOOK_FRAMING", "no time")
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{nanoseconds:09}"
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"


def _metadata(message: bytes) -> Object:
    known = {}
    for key, value in fields(message):
        if key == 1:
            name, inner = _entry(payload(value))
            known[name] = _struct(inner, MAX_DEPTH)
    return {"filterMetadata": known} if known else {}


def _struct(message: bytes, depth: int) -> Object:
    entries = (_entry(payload(value)) for key, value in fields(message) if key == 1)
    return {name: _value(inner, depth - 1) for name, inner in entries}


def _value(message: bytes, depth: int) -> Any:
    if depth < 0:
        raise InputError("HOOK_FRAMING", "metadata is nested too deeply")
    found: Any = None
    for key, value in fields(message):
        match key:
            case 2:
                found = _double(payload(value))
            case 3:
                found = _text(payload(value))
            case 4:
                found = bool(integer(value))
            case 5:
                found = _struct(payload(value), depth)
            case 6:
                items = fields(payload(value))
                found = [_value(payload(item), depth - 1) for name, item in items if name == 1]
    return found


def _double(value: bytes) -> float:
    try:
        (found,) = struct.unpack("<d", value)
    except struct.error:
        found = math.nan
    if not math.isfinite(found):
        raise InputError("HOOK_FRAMING", "metadata has a number that is none")
    return float(found)


def write_struct(content: Mapping[str, Any]) -> bytes:
    """Write a JSON object as a `google.protobuf.Struct`."""
    return b"".join(data(1, data(1, name.encode()) + data(2, _written(value))) for name, value in content.items())


def _written(value: Any) -> bytes:
    if value is None:
        return number(1, 0)
    if isinstance(value, bool):
        return number(4, value)
    if isinstance(value, int | float):
        return varint(2 << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, str):
        return data(3, value.encode())
    if isinstance(value, Mapping):
        return data(5, write_struct(value))
    return data(6, b"".join(data(1, _written(item)) for item in value))


def _body(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:  # unlike a header it is executed as it is, and read by nobody as what would be marked
        raise InputError("REGO_BODY", "a body that came as text is no UTF-8") from None


def _text(value: bytes) -> str:
    """Return a text; what is no UTF-8 is marked, as Envoy does it."""
    return value.decode("utf-8", "replace")
