"""The few file operations the decision log needs, and the append-only file that never shows half a write.

`Files` is a seam: tests put a layer under the log that runs out of space or fails where they like.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from pathlib import Path

from zt_engine.core.errors import ConfigError, Problem

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700

KEEP_SIZE = 1
"""FALLOC_FL_KEEP_SIZE of fallocate(2), which Python's `os` does not have."""
LEAST_AHEAD = 4 << 20
LIBC = ctypes.CDLL(None, use_errno=True)


class Files:
    """The operating system, one method a call."""

    def create(self, path: Path) -> int:
        """Open a new file for appending; it must not exist."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(path, flags, PRIVATE_FILE)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        return os.write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def allocate(self, fd: int, size: int) -> None:
        os.posix_fallocate(fd, 0, size)

    def allocate_ahead(self, fd: int, start: int, size: int) -> None:
        """Give a file blocks behind its end without making it longer (fallocate(2)); raises OSError."""
        if LIBC.fallocate(fd, KEEP_SIZE, ctypes.c_int64(start), ctypes.c_int64(size)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def free(self, folder: Path) -> int:
        """Bytes that an unprivileged process may still take on the filesystem of `folder`."""
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def sync_folder(self, folder: Path) -> None:
        """Make names durable: a file that was synced but whose name was not can vanish in a power cut."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class AppendFile:
    """A file that only grows by whole writes: what was written in part is cut off before anybody continues.

    Held under an exclusive `flock` for as long as it is open, which is how a starting process tells a crashed
    predecessor from one that is still writing. It is created under another name and gets its own only when it is
    locked and has its first line, so an unlocked or empty file under a segment's name is never a living one.
    """

    __slots__ = ("_ahead", "_files", "_torn", "_watched", "fd", "path", "size")

    def __init__(self, files: Files, path: Path, first: bytes) -> None:
        self._files = files
        self._torn = False
        self.path = path
        self.size = 0
        self._ahead = self._watched = 0
        draft = path.with_name(f".new-{path.name}")
        self.fd = files.create(draft)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if first:
                self.write(first)
            draft.rename(path)
        except BaseException:
            os.close(self.fd)
            draft.unlink(missing_ok=True)
            raise

    def write(self, data: bytes) -> None:
        """Append all of `data` or, raising OSError, nothing."""
        if self._torn:
            self._heal()
        done = 0
        try:
            done = self._files.write(self.fd, data)
            while done < len(data):
                done += self._files.write(self.fd, memoryview(data)[done:])
        except OSError:
            if done:
                self._torn = True
                self._heal()
            raise
        self.size += done

    def _heal(self) -> None:
        self._files.truncate(self.fd, self.size)
        self._torn = False
        self._ahead = 0

    def keep_ahead(self) -> None:
        """Have blocks ready for what the next seconds may bring; called once a second, from another thread.

        A write that needs new blocks waits while the file system commits its journal: 20 to 50 ms in every sync, in
        which nobody is answered. One into blocks that are there does not. Where that is not to be had, nothing is lost.
        """
        size = self.size
        wanted = max(LEAST_AHEAD, 3 * (size - self._watched))
        self._watched = size
        if self._ahead >= size + wanted:
            return
        try:
            self._files.allocate_ahead(self.fd, size, 2 * wanted)
            self._ahead = size + 2 * wanted
        except OSError:
            self._ahead = 0

    def sync(self) -> None:
        self._files.sync(self.fd)

    def rewind(self, size: int) -> None:
        """Take back what was written behind `size`; used when a write succeeded but its sync did not."""
        self._torn, self.size = True, size
        self._heal()

    def close(self) -> None:
        if self._ahead:
            with contextlib.suppress(OSError):
                self._files.truncate(self.fd, self.size)
        os.close(self.fd)


def give_back(path: Path) -> None:
    """Free the blocks behind the end of a file whose process ended without closing it."""
    status = path.stat()
    if status.st_blocks * 512 > status.st_size + LEAST_AHEAD // 2:
        os.truncate(path, status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def private_folder(path: Path) -> Path:
    """Create `path` for us alone, or refuse one that others may write to."""
    path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o022:
        problem = Problem(
            code="LOG_FOLDER_OPEN",
            message="group or others may write to the folder of the decision log",
            where=str(path),
            hint=f"chmod 700 {path}",
        )
        raise ConfigError((problem,))
    return path
