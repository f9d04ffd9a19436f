"""What one site hands to another in one file: released bundles with their records, and segments of a decision log.

The file begins with an index that the exporter's bundle key signed: it names every other member with its size and
digest, in order. Nothing is believed that it does not name, and a name is one of the few that a transfer may hold, so
none leads out of the folder it is put into.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from zt_engine.core.bundle_archive import MAX_ARCHIVE
from zt_engine.core.bundle_signature import PublicKey, SigningKey, sign, verify
from zt_engine.core.decision_log import parse_segment_name
from zt_engine.core.errors import BundleError
from zt_engine.core.release import MAX_NOTICE_BYTES, Digest, Seq, Time

INDEX: Final = "index.jws"
TRANSFER_TYPE: Final = "zt-transfer+jwt"
MAX_INDEX: Final = 2 << 20
MAX_MEMBERS: Final = 4096
MAX_LOG_FILE: Final = 1 << 30
MAX_TOTAL: Final = 8 << 30
_CHECKPOINTS: Final = re.compile(r"checkpoints-[0-9]{8}T[0-9]{9}Z-[0-9a-f]{8}-[0-9]{6,9}\.jsonl", re.ASCII)


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a transfer."""

    name: str
    size: Annotated[int, Meta(ge=0, le=MAX_LOG_FILE)]
    sha256: Digest


class Carried(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A release of the exporting site: its number there, and its bundle."""

    seq: Seq
    bundle_digest: Digest


class TransferIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a transfer holds. `releases` begin with the oldest; the last one was in force when it was made."""

    format: Literal[1] = 1
    tenant: Annotated[str, Meta(min_length=1, max_length=200)]
    made_at: Time
    releases: Annotated[tuple[Carried, ...], Meta(min_length=1, max_length=1024)]
    members: Annotated[tuple[Member, ...], Meta(min_length=2, max_length=MAX_MEMBERS)]


def notice_name(seq: int) -> str:
    """Return the name of a release's notice."""
    return f"releases/{seq}.json"


def bundle_name(digest: str) -> str:
    """Return the name of a bundle."""
    return f"bundles/{digest}.tar.gz"


def log_name(name: str) -> str | None:
    """Return where a transfer keeps this file of a decision log or of its checkpoints; None for any other file."""
    if parse_segment_name(name) is not None:
        return f"log/{name}"
    return f"checkpoints/{name}" if _CHECKPOINTS.fullmatch(name) is not None else None


def log_members(index: TransferIndex) -> tuple[Member, ...]:
    """Return the members that are of a decision log."""
    return tuple(member for member in index.members if _of_log(member.name))


def write_index(index: TransferIndex, key: SigningKey) -> bytes:
    """Return the signed text of an index."""
    raw = sign(msgspec.json.encode(index, order="sorted"), key, kind=TRANSFER_TYPE).encode()
    if len(raw) > MAX_INDEX:
        raise BundleError("TRANSFER_TOO_LARGE", f"an index of {len(raw)} bytes", where=INDEX)
    _check(index)
    return raw


def read_index(raw: bytes, keys: Mapping[str, PublicKey]) -> tuple[str, TransferIndex]:
    """Return the key that signed and what it signed; raises BundleError."""
    if len(raw) > MAX_INDEX:
        raise BundleError("TRANSFER_TOO_LARGE", f"an index of {len(raw)} bytes", where=INDEX)
    verified = verify(raw.decode("ascii", "replace"), keys, kind=TRANSFER_TYPE, where=INDEX)
    try:
        index = msgspec.json.decode(verified.payload, type=TransferIndex)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError("TRANSFER_MALFORMED", str(error)[:200], where=INDEX) from None
    _check(index)
    return verified.key_id, index


def _check(index: TransferIndex) -> None:
    """Whether an index is of one piece: a signature says who made it, and not that it makes sense."""
    seqs = [one.seq for one in index.releases]
    if seqs != sorted(set(seqs)):
        raise BundleError("TRANSFER_MALFORMED", "releases that do not follow one another", where=INDEX)
    names = [member.name for member in index.members]
    if len(set(names)) != len(names):
        raise BundleError("TRANSFER_MALFORMED", "a member is named twice", where=INDEX)
    implied = {notice_name(one.seq) for one in index.releases} | {
        bundle_name(one.bundle_digest) for one in index.releases
    }
    _same(implied, (name for name in names if not _of_log(name)))
    if sum(member.size for member in index.members) > MAX_TOTAL:
        raise BundleError("TRANSFER_TOO_LARGE", f"more than {MAX_TOTAL} bytes", where=INDEX)
    for member in index.members:
        if member.size > _most(member.name):
            raise BundleError("TRANSFER_TOO_LARGE", f"{member.size} bytes", where=member.name)


def _same(wanted: set[str], found: Iterable[str]) -> None:
    odd = wanted.symmetric_difference(found)
    if odd:
        raise BundleError("TRANSFER_MALFORMED", "a member without a release, or the other way round", where=min(odd))


def _of_log(name: str) -> bool:
    return log_name(name.rpartition("/")[2]) == name


def _most(name: str) -> int:
    if _of_log(name):
        return MAX_LOG_FILE
    return MAX_NOTICE_BYTES if name.startswith("releases/") else MAX_ARCHIVE
