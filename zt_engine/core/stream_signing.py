"""Signed messages of the change stream: compact JWS (RFC 7515) of one algorithm, read strictly, taken in order only.

The header is exactly `{alg, kid, typ}`. The key is named by `kid` and must be one that is configured; the algorithm is
the key's; the type says what the payload may be taken for, so that a batch can never be read as a watermark.

Refusals, each by its code: STREAM_TOO_LARGE, STREAM_MALFORMED, STREAM_TYPE, STREAM_KEY_UNKNOWN, STREAM_SIGNATURE,
STREAM_TENANT, STREAM_FENCE (a sequencer that was deposed), STREAM_GAP (something is missing: ask again from the
cursor), STREAM_REPEATED (nothing new), STREAM_REPLAYED (a watermark or snapshot older than what is known).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TypeAlias, TypeVar

import msgspec

from zt_engine.core.bundle_signature import PublicKey, SigningKey, sign
from zt_engine.core.errors import InputError
from zt_engine.core.jose import from_base64url
from zt_engine.core.stream import (
    BATCH_TYPE,
    KEYS_TYPE,
    MAX_MESSAGE_BYTES,
    SNAPSHOT_TYPE,
    STATUS_TYPE,
    URGENT_TYPE,
    WATERMARK_TYPE,
    Batch,
    KeySet,
    SnapshotPart,
    StatusAnswer,
    Urgent,
    Watermark,
)
from zt_engine.core.strict_json import read_object

ALGORITHM = "EdDSA"
HEADER_BYTES = 512
TYPES: Mapping[type[msgspec.Struct], str] = {
    Batch: BATCH_TYPE,
    Watermark: WATERMARK_TYPE,
    Urgent: URGENT_TYPE,
    SnapshotPart: SNAPSHOT_TYPE,
    StatusAnswer: STATUS_TYPE,
    KeySet: KEYS_TYPE,
}
"""What each message is called in the header of its signature."""

_encode = msgspec.json.Encoder().encode


Signed: TypeAlias = Batch | Watermark | Urgent | SnapshotPart | StatusAnswer | KeySet
Message = TypeVar("Message", bound=Signed)


def seal(message: Signed, key: SigningKey) -> bytes:
    """Return a message as it is sent."""
    return sign(_encode(message), key, kind=TYPES[type(message)]).encode("ascii")


def unseal(raw: bytes, kind: type[Message], keys: Mapping[str, PublicKey], *, tenant: str) -> Message:
    """Return what was signed, or raise InputError; nothing of it is decoded before the signature holds."""
    payload = payload_of(raw, TYPES[kind], keys)
    try:
        message = msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError("STREAM_MALFORMED", f"a signed `{TYPES[kind]}` does not read: {str(error)[:200]}") from None
    if message.tenant != tenant:
        raise InputError("STREAM_TENANT", "it belongs to another tenant")
    match message:
        case Batch():
            _examine(message)
        case SnapshotPart() if not 1 <= message.part <= message.of:
            raise InputError("STREAM_MALFORMED", "a part is not among those there are")
    return message


def payload_of(raw: bytes, typ: str, keys: Mapping[str, PublicKey]) -> bytes:
    """Return the payload of a signature of the expected type that holds under a configured key."""
    if len(raw) > MAX_MESSAGE_BYTES:
        raise InputError("STREAM_TOO_LARGE", f"{len(raw)} bytes, {MAX_MESSAGE_BYTES} are allowed")
    parts = raw.split(b".")
    if len(parts) != 3:
        raise InputError("STREAM_MALFORMED", "not a compact JWS")
    try:
        alg, kid, header_typ = _header(parts[0]) if len(parts[0]) <= HEADER_BYTES else ("", "", "")
        signature = from_base64url(parts[2])
    except ValueError as error:
        raise InputError("STREAM_MALFORMED", str(error)) from None
    if not header_typ:
        raise InputError("STREAM_MALFORMED", "not the header of such a signature")
    if header_typ != typ:
        raise InputError("STREAM_TYPE", f"not of the type `{typ}`")
    key = keys.get(kid)
    if key is None or key.algorithm != ALGORITHM:
        raise InputError("STREAM_KEY_UNKNOWN", "signed by a key that is not one of the stream's")
    if alg != ALGORITHM or not key.verify(signature, raw[: len(parts[0]) + 1 + len(parts[1])]):
        raise InputError("STREAM_SIGNATURE", "the signature does not hold")
    try:
        return from_base64url(parts[1])
    except ValueError as error:
        raise InputError("STREAM_MALFORMED", str(error)) from None


@functools.lru_cache(maxsize=64)
def _header(text: bytes) -> tuple[str, str, str]:
    """Return `alg`, `kid` and `typ`, all empty when there is anything else; ValueError when it does not read at all.

    Every message of one type by one key begins with the same header.
    """
    match read_object(from_base64url(text), max_depth=1):
        case {"alg": alg, "kid": kid, "typ": typ, **rest} if not rest:
            alg, kid, typ = (one if isinstance(one, str) else "?" for one in (alg, kid, typ))
            return alg, kid, typ or "?"
    return "", "", ""


def _examine(batch: Batch) -> None:
    """Refuse a batch that is not what it says: every event from `first` to `last` once, in order."""
    if batch.first < 1 or [event.seq for event in batch.events] != list(range(batch.first, batch.last + 1)):
        raise InputError("STREAM_MALFORMED", "a batch does not hold exactly the events it names")
    if not batch.events:
        raise InputError("STREAM_MALFORMED", "a batch without events")


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """How far a reader has come. It only moves forward, whatever arrives in whatever order."""

    seq: int = 0
    fence: int = 0
    issued_at: float = 0.0
    """Of the newest watermark that was believed, whether or not it is reached yet."""
    marked: int = 0
    """Its `seq`."""

    def fenced(self, fence: int) -> Position:
        """Return the position under a sequencer's fence; STREAM_FENCE when a later one was heard of."""
        if fence < self.fence:
            raise InputError("STREAM_FENCE", "signed by a sequencer that was deposed")
        return self if fence == self.fence else msgspec.structs.replace(self, fence=fence)

    def after(self, batch: Batch) -> Position:
        """Return the position behind a batch; STREAM_FENCE, STREAM_GAP, or STREAM_REPEATED when it brings nothing."""
        position = self.fenced(batch.fence)
        if batch.last <= self.seq:
            raise InputError("STREAM_REPEATED", "these events were applied before")
        if batch.first > self.seq + 1:
            raise InputError("STREAM_GAP", f"events {self.seq + 1} to {batch.first - 1} are missing")
        return msgspec.structs.replace(position, seq=batch.last)

    def at(self, watermark: Watermark) -> Position:
        """Return the position with a newer watermark; STREAM_FENCE or STREAM_REPLAYED when it is not newer."""
        position = self.fenced(watermark.fence)
        if watermark.issued_at <= self.issued_at or (watermark.fence == self.fence and watermark.seq < self.marked):
            raise InputError("STREAM_REPLAYED", "a watermark older than one that was seen before")
        return msgspec.structs.replace(position, issued_at=watermark.issued_at, marked=watermark.seq)

    def behind(self, part: SnapshotPart) -> Position:
        """Return the position a complete snapshot gives.

        One that goes back raises STREAM_REPLAYED, unless a later sequencer sends it: its database was restored.
        """
        position = self.fenced(part.fence)
        if part.seq < self.seq and part.fence == self.fence:
            raise InputError("STREAM_REPLAYED", "a snapshot older than what was applied")
        return msgspec.structs.replace(position, seq=part.seq, marked=min(position.marked, part.seq))
