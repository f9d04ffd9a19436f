"""The release in force and the one before it, on the disk as they came: notice and bundle, verified again when read.

    active.json  before.json  <digest>.tar.gz

A bundle is there before a notice names it, and each file takes its name in one step, so a crash leaves the one release
or the other.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

import msgspec

from zt_engine.adapters.owned_files import UnownedError, read_owned
from zt_engine.core.bundle_archive import MAX_ARCHIVE
from zt_engine.core.errors import BundleError, UnavailableError
from zt_engine.core.release import MAX_NOTICE_BYTES, ReleaseNotice

Which = Literal["active", "before"]
MODE = 0o600
MAX_FILE = MAX_NOTICE_BYTES + 256


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A notice with the name of its bundle's file."""

    bundle_digest: str
    notice: ReleaseNotice


class ReleaseDisk:
    """One folder; whoever writes is told when it cannot be, before anything is switched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def begun(self) -> bool:
        """Whether a release was ever in force here, whatever has become of its files."""
        return os.path.lexists(self._folder / "active.json")

    def keep(self, notice: ReleaseNotice, bundle_digest: str, raw: bytes) -> None:
        """Put a release in place of the one in force, which becomes the one before; UnavailableError RELEASE_DISK."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._put(f"{bundle_digest}.tar.gz", raw)
            content = msgspec.json.encode(Kept(bundle_digest, notice))
            known = self._named("active")
            if known is not None and known.notice.seq != notice.seq:
                self._put("before.json", msgspec.json.encode(known))
            self._put("active.json", content)
        except OSError as error:
            text = f"the release cannot be kept: {error.strerror}"
            raise UnavailableError("RELEASE_DISK", text, where=str(self._folder)) from None
        self._sweep()

    def notice(self, which: Which) -> ReleaseNotice | None:
        """Return a notice that is kept; None where there is none that reads."""
        kept = self._named(which)
        return None if kept is None else kept.notice

    def read(self, which: Which) -> tuple[ReleaseNotice, bytes] | None:
        """Return what is kept, None if nothing is; BundleError RELEASE_KEPT when it is there and does not read."""
        if not os.path.lexists(self._folder / f"{which}.json"):
            return None
        kept = self._named(which)
        where = str(self._folder)
        if kept is None:
            raise BundleError("RELEASE_KEPT", "the notice that was kept does not read", where=where)
        try:
            raw, _ = read_owned(self._folder / f"{kept.bundle_digest}.tar.gz", limit=MAX_ARCHIVE)
        except (OSError, UnownedError) as error:
            text = error.message if isinstance(error, UnownedError) else str(error.strerror)
            raise BundleError("RELEASE_KEPT", f"the bundle that was kept: {text}", where=where) from None
        return kept.notice, raw

    def _named(self, which: Which) -> Kept | None:
        try:
            raw, _ = read_owned(self._folder / f"{which}.json", limit=MAX_FILE)
            kept = msgspec.json.decode(raw, type=Kept)
        except (OSError, UnownedError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return kept if len(kept.bundle_digest) == 64 and kept.bundle_digest.isalnum() else None

    def _put(self, name: str, content: bytes) -> None:
        new = self._folder / f"{name}.{os.getpid()}.new"
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, MODE), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise

    def _sweep(self) -> None:
        """Remove bundles that no notice names any more, and what a crash left."""
        named = {kept.bundle_digest for kept in (self._named("active"), self._named("before")) if kept is not None}
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                old = path.name.endswith(".tar.gz") and path.name.removesuffix(".tar.gz") not in named
                if old or (path.name.endswith(".new") and f".{os.getpid()}." not in path.name):
                    path.unlink()
