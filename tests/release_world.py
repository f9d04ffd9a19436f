"""What a sidecar that follows releases sees, on fakes: a control plane, a disk, and what it switches to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.fakes.clock import FakeClock
from tests.release_support import approvers_of, notice_of, record_of
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.adapters.release_disk import ReleaseDisk
from zt_engine.adapters.release_fetch import BundleFetcher
from zt_engine.bootstrap.following_releases import ReleaseFollower
from zt_engine.bootstrap.release_opening import Opened, ReleaseTrust, believed
from zt_engine.config import Policy as PolicySettings
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import MANIFEST
from zt_engine.core.errors import BundleError, UnavailableError
from zt_engine.core.release import Release, ReleaseNotice, read_release
from zt_engine.core.rollout import Staged

KEY, OTHER = BundleSigningKey.generate("site-1"), BundleSigningKey.generate("site-1")
PEOPLE = {name: Ed25519PrivateKey.generate() for name in ("sato", "mori")}
TRUST = ReleaseTrust({"site-1": KEY.public()}, approvers_of(PEOPLE), PolicySettings(), {})
SETTINGS = PolicySettings(budget_ms=50, memory_mib=16)


class Engine:
    """Counts as one until it is closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class World:
    """A control plane as a sidecar sees it, and what the sidecar does about it."""

    def __init__(self, folder: Path, *, light: bool = False, trust: ReleaseTrust = TRUST) -> None:
        self.clock, self.folder, self.light, self.trust = FakeClock(), folder, light, trust
        self.minimum_release = 0
        self.notices: dict[int, ReleaseNotice] = {}
        self.aborted: set[int] = set()
        self.served: dict[str, bytes] = {}
        self.urls: tuple[str, ...] = ("one", "two")
        self.answers: Callable[[str, bytearray, bytes], None] = lambda url, into, raw: into.extend(raw[len(into) :])
        self.switched: list[int] = []
        self.warmed: list[int] = []
        """What was got ready before it was told."""
        self.code = ""
        self.full = False
        self.begin()

    def begin(self) -> None:
        """Start the sidecar, on the disk of before."""
        self.follower = ReleaseFollower(
            self, tenant="default", disk=ReleaseDisk(self.folder / "release"), fetcher=BundleFetcher(self),
            stage=self, trust=lambda: self.trust, now=self.clock.now, draw=lambda: 0.5,
            **({"opener": opened, "warm": self.warm} if self.light else {}),
        )  # fmt: skip
        asyncio.run(self.follower.load())

    # -- what is told and served

    def releases(self) -> list[ReleaseNotice]:
        return [notice for _, notice in sorted(self.notices.items(), reverse=True)]

    def taken_back(self, staged: Staged) -> bool:
        return staged.ref_seq in self.aborted

    async def content(self, path: str, into: bytearray, *, size: int, url: str) -> None:
        raw = self.served.get(path.removeprefix("/v1/bundles/"))
        if raw is None:
            raise UnavailableError("STREAM_REFUSED", "404")
        self.answers(url, into, raw)

    # -- what decides

    def warm(self, release: Release, raw: bytes, trust: ReleaseTrust) -> object:
        self.warmed.append(release.seq)
        return raw

    def archive(self, opened: Opened) -> None:
        if self.full:
            raise UnavailableError("LOG_UNAVAILABLE", "no space is left")

    def switch(self, opened: Opened) -> None:
        self.switched.append(opened.release.seq)
        self.code = ""

    def withdraw(self, code: str, message: str) -> None:
        self.code = code

    # -- what a test does

    def tell(self, notice: ReleaseNotice, raw: bytes = b"") -> World:
        self.notices[notice.seq] = notice
        release = read_release(notice.record, {"site-1": KEY.public()}) if raw else None
        if release is not None:
            self.served[release.bundle_digest] = raw
        return self.step()

    def step(self) -> World:
        asyncio.run(self.follower.step())
        return self

    @property
    def active(self) -> int:
        return self.follower.bundle_seq

    @property
    def codes(self) -> set[str]:
        return {problem.code for problem in self.follower.problems}


def opened(notice: ReleaseNotice, raw: bytes, trust: ReleaseTrust, *, tenant: str) -> Opened:
    """Verify the record and compile nothing."""
    release = believed(notice, trust, tenant=tenant)
    if msgspec.json.encode(release.content_digest) not in raw:
        raise BundleError("BUNDLE_RELEASE", "not the bytes")
    bundle = cast("Any", type("B", (), {"key_id": "site-1"})())
    parts = cast("Any", type("P", (), {"bundle": bundle})())
    return Opened(notice=notice, release=release, raw=raw, parts=parts, engine=cast("Any", Engine()), key=KEY.public())


def sketch(world: World, seq: int, *, key: BundleSigningKey = KEY, **members: Any) -> tuple[ReleaseNotice, bytes]:
    """A release of made-up bytes, which `opened` takes for a bundle."""
    content = hashlib.sha256(b"content %d" % seq).hexdigest()
    raw = msgspec.json.encode(content)
    staged = members.pop("staged", None)
    people = members.pop("people", ())
    release = msgspec.structs.replace(
        _RECORD, seq=seq, content_digest=content, bundle_digest=hashlib.sha256(raw).hexdigest(), size=len(raw),
        not_before=int(world.clock.now()) - 10, not_after=int(world.clock.now()) + 1000,
    )  # fmt: skip
    notice = notice_of(msgspec.structs.replace(release, **members), key, people=people, staged=staged)
    return notice, raw


_RECORD = record_of(bundle_archive.write({MANIFEST: b"{}"}), seq=1, now=0)
