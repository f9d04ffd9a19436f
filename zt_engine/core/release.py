"""A release: which bundle is in force from when to when, and in what order. Only ever forward.

The record is what is not reproducible about a release, signed by a bundle key apart from the bundle. OPA's own
signatures carry no freshness, so without it an old, validly signed bundle could be played again. Approvals stand beside
the record (`releases/<seq>.json` and the event `bundle.released` hold both), since they sign for themselves: for the
content and its way back, not for a number that is not known yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from zt_engine.core.approval import Approval
from zt_engine.core.bundle import Bundle
from zt_engine.core.bundle_archive import MAX_ARCHIVE
from zt_engine.core.bundle_signature import RELEASE_TYPE, PublicKey, SigningKey, sign, verify
from zt_engine.core.errors import BundleError
from zt_engine.core.rollout import Staged
from zt_engine.core.weakening import Weakening

PEOPLE = 2
"""How many approve a release that weakens, themselves or by different keys."""
MAX_APPROVALS = 32
MAX_NOTICE_BYTES = 1 << 20

Seq = Annotated[int, Meta(ge=1, le=2**53)]
Time = Annotated[int, Meta(ge=0, le=2**53)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One release. Times are epoch seconds; `not_after` None never ends and is legal only for a folder source."""

    tenant: str
    seq: Seq
    """Of the tenant's releases: a counter of its own, without gaps."""
    content_digest: Digest
    bundle_digest: Digest
    size: Annotated[int, Meta(ge=1, le=MAX_ARCHIVE)]
    """Of the archive, so that nobody reads on for ever."""
    not_before: Time
    not_after: Time | None
    author: str = ""
    way_back: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""
    """The content that a rollback returns to; empty for the first release."""
    approvals_needed: Literal[0, 2] = 0


class ReleaseNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A release as it is told: the signed record, and what stands beside it; a snapshot adds the rings reached."""

    seq: Seq
    record: str
    """The JWS of the `Release`; nothing else in here is believed by itself."""
    approvals: Annotated[tuple[Approval, ...], Meta(max_length=MAX_APPROVALS)] = ()
    weakens: tuple[Weakening, ...] = ()
    staged: Staged | None = None


def approved_content(release: Release) -> dict[str, object]:
    """Return what people sign when they approve a release: the content and its way back, whatever its number."""
    return {"tenant": release.tenant, "content_digest": release.content_digest, "way_back": release.way_back}


def write_notice(notice: ReleaseNotice) -> bytes:
    """Return the text of a notice."""
    return msgspec.json.encode(notice, order="sorted")


def read_notice(raw: bytes, *, where: str = "") -> ReleaseNotice:
    """Read a notice, which says nothing yet of whether it is believed; raises BundleError."""
    if len(raw) > MAX_NOTICE_BYTES:
        raise BundleError("BUNDLE_TOO_LARGE", f"a notice of {len(raw)} bytes", where=where)
    try:
        return msgspec.json.decode(raw, type=ReleaseNotice)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError("BUNDLE_MALFORMED", f"the release notice: {str(error)[:200]}", where=where) from None


def write_release(release: Release, key: SigningKey) -> str:
    """Return the signed text of a record."""
    return sign(msgspec.json.encode(release, order="sorted"), key, kind=RELEASE_TYPE)


def read_release(text: str, keys: Mapping[str, PublicKey], *, where: str = "") -> Release:
    """Return the record a known key signed, or raise BundleError."""
    verified = verify(text, keys, kind=RELEASE_TYPE, where=where)
    try:
        return msgspec.json.decode(verified.payload, type=Release)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError("BUNDLE_MALFORMED", f"the release record: {error}", where=where) from None


def record_of(notice: ReleaseNotice, keys: Mapping[str, PublicKey], *, tenant: str) -> Release:
    """Return the record of a notice: signed by a known key, for this tenant, and of this number; raises BundleError."""
    where = f"release {notice.seq}"
    release = read_release(notice.record, keys, where=where)
    if release.tenant != tenant:
        raise BundleError("BUNDLE_TENANT", f"it is for the tenant `{release.tenant}`", where=where)
    if release.seq != notice.seq:
        raise BundleError("BUNDLE_RELEASE", f"the record is of release {release.seq}", where=where)
    return release


def check_turn(release: Release, *, active_seq: int, minimum_seq: int, now: float, from_folder: bool = False) -> None:
    """Whether it is this release's turn, whatever its bundle holds; raises BundleError.

    INVARIANT: `seq` only grows. A rollback is a new `seq` with old content, never an old `seq`.
    """
    where = f"release {release.seq}"
    if release.seq <= active_seq or release.seq < minimum_seq:
        known = max(active_seq, minimum_seq - 1)
        raise BundleError("BUNDLE_OLD_SEQ", f"only a release above {known} is taken", where=where)
    if release.not_after is None and not from_folder:
        raise BundleError("BUNDLE_RELEASE", "a release without an end is for folders only", where=where)
    if now < release.not_before:
        raise BundleError("BUNDLE_NOT_YET", "its time has not come", where=where)
    if is_expired(release, now=now):
        raise BundleError("BUNDLE_EXPIRED", "its time is over", where=where)


def check_bundle(release: Release, bundle: Bundle) -> None:
    """Whether this is the bundle the record is of; raises BundleError."""
    if release.content_digest != bundle.content_digest or release.bundle_digest != bundle.bundle_digest:
        raise BundleError("BUNDLE_RELEASE", "the record is of another bundle", where=f"release {release.seq}")


def check_release(
    release: Release, bundle: Bundle, *, active_seq: int, minimum_seq: int, now: float, from_folder: bool
) -> None:
    """Whether this bundle may become active now; raises BundleError."""
    check_bundle(release, bundle)
    check_turn(release, active_seq=active_seq, minimum_seq=minimum_seq, now=now, from_folder=from_folder)


def is_expired(release: Release, *, now: float) -> bool:
    """Whether an active release has passed its end; from then on every decision is a denial."""
    return release.not_after is not None and now >= release.not_after
