"""The shapes of JOSE that have one reading: strict base64url, compact JWS, JWK thumbprints.

A token passes here before any library sees it, so a lenient decoder below cannot be talked into a second reading
(RFC 8725 section 3; RFC 7515 sections 2 and 7.1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.core.strict_json import read_object

MAX_TOKEN_BYTES = 16 * 1024
"""A longer token is refused before anything is decoded."""

PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""JWK members that only a private or symmetric key has (RFC 7518 section 6)."""

_COMPACT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*")

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_LAST = {2: frozenset(_ALPHABET[::16]), 3: frozenset(_ALPHABET[::4])}
"""What a text may end in whose last group lacks characters: the bits that nobody reads are zero."""

_THUMBPRINT_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}

_UNSUPPORTED_HEADERS = frozenset({"crit", "b64", "zip", "enc", "p2c", "p2s", "epk", "cty"})
"""Header members that ask for extensions, compression, encryption or nesting; none of it is offered."""


class CompactJws(msgspec.Struct, frozen=True):
    """The parts of a compact JWS; nothing of it is verified yet."""

    header: dict[str, object]
    claims: dict[str, object]
    signing_input: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "CompactJws(...)"


def split_compact(raw: bytes, *, max_bytes: int, malformed: str, too_large: str) -> CompactJws:
    """Split a compact JWS whose payload is a JSON object; raises InputError with one of the two given codes.

    Refuses the JSON serialisation, JWE, padding, white space, non-canonical base64url, duplicate names, and any header
    member that changes how the rest is to be read (`crit`, `b64`, `zip`, `cty` and the encryption members).
    """
    if len(raw) > max_bytes:
        raise InputError(too_large, f"{len(raw)} bytes, {max_bytes} are allowed")
    if _COMPACT.fullmatch(raw) is None:
        raise InputError(malformed, "not three base64url parts separated by dots")
    signing_input, _, signature = raw.rpartition(b".")
    head, _, body = signing_input.partition(b".")
    try:
        header = read_object(from_base64url(head), max_depth=4)
        claims = read_object(from_base64url(body))
        signed = from_base64url(signature)
    except ValueError as error:
        raise InputError(malformed, str(error)) from None
    if not _UNSUPPORTED_HEADERS.isdisjoint(header):
        raise InputError(malformed, "the header asks for an extension, compression, encryption or nesting")
    return CompactJws(header=header, claims=claims, signing_input=signing_input, signature=signed)


def from_base64url(text: bytes | str) -> bytes:
    """Decode base64url without padding; a second spelling of the same bytes raises ValueError (RFC 4648, 3.5)."""
    try:
        raw = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError:
        raise ValueError("not base64url") from None
    over = len(raw) % 4
    if over == 1 or _BASE64URL.fullmatch(raw) is None:
        raise ValueError("not base64url")
    if over and raw[-1] not in _LAST[over]:
        raise ValueError("not canonical base64url")
    return binascii.a2b_base64(raw.translate(_TO_STANDARD) + b"=" * (-over % 4))


def to_base64url(raw: bytes) -> str:
    """Encode without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def thumbprint(jwk: Mapping[str, object]) -> str:
    """Return the RFC 7638 thumbprint (SHA-256, base64url) of a public JWK; raises ValueError when it has none."""
    kind = jwk.get("kty")
    members = _THUMBPRINT_MEMBERS.get(kind) if isinstance(kind, str) else None
    if members is None:
        raise ValueError("a key of this type has no thumbprint here")
    required = {name: jwk.get(name) for name in members}
    if not all(isinstance(value, str) for value in required.values()):
        raise ValueError("a member of the key is missing or no text")
    canonical = json.dumps(required, separators=(",", ":"), sort_keys=True).encode()
    return to_base64url(hashlib.sha256(canonical).digest())


def is_digest(text: object) -> bool:
    """Whether `text` is a base64url SHA-256 digest, as `x5t#S256`, `jkt` and `ath` are."""
    if not isinstance(text, str) or len(text) != 43:
        return False
    try:
        return len(from_base64url(text)) == 32
    except ValueError:
        return False
