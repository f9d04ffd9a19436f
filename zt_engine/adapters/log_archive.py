"""Whatever decided, kept by digest: activated bundles, catalogues and trust files, written once and never changed."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import Path

from zt_engine.adapters.log_files import Files, private_folder
from zt_engine.core.errors import InputError, UnavailableError

_KIND = re.compile(r"[a-z][a-z_]{0,31}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class Archive:
    """A folder `<kind>/<sha-256 in hex>`; nothing is ever deleted here, since any event may still refer to it."""

    def __init__(self, folder: Path, files: Files | None = None) -> None:
        self._folder = folder
        self._files = files or Files()

    def store(self, kind: str, digest: str, content: bytes) -> None:
        """Keep `content`; storing the same again is nothing, a digest that is not its own is refused."""
        path = self._path(kind, digest)
        if sha256(content).hexdigest() != digest:
            raise InputError("LOG_ARCHIVE_DIGEST", "the content does not have this digest", where=f"{kind}/{digest}")
        private_folder(self._folder)
        private_folder(path.parent)
        if path.exists() and path.stat().st_size == len(content):
            return
        draft = path.with_name(f".{digest}.{os.getpid()}")
        try:
            draft.unlink(missing_ok=True)
            fd = self._files.create(draft)
            try:
                done = 0
                while done < len(content):
                    done += self._files.write(fd, memoryview(content)[done:])
                self._files.sync(fd)
            finally:
                os.close(fd)
            draft.rename(path)
            self._files.sync_folder(path.parent)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise UnavailableError("LOG_UNAVAILABLE", f"cannot archive: {error.strerror}", where=str(path)) from error

    def read(self, kind: str, digest: str) -> bytes:
        """The content, verified against its digest."""
        path = self._path(kind, digest)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError("LOG_ARCHIVE_MISSING", f"not in the archive: {error.strerror}", where=str(path)) from error
        if sha256(content).hexdigest() != digest:
            raise InputError("LOG_ARCHIVE_DIGEST", "the archived content was changed", where=str(path))
        return content

    def _path(self, kind: str, digest: str) -> Path:
        if _KIND.match(kind) is None or _DIGEST.match(digest) is None:
            raise InputError("LOG_ARCHIVE_DIGEST", "no kind and SHA-256 digest that the archive knows")
        return self._folder / kind / digest
