"""A release, made and handed in: what is built is compared with what is in force, signed, and submitted once.

Nothing here changes what is in force until the control plane takes the whole of it: a step that fails leaves it alone.
What is in force is fetched and believed by its signature, so that a control plane cannot hide what a release gives up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from zt_engine.adapters.bundle_signing import BundlePublicKey, BundleSigningKey
from zt_engine.adapters.releases_http import Next, notice_of
from zt_engine.bootstrap.activation import read_bundle
from zt_engine.bootstrap.policy_before import Before
from zt_engine.bootstrap.steps import Step, silent
from zt_engine.bootstrap.weakening import weakenings
from zt_engine.core.bundle import Bundle, sign_bundle
from zt_engine.core.errors import BundleError, InputError
from zt_engine.core.release import PEOPLE, Release, read_release, write_release
from zt_engine.core.weakening import Weakening

DAY: Final = 86_400
CONFLICT: Final = "RELEASE_CONFLICT"


class ReleasePlane(Protocol):
    """The control plane as a publisher sees it (`adapters.releases_http`)."""

    def next(self) -> Next: ...
    def put_bundle(self, digest: str, raw: bytes) -> None: ...
    def bundle(self, digest: str) -> bytes: ...
    def submit(self, notice: Mapping[str, Any]) -> dict[str, Any]: ...
    def get(self, seq: int) -> dict[str, Any]: ...
    def history(self, *, most: int = 200) -> list[dict[str, Any]]: ...
    def approve(self, seq: int, approval: Mapping[str, str]) -> dict[str, Any]: ...
    def status(self, seq: int) -> dict[str, Any]: ...
    def withdraw(self, seq: int, reason: str) -> None: ...


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A release as it would be submitted: its record, not yet signed, and what it gives up."""

    raw: bytes
    bundle: Bundle
    release: Release
    weakens: tuple[Weakening, ...]
    approvals: tuple[Mapping[str, str], ...] = ()
    staged: Mapping[str, Any] | None = None
    """The plan by which it goes out; None: everybody gets it at once."""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a release: `released`, `waiting`, or `unchanged` where this content is in force already."""

    seq: int
    state: str
    revision: str
    content_digest: str = ""
    weakens: tuple[Weakening, ...] = ()
    lacking: int = 0


class Publisher:
    """Makes releases with one bundle key for one control plane."""

    def __init__(
        self,
        plane: ReleasePlane,
        key: BundleSigningKey,
        *,
        clock: Callable[[], float],
        days: int,
        author: str,
        believed: Mapping[str, BundlePublicKey] | None = None,
        before: Callable[[], Before | None] = lambda: None,
        step: Step = silent,
    ) -> None:
        """`believed`: further keys that may have signed what is in force; `days`: how long a release holds.

        `before` is what decides as long as there is no release; `step` is told what is being done.
        """
        self.plane = plane
        self.key = key
        self.clock = clock
        self._days = days
        self.author = author
        self._before = before
        self._step = step
        self._keys = {**(believed or {}), key.key_id: key.public()}

    def draft(self, raw: bytes, *, also: Sequence[Weakening] = (), author: str | None = None) -> Draft:
        """Return the release of a signed bundle against what is in force; `also`: what a replay of a log found."""
        self._step("compare")
        following = self.plane.next()
        bundle = self._open(raw)
        active = self._in_force(following)
        weakens = (*weakenings(active, bundle), *also)
        needed = PEOPLE if following.approvals >= PEOPLE and (weakens or following.approvals_always) else 0
        drafted = self._drafted(raw, bundle, following, weakens, needed=needed)
        release = msgspec.structs.replace(drafted.release, author=self.author if author is None else author)
        return msgspec.structs.replace(drafted, release=release)

    def publish(
        self,
        raw: bytes,
        *,
        also: Sequence[Weakening] = (),
        author: str | None = None,
        plan: Mapping[str, Any] | None = None,
    ) -> Published:
        """Release a bundle. Whoever comes second finds out, compares with what came first, and tries once more.

        `plan` is how it goes out; without one everybody gets it at once.
        """
        return self._twice(lambda: msgspec.structs.replace(self.draft(raw, also=also, author=author), staged=plan))

    def rollback(self, seq: int | None = None) -> Published:
        """Return to the way back of what is in force, or to the content of a release; RELEASE_NO_WAY_BACK."""
        return self._twice(lambda: self._back(seq))

    def renewal(self, *, within: float) -> Published | None:
        """Release what is in force once more when it ends within so many seconds; None when it does not."""
        following = self.plane.next()
        if following.active is None:
            return None
        record = self.record(following.active.seq)
        if record.not_after is None or record.not_after - self.clock() > within:
            return None
        return self._twice(self._again)

    def fetch(self, digest: str) -> Bundle:
        """Return a bundle of the control plane that a believed key signed."""
        return self.fetched(digest)[1]

    def fetched(self, digest: str) -> tuple[bytes, Bundle]:
        """Return such a bundle with its bytes."""
        raw = self._fetch(digest)
        return raw, self._open(raw)

    def record(self, seq: int) -> Release:
        """Return the record of a release, believed by its signature."""
        return read_release(notice_of(self.plane.get(seq)).record, self._keys, where=f"release {seq}")

    def _in_force(self, following: Next) -> Bundle | None:
        if following.active is not None:
            return self.fetch(following.active.bundle_digest)
        before = self._before()
        return None if before is None else before.bundle

    def _fetch(self, digest: str) -> bytes:
        raw = self.plane.bundle(digest)
        if hashlib.sha256(raw).hexdigest() != digest:
            raise BundleError("BUNDLE_HASH", "the control plane sent other bytes", where=digest)
        return raw

    def _open(self, raw: bytes) -> Bundle:
        return read_bundle(raw, self._keys)

    def _twice(self, drafted: Callable[[], Draft]) -> Published:
        try:
            return self._submit(drafted())
        except InputError as error:
            if error.code != CONFLICT:
                raise
        return self._submit(drafted())

    def _submit(self, draft: Draft) -> Published:
        following = self.plane.next()
        active = following.active
        if active is not None and active.content_digest == draft.release.content_digest and not draft.approvals:
            record = self.record(active.seq)
            if record.not_after is not None and record.not_after >= draft.release.not_after - DAY:  # type: ignore[operator]
                content, revision = active.content_digest, draft.bundle.revision
                return Published(seq=active.seq, state="unchanged", revision=revision, content_digest=content)
        self._step("submit")
        self.plane.put_bundle(draft.release.bundle_digest, draft.raw)
        notice: dict[str, Any] = {
            "record": write_release(draft.release, self.key),
            "approvals": [dict(one) for one in draft.approvals],
        }
        told = self.plane.submit(notice if draft.staged is None else {**notice, "staged": draft.staged})
        return Published(
            seq=draft.release.seq,
            state=str(told.get("state", "")),
            revision=draft.bundle.revision,
            content_digest=draft.release.content_digest,
            weakens=draft.weakens,
            lacking=int(told.get("lacking", 0)),
        )

    def _back(self, seq: int | None) -> Draft:
        following = self.plane.next()
        if following.active is None:
            raise InputError("RELEASE_NO_WAY_BACK", "nothing is in force")
        in_force = self.record(following.active.seq)
        content = in_force.way_back if seq is None else self.record(seq).content_digest
        old = next((one for one in self.plane.history() if one["content_digest"] == content), None)
        if not content or old is None or content == in_force.content_digest:
            raise InputError("RELEASE_NO_WAY_BACK", f"release {in_force.seq} names none that is kept")
        raw = self._fetch(str(old["bundle_digest"]))
        bundle = self._open(raw)
        if bundle.content_digest != content:
            raise BundleError("BUNDLE_RELEASE", "another content than was asked for", where=str(old["seq"]))
        weakens = weakenings(self.fetch(following.active.bundle_digest), bundle)
        approved = content == in_force.way_back
        asked = following.approvals >= PEOPLE and (bool(weakens) or following.approvals_always) and not approved
        return self._drafted(raw, bundle, following, weakens, needed=PEOPLE if asked else 0)

    def _again(self) -> Draft:
        """What is in force with its way back and the approvals it has, which are for the content and not a number."""
        following = self.plane.next()
        if following.active is None:
            raise InputError("RELEASE_NO_WAY_BACK", "nothing is in force")
        notice = notice_of(self.plane.get(following.active.seq))
        record = self.record(following.active.seq)
        raw = self._fetch(record.bundle_digest)
        drafted = self._drafted(raw, self._open(raw), following, (), needed=record.approvals_needed)
        kept = tuple({"key_id": one.key_id, "signature": one.signature} for one in notice.approvals)
        release = msgspec.structs.replace(drafted.release, way_back=record.way_back)
        return msgspec.structs.replace(drafted, release=release, approvals=kept)

    def _drafted(
        self, raw: bytes, bundle: Bundle, following: Next, weakens: tuple[Weakening, ...], *, needed: int
    ) -> Draft:
        now = int(self.clock())
        release = Release(
            tenant=following.tenant,
            seq=following.seq,
            content_digest=bundle.content_digest,
            bundle_digest=bundle.bundle_digest,
            size=len(raw),
            not_before=now,
            not_after=now + self._days * DAY,
            author=self.author,
            way_back="" if following.active is None else following.active.content_digest,
            approvals_needed=2 if needed else 0,
        )
        return Draft(raw=raw, bundle=bundle, release=release, weakens=weakens)


def imported(raw: bytes, believed: Mapping[str, BundlePublicKey], key: BundleSigningKey) -> bytes:
    """Return another site's bundle under this site's key, if a believed key signed it."""
    read_bundle(raw, believed)
    return sign_bundle(raw, key)
