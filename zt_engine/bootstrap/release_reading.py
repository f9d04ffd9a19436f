"""Releases as somebody reads them who believes signatures and no control plane: approvers, and `zt policy diff`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.adapters.releases_http import notice_of
from zt_engine.bootstrap.activation import read_bundle
from zt_engine.bootstrap.policy_before import Before
from zt_engine.bootstrap.publishing import ReleasePlane
from zt_engine.bootstrap.weakening import weakenings
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import WASM, Bundle
from zt_engine.core.errors import BundleError, InputError
from zt_engine.core.release import Release, check_bundle, read_release
from zt_engine.core.weakening import Weakening


class ReleaseReader:
    """Reads releases of one control plane with the bundle keys that are believed."""

    def __init__(
        self,
        plane: ReleasePlane,
        keys: Mapping[str, BundlePublicKey],
        *,
        before: Callable[[], Before | None] = lambda: None,
    ) -> None:
        """`before` is what decided as long as there was no release."""
        self._plane = plane
        self._keys = keys
        self._before = before

    def judged(self, seq: int) -> tuple[Release, tuple[Weakening, ...]]:
        """Return a release with what it gives up against its way back, found out from the signed bundles.

        The first one has none, and is compared with what decided before it.
        """
        release = self.record(seq)
        if release.seq != seq:
            raise BundleError("BUNDLE_RELEASE", f"the record is of release {release.seq}", where=f"release {seq}")
        candidate = self.bundle(release)
        if not release.way_back:
            first = self._before()
            return release, () if first is None else weakenings(first.bundle, candidate)
        known = self._known(release.way_back)
        before = self.bundle(self.record(int(known["seq"])))
        if before.content_digest != release.way_back:
            raise BundleError("BUNDLE_RELEASE", "the control plane sent another way back", where=f"release {seq}")
        return release, weakenings(before, candidate)

    def texts(self, seq: int) -> tuple[Mapping[str, bytes], Mapping[str, bytes]]:
        """Return the sources of a release's way back and its own, by their names; all of them are signed."""
        release = self.record(seq)
        if release.way_back:
            return self._sources(self.record(int(self._known(release.way_back)["seq"]))), self._sources(release)
        first = self._before()
        return {} if first is None else first.texts, self._sources(release)

    def _sources(self, release: Release) -> Mapping[str, bytes]:
        named = self.bundle(release).manifest.sources.keys() - {WASM}
        files = bundle_archive.read(self._plane.bundle(release.bundle_digest))
        return {name: files[name] for name in named}

    def pair(self, old: int | None, new: int | None) -> tuple[Bundle, Bundle]:
        """Return two releases' bundles: those of the numbers, else the one in force and the content before it."""
        active = self._plane.next().active
        to = new or (0 if active is None else active.seq)
        if not to:
            raise InputError("RELEASE_NONE", "nothing is in force")
        after = self.record(to)
        if old is None:
            if not after.way_back:
                raise InputError("RELEASE_NO_WAY_BACK", f"there is none before release {to}")
            old = int(self._known(after.way_back)["seq"])
        return self.bundle(self.record(old)), self.bundle(after)

    def record(self, seq: int) -> Release:
        """Return the record of a release that a believed key signed."""
        return read_release(notice_of(self._plane.get(seq)).record, self._keys, where=f"release {seq}")

    def bundle(self, release: Release) -> Bundle:
        """Return the bundle of a record."""
        raw = self._plane.bundle(release.bundle_digest)
        if hashlib.sha256(raw).hexdigest() != release.bundle_digest:
            raise BundleError("BUNDLE_HASH", "the control plane sent other bytes", where=release.bundle_digest)
        bundle = read_bundle(raw, self._keys)
        check_bundle(release, bundle)
        return bundle

    def _known(self, content: str) -> dict[str, Any]:
        found = next((one for one in self._plane.history() if one["content_digest"] == content), None)
        if found is None:
            raise InputError("RELEASE_NO_WAY_BACK", "its way back is not kept any more")
        return found
