"""A release record: which bundle is in force from when to when, and in what order. Only ever forward.

The record is what is not reproducible about a release, signed apart from the bundle (`releases/<seq>.json`). OPA's own
signatures carry no freshness, so without it an old, validly signed bundle could be played again.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from zt_engine.core.bundle import Bundle
from zt_engine.core.bundle_signature import RELEASE_TYPE, PublicKey, SigningKey, sign, verify
from zt_engine.core.errors import BundleError


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One release. Times are epoch seconds; `not_after` None never ends and is legal only for a folder source."""

    seq: int
    content_digest: str
    bundle_digest: str
    not_before: int
    not_after: int | None
    author: str = ""
    approvals: tuple[str, ...] = ()


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


def check_release(
    release: Release, bundle: Bundle, *, active_seq: int, minimum_seq: int, now: float, from_folder: bool
) -> None:
    """Whether this bundle may become active now; raises BundleError.

    INVARIANT: `seq` only grows. A rollback is a new `seq` with old content, never an old `seq`.
    """
    where = f"release {release.seq}"
    if release.content_digest != bundle.content_digest or release.bundle_digest != bundle.bundle_digest:
        raise BundleError("BUNDLE_RELEASE", "the record is of another bundle", where=where)
    if release.seq <= active_seq or release.seq < minimum_seq:
        known = max(active_seq, minimum_seq - 1)
        raise BundleError("BUNDLE_OLD_SEQ", f"only a release above {known} is taken", where=where)
    if release.not_after is None and not from_folder:
        raise BundleError("BUNDLE_RELEASE", "a release without an end is for folders only", where=where)
    if now < release.not_before:
        raise BundleError("BUNDLE_NOT_YET", "its time has not come", where=where)
    if is_expired(release, now=now):
        raise BundleError("BUNDLE_EXPIRED", "its time is over", where=where)


def is_expired(release: Release, *, now: float) -> bool:
    """Whether an active release has passed its end; from then on every decision is a denial."""
    return release.not_after is not None and now >= release.not_after
