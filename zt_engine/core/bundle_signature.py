"""Signatures of bundles and release records: one compact JWS (RFC 7515), its algorithm fixed by the key.

A stock OPA accepts ES, HS, PS and RS keys in its configuration and refuses EdDSA there (opa `v1/keys/keys.go`), though
its command line takes it. Keys of ours are therefore P-256 (ES256) unless a site without OPA prefers Ed25519 (EdDSA).
Symmetric keys have no place here: every verifier could publish.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Protocol

import msgspec

from zt_engine.core.bundle_hash import Json, canonical, file_digest, parse
from zt_engine.core.errors import BundleError

SIGNATURES = ".signatures.json"
RELEASE_TYPE = "zt-release+jwt"
MAX_TOKEN = 4 << 20
_HASH = "SHA-256"


class PublicKey(Protocol):
    """A key that verifies; `algorithm` is the one JWS name it stands for, whatever a header claims."""

    @property
    def algorithm(self) -> str:
        """The JWS algorithm, `ES256` or `EdDSA`."""
        ...

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made this signature over this message."""
        ...


class SigningKey(Protocol):
    """A key that signs, with the id its public half is known by."""

    @property
    def key_id(self) -> str:
        """The id that goes into `kid`."""
        ...

    @property
    def algorithm(self) -> str:
        """The JWS algorithm, `ES256` or `EdDSA`."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the raw signature (RFC 7518 3.4, RFC 8037 3.1)."""
        ...


class _SignedFile(msgspec.Struct, frozen=True):
    name: str
    hash: str
    algorithm: str = ""


class _Payload(msgspec.Struct, frozen=True):
    files: tuple[_SignedFile, ...]
    scope: str = ""
    keyid: str = ""


class Verified(msgspec.Struct, frozen=True):
    """The payload of a signature that holds, and the key that made it."""

    key_id: str
    payload: bytes


def sign_files(files: Mapping[str, bytes], key: SigningKey) -> bytes:
    """Return the text of `.signatures.json` for these files, in the layout `opa sign` and OPA's verifier use."""
    listed: list[Json] = [
        {"name": name, "hash": file_digest(name, files[name]), "algorithm": _HASH}
        for name in sorted(files)
        if name != SIGNATURES
    ]
    return seal(sign(canonical({"files": listed}), key, kind="JWT"))


def seal(token: str) -> bytes:
    """Return the text of `.signatures.json` that carries this token (also one that `opa sign` made)."""
    return canonical({"signatures": [token]})


def verify_files(files: Mapping[str, bytes], keys: Mapping[str, PublicKey]) -> str:
    """Check `.signatures.json` against every other file; return the id of the key that signed.

    The set of signed names must equal the set of files. Digests are taken over the bytes: structured files must be in
    canonical form, which is then what OPA's walk hashes too.
    """
    raw = files[SIGNATURES]
    document = parse(raw, where=SIGNATURES)
    match document:
        case {"signatures": [str() as token]} if raw == seal(token):
            verified = verify(token, keys, kind="JWT", where=SIGNATURES)
        case _:
            raise BundleError("BUNDLE_MALFORMED", "not exactly one signature in canonical form", where=SIGNATURES)
    try:
        payload = msgspec.json.decode(verified.payload, type=_Payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError("BUNDLE_MALFORMED", f"the signed list: {error}", where=SIGNATURES) from None
    if payload.scope:
        raise BundleError("BUNDLE_MALFORMED", f"the signature is for scope `{payload.scope}`", where=SIGNATURES)
    check_digests(files, {entry.name: entry.hash for entry in payload.files})
    if any(entry.algorithm != _HASH for entry in payload.files) or len(payload.files) != len(files) - 1:
        raise BundleError("BUNDLE_MALFORMED", f"the signed list names a file twice or not by {_HASH}", where=SIGNATURES)
    return verified.key_id


def check_digests(files: Mapping[str, bytes], wanted: Mapping[str, str], *, beside: tuple[str, ...] = ()) -> None:
    """Require exactly the files of `wanted` (`.signatures.json` and `beside` apart), each with its digest."""
    present = set(files) - {SIGNATURES, *beside}
    for name in sorted(set(wanted) - present):
        raise BundleError("BUNDLE_FILE_MISSING", "listed, but not in the bundle", where=name)
    for name in sorted(present - set(wanted)):
        raise BundleError("BUNDLE_FILE_EXTRA", "in the bundle, but not listed", where=name)
    for name in sorted(present):
        if hashlib.sha256(files[name]).hexdigest() != wanted[name]:
            raise BundleError("BUNDLE_HASH", "not the content that was listed", where=name)


def sign(payload: bytes, key: SigningKey, *, kind: str) -> str:
    """Return a compact JWS whose header names algorithm, key and type."""
    header = canonical({"alg": key.algorithm, "kid": key.key_id, "typ": kind})
    message = f"{_encode(header)}.{_encode(payload)}"
    return f"{message}.{_encode(key.sign(message.encode()))}"


def verify(token: str, keys: Mapping[str, PublicKey], *, kind: str, where: str) -> Verified:
    """Check a compact JWS: known key, that key's own algorithm, expected type, no critical extension.

    The key is named by `kid` or, as `opa sign` writes it, by the claim `keyid`.
    """
    if len(token) > MAX_TOKEN:
        raise BundleError("BUNDLE_TOO_LARGE", f"a signature of {len(token)} characters", where=where)
    parts = token.split(".")
    if len(parts) != 3:
        raise BundleError("BUNDLE_MALFORMED", "not a compact JWS", where=where)
    header_bytes, payload, signature = (_decode(part, where=where) for part in parts)
    header = parse(header_bytes, where=where)
    if not isinstance(header, dict) or not set(header) <= {"alg", "kid", "typ"} or header.get("typ", "JWT") != kind:
        raise BundleError("BUNDLE_MALFORMED", "not the header of such a signature", where=where)
    key_id = header.get("kid") or _claimed_key(payload, where=where)
    key = keys.get(key_id) if isinstance(key_id, str) else None
    if key is None:
        raise BundleError("BUNDLE_KEY_UNKNOWN", f"signed by key `{key_id}`, which is not configured", where=where)
    if header.get("alg") != key.algorithm or not key.verify(signature, f"{parts[0]}.{parts[1]}".encode()):
        raise BundleError("BUNDLE_SIGNATURE", f"the signature does not hold under key `{key_id}`", where=where)
    return Verified(key_id=str(key_id), payload=payload)


def _claimed_key(payload: bytes, *, where: str) -> Json:
    claims = parse(payload, where=where)
    return claims.get("keyid") if isinstance(claims, dict) else None


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str, *, where: str) -> bytes:
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise BundleError("BUNDLE_MALFORMED", "not base64url", where=where) from None
    if _encode(raw) != text:  # unused trailing bits would be a second spelling
        raise BundleError("BUNDLE_MALFORMED", "not canonical base64url", where=where)
    return raw
