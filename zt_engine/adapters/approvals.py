"""Signatures by which people approve what loosens policy: Ed25519 over one exact reading of a record.

What is signed is `zt-approval/1`, the kind of record and its canonical JSON without `approvals` (names sorted, no
blanks, UTF-8, integers only), so that a signature for one record or kind says nothing about another. The control plane
holds none of these keys. A person counts once however many keys they hold, and never for themselves.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from msgspec import Struct

from zt_engine.core.approval import Approval
from zt_engine.core.errors import ConfigError, InputError, Problem

RecordKind = Literal["grant", "continuity", "release", "threat_level"]

_DOMAIN = b"zt-approval/1\n"
_CALLED: Mapping[RecordKind, str] = {
    "grant": "grant",
    "continuity": "declaration of continuity",
    "release": "release",
    "threat_level": "lowering of the threat level",
}


class Approver(Struct, frozen=True):
    """One key of one person; `person` is the subject id they sign in with."""

    person: str
    public_key: Ed25519PublicKey


Approvers = Mapping[str, Approver]
"""The keys that may approve, by key id."""


def key_id(key: Ed25519PublicKey) -> str:
    """Name a key by the SHA-256 of its 32 bytes, base64url."""
    return _b64(hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).digest())


def read_approvers(keys: Mapping[str, bytes]) -> Approvers:
    """Read public keys (PEM) by the person who holds each, or raise ConfigError naming every one that is none."""
    found: dict[str, Approver] = {}
    problems: list[Problem] = []
    for person, pem in keys.items():
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            text = f"the key of `{person}` is no Ed25519 public key (PEM)"
            problems.append(Problem(code="APPROVER_KEY", message=text, hint="give the public half of the key"))
            continue
        name = key_id(key)
        if name in found:
            text = f"`{person}` and `{found[name].person}` have the same key"
            problems.append(Problem(code="APPROVER_KEY", message=text, hint="each approver has a key of their own"))
        found[name] = Approver(person, key)
    if problems:
        raise ConfigError(tuple(problems))
    return found


def canonical(record: Mapping[str, object]) -> bytes:
    """Write a record in the only form that is signed; ValueError for what has no single form (a fraction)."""
    _require_exact(record)
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def approval_message(kind: RecordKind, record: Mapping[str, object]) -> bytes:
    """Give the bytes that an approver signs."""
    signed = {name: value for name, value in record.items() if name != "approvals"}
    return _DOMAIN + kind.encode() + b"\n" + canonical(signed)


def approve(key: Ed25519PrivateKey, kind: RecordKind, record: Mapping[str, object]) -> dict[str, str]:
    """Sign a record: one entry for its `approvals`."""
    return {"key_id": key_id(key.public_key()), "signature": _b64(key.sign(approval_message(kind, record)))}


def verify_approvals(
    kind: RecordKind,
    record: Mapping[str, object],
    approvals: Sequence[Approval],
    *,
    approvers: Approvers,
    needed: int,
    beneficiaries: frozenset[str] = frozenset(),
) -> tuple[str, ...]:
    """Give the people who approved a record, sorted, or raise InputError.

    One bad signature spoils the record, whatever the others say: somebody tried something.
    """
    message = approval_message(kind, record)
    people = set()
    for approval in approvals:
        approver = approvers.get(approval.key_id)
        if approver is None:
            raise InputError("APPROVAL_KEY_UNKNOWN", "signed by a key that is no approver's")
        try:
            approver.public_key.verify(_unb64(approval.signature), message)
        except (InvalidSignature, ValueError):
            text = f"the signature of `{approver.person}` is not for this record"
            raise InputError("APPROVAL_SIGNATURE", text) from None
        if approver.person in beneficiaries:
            raise InputError("APPROVAL_OWN", f"`{approver.person}` approved something for themselves")
        people.add(approver.person)
    if len(people) < needed:
        text = f"the {_CALLED[kind]} is approved by {len(people)} people, {needed} are needed"
        raise InputError("APPROVAL_MISSING", text)
    return tuple(sorted(people))


def _require_exact(value: object) -> None:
    if isinstance(value, Mapping):
        for item in value.values():
            _require_exact(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _require_exact(item)
    elif not (value is None or isinstance(value, str | int)):
        raise ValueError("a value has no single written form")


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _unb64(text: str) -> bytes:
    """Read base64url without padding, in its one spelling; ValueError for anything else."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("not base64url") from None
    if _b64(raw) != text:
        raise ValueError("another spelling of the same bytes")
    return raw
