"""The input that a policy for `opa-envoy-plugin` expects, made of a request that has passed the gate.

INVARIANT: path and host are those of the gate, and a query or body that two readers take differently is refused: what
the rule judged is what the backend executes.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.core.request import AccessRequest
from zt_engine.core.strict_json import read_value
from zt_engine.sidecar.rego.names import examine
from zt_engine.sidecar.rego.parts import parts

VERSION = {"encoding": "protojson", "ext_authz": "v3"}
PARTIAL = "x-envoy-auth-partial-body"
MAX_PAIRS = 512
MAX_DEPTH = 32
_JSON, _FORM, _PARTS = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
_ONE_TYPE = re.compile(
    r'[a-z0-9.+/-]+( *; *(charset=("?)(utf-8|us-ascii)\3|(?!charset)[a-z0-9.-]+=("?)[a-z0-9.+-]+\5))* *;?'
)
"""A type with parameters, of which none is a charset in which the same bytes would spell something else."""
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def question(attributes: dict[str, Any], request: AccessRequest) -> bytes:
    """Return the JSON of the input; raises InputError PATH_AMBIGUOUS, REGO_BODY."""
    http = attributes.setdefault("request", {}).setdefault("http", {})
    headers: dict[str, str] = http.setdefault("headers", {})
    sent, _, query = str(http.get("path", "")).partition("?")
    target, mark = request.target, "?" if "?" in str(http.get("path", "")) else ""
    if not sent.startswith("/"):  # the absolute form, which the gate has reduced to its path
        raise InputError("PATH_AMBIGUOUS", "the target is no path")
    path = target.path + mark + query
    authority = str(http.get("host", "")).lower()
    http["path"], http["host"] = path, authority
    headers |= {":path": path, ":authority": authority, ":method": request.method}
    headers["x-forwarded-for"] = request.client_ip  # what a client wrote before it is nobody's word
    body, cut = parsed_body(headers, http)
    return msgspec.json.encode(
        {
            "attributes": attributes,
            "parsed_path": unquote_to_bytes(target.path).decode().lstrip("/").split("/"),
            "parsed_query": pairs(query),
            "parsed_body": body,
            "truncated_body": cut,
            "version": VERSION,
        }
    )


def pairs(text: str, code: str = "PATH_AMBIGUOUS") -> dict[str, list[str]]:
    """Return the values of each name of a query or form.

    Raises InputError where readers differ: `;` (a second `&` to some), a broken escape, what is no UTF-8, names that
    are one to some (`names.examine`).
    """
    if ";" in text or _BAD_ESCAPE.search(text) is not None or text.count("&") >= MAX_PAIRS:
        raise InputError(code, "a query that is read in more than one way, or has too many parts")
    found: dict[str, list[str]] = {}
    for piece in text.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            found.setdefault(_decoded(name, code), []).append(_decoded(value, code))
    examine(found, code)
    return found


def _decoded(text: str, code: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError:
        raise InputError(code, "a query or form is no UTF-8") from None


def parsed_body(headers: Mapping[str, str], http: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return the body as its type says, None for none, and whether Envoy sent only its beginning.

    Raises InputError REGO_BODY where backends read another body: of another type, charset or encoding.
    """
    kind = headers.get("content-type", "").lower()
    if http.get("body") and http.get("rawBody"):
        raise InputError("REGO_BODY", "a body came as text and as bytes")
    raw = str(http["body"]).encode() if http.get("body") else b64decode(http.get("rawBody", ""))
    if not raw:
        return None, False
    if headers.get(PARTIAL, "").rpartition(",")[2] == "true" or _longer(headers, raw):
        return None, True
    if not any(known in kind for known in (_JSON, _FORM, _PARTS)):
        return None, False
    if _PARTS in kind and headers.get("content-encoding", "identity").lower() == "identity":
        return parts(headers["content-type"], raw, _json), False
    if _ONE_TYPE.fullmatch(kind) is None or headers.get("content-encoding", "identity").lower() != "identity":
        raise InputError("REGO_BODY", "a body of more than one type, of another charset, or encoded")
    if _JSON in kind:
        return _json(raw), False
    try:
        return pairs(raw.decode("ascii"), "REGO_BODY"), False
    except UnicodeDecodeError:
        raise InputError("REGO_BODY", "a form is not ASCII") from None


def _longer(headers: Mapping[str, str], raw: bytes) -> bool:
    length = headers.get("content-length", "")
    return length.isascii() and length.isdigit() and int(length[:20]) > len(raw)


def _json(raw: bytes) -> Any:
    try:
        return read_value(raw, max_depth=MAX_DEPTH)
    except ValueError as error:
        raise InputError("REGO_BODY", f"the body is {error}") from None
