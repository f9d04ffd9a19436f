"""Releases in a process of many clients: each fetches, verifies and keeps them; they share one compiled module."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping

import msgspec

from zt_engine.adapters.release_disk import ReleaseDisk
from zt_engine.adapters.release_fetch import BundleFetcher
from zt_engine.bootstrap import activation
from zt_engine.bootstrap.following_control import ControlFollower
from zt_engine.bootstrap.following_releases import ReleaseFollower
from zt_engine.bootstrap.release_opening import Opened, ReleaseTrust, believed, open_release, warm_release
from zt_engine.bootstrap.wiring import Wiring
from zt_engine.core.errors import BundleError
from zt_engine.core.release import Release, ReleaseNotice
from zt_engine.sidecar.authorize import Authorizer


class Compiled:
    """What the clients of one process share: a bundle is compiled by whoever is first, and tried once.

    The record, its signature and the digest of the bytes are verified by each client for itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Opened] = {}
        self._warmed: dict[str, object] = {}

    def open(self, notice: ReleaseNotice, raw: bytes, trust: ReleaseTrust, *, tenant: str) -> Opened:
        """Do what `open_release` does, and compile only what nobody here has compiled."""
        release = believed(notice, trust, tenant=tenant)
        if hashlib.sha256(raw).hexdigest() != release.bundle_digest:
            raise BundleError("BUNDLE_RELEASE", "these are not the bytes the record is of")
        with self._lock:
            known = self._known.get(release.bundle_digest)
            if known is None:
                known = self._known[release.bundle_digest] = open_release(notice, raw, trust, tenant=tenant)
                # Others decide by it when one client has left it. It ends with the process.
                known.engine.close = _nothing  # type: ignore[method-assign]
        return msgspec.structs.replace(known, notice=notice, release=release, raw=raw)

    def warm(self, release: Release, raw: bytes, trust: ReleaseTrust) -> object:
        """Do what `warm_release` does, once."""
        with self._lock:
            if release.bundle_digest not in self._warmed:
                self._warmed = {release.bundle_digest: warm_release(release, raw, trust)}
            return self._warmed[release.bundle_digest]


def _nothing() -> None:
    """Free nothing."""


class Fetching(BundleFetcher):
    """A fetcher that remembers when."""

    asked_at = fetched_at = 0.0

    async def fetch(self, digest: str, size: int) -> bytes:
        """Fetch; who is asked for a bundle was told of it and has believed its record."""
        self.asked_at = time.monotonic()
        raw = await super().fetch(digest, size)
        self.fetched_at = time.monotonic()
        return raw


class Switched:
    """Where a client's releases decide, and since when. It writes no decision log, so it archives nothing."""

    def __init__(self, control: ControlFollower, authorizer: Authorizer, wiring: Wiring, compiled: Compiled) -> None:
        self.seq = 0
        self._opened_at = 0.0
        self._at: dict[int, float] = {}
        self._authorizer = authorizer
        self._wiring = wiring
        self.fetcher = Fetching(control.client)
        self.follower = ReleaseFollower(
            control.sync, tenant=control.member.membership.tenant, disk=ReleaseDisk(control.member.folder / "release"),
            fetcher=self.fetcher, stage=self, trust=lambda: wiring.release_trust, now=control.now, draw=control.draw,
            changed=control.updates.set, opener=compiled.open, warm=compiled.warm,
        )  # fmt: skip
        self.deaf = False
        """Whether nothing is got ready before it is told."""
        offered = self.follower.offered
        self.follower.offered = lambda record: None if self.deaf else offered(record)  # type: ignore[method-assign]
        control.releases = self.follower

    def archive(self, opened: Opened) -> None:
        """Keep nothing, and note that it is opened."""
        self._opened_at = time.monotonic()

    def switch(self, opened: Opened) -> None:
        """Have a release decide from the next request on."""
        self._authorizer.activate(
            activation.make_policy(
                opened.parts, opened.engine, source="control_plane", strongest=self._wiring.strongest,
                path_key=b"k" * 32, tick_seconds=5,
            )
        )  # fmt: skip
        self.seq = opened.release.seq
        self._at.setdefault(self.seq, time.monotonic())

    def withdraw(self, code: str, message: str) -> None:
        """Have nothing decide."""
        self._authorizer.withdraw(code, message)

    def times(self, seq: int) -> Mapping[str, float]:
        """Return when this client asked for the bundle of a release, had it, had opened it, and decided by it."""
        fetcher = self.fetcher
        return {
            "asked": fetcher.asked_at, "fetched": fetcher.fetched_at, "opened": self._opened_at,
            "active": self._at[seq],
        }  # fmt: skip
