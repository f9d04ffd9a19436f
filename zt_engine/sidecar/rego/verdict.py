"""What a policy for `opa-envoy-plugin` says: true, false, or an object with `allowed` and what goes with it.

Anything else is no verdict and denies. So does a verdict that would change what the backend executes: another path,
host, method, query or length, or an identity that only the engine may state.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from zt_engine.core.errors import UnavailableError
from zt_engine.core.strict_json import read_value
from zt_engine.sidecar.hooks.headers import FRAMING, METHOD_OVERRIDES, RESERVED_NAMES, folded

FORBIDDEN = 403
MAX_HEADERS = 64
MAX_BODY = 256 << 10
MAX_DEPTH = 17
"""Of a verdict: sixteen levels of metadata in it."""
_UNSUPPORTED = ("query_parameters_to_set", "query_parameters_to_remove")
_STATUSES = frozenset(status.value for status in HTTPStatus if status.value >= 200)
_NAME = re.compile(r"[a-z0-9!#$&'*+.^_`|~-]{1,256}")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]{0,16384}")
_CONNECTION = frozenset(
    {
        "host", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
        "content-length",
    }
)  # fmt: skip
_ENGINE = ("zt-", "x-zt-")
_TARGET = ("x-original-", "x-envoy-")
_FORWARDED = frozenset(
    f"x-forwarded-{name}"
    for name in ("for", "host", "proto", "port", "prefix", "server", "scheme", "ssl", "uri", "path", "method", "query")
)

Pairs = tuple[tuple[bytes, bytes], ...]


class Verdict(msgspec.Struct, frozen=True):
    """A verdict that was read and checked."""

    allowed: bool
    headers: Pairs = ()
    """For the backend if it is an allow, else for the client."""
    to_client: Pairs = ()
    removed: tuple[bytes, ...] = ()
    status: int = FORBIDDEN
    body: bytes | None = None
    metadata: Mapping[str, Any] | None = None


NOTHING = Verdict(False)
"""Of no rule, or of one that says no and nothing else."""


def read_verdict(raw: bytes) -> Verdict:
    """Return what a rule says; raises UnavailableError REGO_RESULT for what is no verdict."""
    try:
        value: Any = read_value(raw, max_depth=MAX_DEPTH)
    except ValueError as error:
        raise _fault(str(error)) from None
    if isinstance(value, bool):
        return Verdict(value)
    if not isinstance(value, dict) or not isinstance(value.get("allowed"), bool):
        raise _fault("neither true nor false, nor an object with `allowed`")
    for name in _UNSUPPORTED:
        if value.get(name):
            raise _fault(f"`{name}` would change what was authorised")
    allowed = value["allowed"]
    headers = tuple(_pairs(value.get("headers", {})))
    to_client = tuple(_pairs(value.get("response_headers_to_add", {})))
    removed = tuple(_removed(value.get("request_headers_to_remove", [])))
    if allowed:
        for name, _ in headers:
            _require_harmless(name)
    for name, _ in to_client if allowed else headers:
        if name in _CONNECTION or name.startswith(_ENGINE):
            raise _fault(f"`{name}` for the client")
    return Verdict(
        allowed,
        _bytes(headers),
        _bytes(to_client),
        tuple(name.encode() for name in removed),
        _status(value.get("http_status", FORBIDDEN)),
        _body(value.get("body")),
        _metadata(value.get("dynamic_metadata")),
    )


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the headers of an object, or of a list of objects; a header may have several values."""
    found = value if isinstance(value, list) else [value]
    count = 0
    for item in found:
        if not isinstance(item, dict):
            raise _fault("headers that are no object")
        for name, texts in item.items():
            for text in texts if isinstance(texts, list) else [texts]:
                count += 1
                lowered = name.lower()
                if not isinstance(text, str) or _VALUE.fullmatch(text) is None or _NAME.fullmatch(lowered) is None:
                    raise _fault("a header that is none")
                if count > MAX_HEADERS:
                    raise _fault("too many headers")
                yield lowered, text.strip()


def _removed(value: Any) -> Iterator[str]:
    if not isinstance(value, list) or len(value) > MAX_HEADERS:
        raise _fault("`request_headers_to_remove` is no short list")
    for name in value:
        if not isinstance(name, str) or _NAME.fullmatch(name.lower()) is None:
            raise _fault("a header name that is none")
        lowered = name.lower()
        if lowered in _CONNECTION or lowered in FRAMING or lowered.startswith(_ENGINE):
            raise _fault(f"`{lowered}` may not be removed")
        yield lowered


def _require_harmless(name: str) -> None:
    known = folded(name)
    if (
        known in _CONNECTION
        or known in FRAMING
        or known in _FORWARDED
        or known in RESERVED_NAMES
        or known in METHOD_OVERRIDES
        or known.startswith((*_ENGINE, *_TARGET))
    ):
        raise _fault(f"`{name}` for the backend")


def _status(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in _STATUSES:
        raise _fault("`http_status` is no status")
    return int(value)


def _body(value: Any) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_BODY:
        raise _fault("`body` is no text, or too long")
    return value.encode()


def _metadata(value: Any) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise _fault("`dynamic_metadata` is no object")
    return value


def _bytes(pairs: tuple[tuple[str, str], ...]) -> Pairs:
    return tuple((name.encode(), value.encode()) for name, value in pairs)


def _fault(message: str) -> UnavailableError:
    return UnavailableError("REGO_RESULT", f"the rule's answer: {message}")
