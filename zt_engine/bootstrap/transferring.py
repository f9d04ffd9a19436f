"""Releases and decision logs from one site to another that it has no connection to, in a file.

Whoever exports signs only what a believed key signed. Whoever imports verifies all of it before anything is changed,
and then publishes the bundle as its own: under its own key and number, compared with what is in force here, and
approved by its own people. The exporter's approvals are carried as evidence and count for nothing here.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.adapters.releases_http import notice_of
from zt_engine.adapters.transfer_file import Content, TransferFile, measured, write_transfer
from zt_engine.bootstrap.activation import read_bundle
from zt_engine.bootstrap.publishing import Published, Publisher, imported
from zt_engine.core.errors import BundleError, ConfigError, InputError, Problem
from zt_engine.core.release import Release, check_bundle, is_expired, read_notice, record_of, write_notice
from zt_engine.core.transfer import (
    Carried,
    Member,
    TransferIndex,
    bundle_name,
    log_members,
    log_name,
    notice_name,
    read_index,
    write_index,
)

MOST_HISTORY: Final = 1024
MOST_CARRIED: Final = 32


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a transfer: the exporter's tenant, key and number, the release here, and files of the log."""

    tenant: str
    key_id: str
    seq: int
    published: Published
    again: bool = False
    """Whether it had been imported before: `published` is what came of it then."""
    new_files: tuple[str, ...] = ()


def export_transfer(
    publisher: Publisher,
    out: Path,
    *,
    since: int | None,
    log: Path | None,
    checkpoints: Sequence[Path],
) -> TransferIndex:
    """Write the releases that everybody has, from one number on, by default the newest alone; RELEASE_NONE."""
    plane = publisher.plane
    tenant = plane.next().tenant
    found = [one for one in plane.history(most=MOST_HISTORY) if one["state"] == "released" and one["settled"]]
    chosen = found[:1] if since is None else [one for one in found if int(one["seq"]) >= since]
    if not chosen:
        raise InputError("RELEASE_NONE", "no release to export")
    if len(chosen) > MOST_CARRIED:
        raise InputError("TRANSFER_TOO_LARGE", f"{len(chosen)} releases; at most {MOST_CARRIED} go into one file")
    contents: dict[str, Content] = {}
    carried = []
    for one in reversed(chosen):
        seq = int(one["seq"])
        record = publisher.record(seq)
        raw, bundle = publisher.fetched(record.bundle_digest)
        check_bundle(record, bundle)
        if record.seq != seq or record.tenant != tenant:
            raise BundleError("BUNDLE_RELEASE", "the control plane sent another record", where=f"release {seq}")
        carried.append(Carried(seq, record.bundle_digest))
        contents[notice_name(seq)] = write_notice(notice_of(plane.get(seq)))
        contents[bundle_name(record.bundle_digest)] = raw
    # Checkpoints first: the segments that are read after them hold at least what they speak of.
    for folder in (*checkpoints, *(() if log is None else (log,))):
        contents.update(_files_of(folder))
    members = [(measured(name, content), content) for name, content in contents.items()]
    index = TransferIndex(
        tenant=tenant,
        made_at=int(publisher.clock()),
        releases=tuple(carried),
        members=tuple(member for member, _ in members),
    )
    write_transfer(out, write_index(index, publisher.key), members)
    return index


def import_transfer(
    path: Path,
    publisher: Publisher,
    believed: Mapping[str, BundlePublicKey],
    *,
    as_tenant: str | None,
    folder: Path,
) -> Imported:
    """Verify a transfer, put its log into `folder`, and publish its newest release here; raises ZtError.

    The same transfer again changes nothing, whatever was published since. One older than what was imported already is
    TRANSFER_OLD: a file that lay around must not bring back what was replaced.
    """
    own = publisher.plane.next().tenant
    with TransferFile(path) as file:
        key_id, index = read_index(file.index(), believed)
        if (as_tenant is None and index.tenant != own) or as_tenant not in (None, own):
            raise BundleError("TRANSFER_TENANT", f"of `{index.tenant}`, for `{as_tenant or index.tenant}`", where=own)
        file.verify(index)
        raw = b""
        for one in index.releases:
            release, raw = _believed(file, one, believed, tenant=index.tenant)
        if is_expired(release, now=publisher.clock()):
            raise BundleError("BUNDLE_EXPIRED", "its time is over", where=f"release {release.seq}")
        before = _earlier(publisher, index.tenant, release.seq)
        fresh = _new_files(file, index, folder)
        for member in fresh:
            _put(file, member, folder)
    published = before
    if published is None:
        mark = f"{publisher.author} {_mark(index.tenant, release.seq)}".strip()
        published = publisher.publish(imported(raw, believed, publisher.key), author=mark)
    return Imported(
        tenant=index.tenant,
        key_id=key_id,
        seq=release.seq,
        published=published,
        again=before is not None,
        new_files=tuple(member.name for member in fresh),
    )


def _believed(
    file: TransferFile, one: Carried, believed: Mapping[str, BundlePublicKey], *, tenant: str
) -> tuple[Release, bytes]:
    """Return a release of a transfer and its bundle, as a sidecar would believe them."""
    where = notice_name(one.seq)
    release = record_of(read_notice(file.content(where), where=where), believed, tenant=tenant)
    raw = file.content(bundle_name(one.bundle_digest))
    bundle = read_bundle(raw, believed)
    check_bundle(release, bundle)
    if release.seq != one.seq or release.size != len(raw) or bundle.bundle_digest != one.bundle_digest:
        raise BundleError("BUNDLE_RELEASE", "the record is of another release", where=where)
    return release, raw


def _earlier(publisher: Publisher, tenant: str, seq: int) -> Published | None:
    """Return the release that was made of this one already; TRANSFER_OLD where a newer one was taken."""
    start, newest = _mark(tenant, 0)[:-1], 0
    found = None
    for one in publisher.plane.history(most=MOST_HISTORY):
        _, _, number = str(one["author"]).rpartition(start)
        if one["state"] not in ("released", "waiting", "rolled_back") or not _is_number(number, one["author"], start):
            continue
        newest = max(newest, int(number))
        if found is None and int(number) == seq:
            found = Published(seq=int(one["seq"]), state=str(one["state"]), revision=str(one["revision"]))
    if found is None and newest > seq:
        raise BundleError("TRANSFER_OLD", f"release {newest} of `{tenant}` was imported already", where=f"{seq}")
    return found


def _mark(tenant: str, seq: int) -> str:
    """How the author of an imported release ends: it is signed with the record and outlives this machine."""
    return f"<- {tenant}#{seq}"


def _is_number(text: str, author: object, start: str) -> bool:
    return start in str(author) and text.isascii() and text.isdigit() and len(text) < 17


def _files_of(folder: Path) -> dict[str, Content]:
    try:
        found = {log_name(path.name): path for path in sorted(folder.iterdir()) if path.is_file()}
    except OSError as error:
        problem = Problem(code="LOG_FOLDER_UNREADABLE", message=str(error.strerror), where=str(folder))
        raise ConfigError((problem,)) from None
    return {name: path for name, path in found.items() if name is not None}


def _new_files(file: TransferFile, index: TransferIndex, folder: Path) -> tuple[Member, ...]:
    """Return what the folder lacks. A segment only grows: what lies there begins as it comes, or the other way round.

    Raises BundleError TRANSFER_LOG_DIFFERS before anything is written.
    """
    fresh = []
    for member in log_members(index):
        place = folder / member.name
        held = _beginning(place, member.size)
        if held is None:
            fresh.append(member)
            continue
        size, common = held
        digest = hashlib.sha256()
        left = common
        for chunk in file.chunks(member.name):
            digest.update(chunk[:left])
            left -= len(chunk[:left])
        if digest.digest() != _digest(place, common):
            raise BundleError("TRANSFER_LOG_DIFFERS", "another file of this name is there", where=str(place))
        if size < member.size:
            fresh.append(member)
    return tuple(fresh)


def _beginning(place: Path, size: int) -> tuple[int, int] | None:
    """Return how long the file is that is there, and how much of it can be compared."""
    if not (place.exists() or place.is_symlink()):
        return None
    if place.is_symlink() or not place.is_file():
        raise BundleError("TRANSFER_LOG_DIFFERS", "not a plain file", where=str(place))
    held = place.stat().st_size
    return held, min(held, size)


def _digest(place: Path, size: int) -> bytes:
    digest = hashlib.sha256()
    with place.open("rb") as file:
        while size and (chunk := file.read(min(size, 1 << 20))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.digest()


def _put(file: TransferFile, member: Member, folder: Path) -> None:
    place = folder / member.name
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=place.parent, prefix=".")
        try:
            with open(descriptor, "wb") as out:
                out.writelines(file.chunks(member.name))
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, place)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        problem = Problem(code="TRANSFER_FILE", message=str(error.strerror), where=str(place))
        raise ConfigError((problem,)) from None
