"""Files that only their owner can have written, opened so that what was checked is what is read.

The owner is root or the user this process runs as. The last part of a name may be no symbolic link: a link says
nothing about who may write what it leads to. The check is made on the open descriptor, so a file that is exchanged
after it was looked at is checked like any other. Not seen: access control lists that the mode does not show, and
whether somebody else may rename a folder above.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

Flaw = Literal["irregular", "owner", "writable", "large"]

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Without waiting: a pipe that nobody writes to must not hold whoever reads."""


class UnownedError(Exception):
    """A file or folder that is not believed: which flaw it has, in words, and what to do about it."""

    def __init__(self, flaw: Flaw, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.flaw = flaw
        self.message = message
        self.hint = hint


def look(name: str | Path, *, within: int | None = None) -> os.stat_result:
    """Return the status of what has this name, of the link itself if it is one; raises OSError."""
    return os.stat(name, dir_fd=within, follow_symlinks=False)


def examine(status: os.stat_result, *, folder: bool = False) -> None:
    """Raise UnownedError unless this is a file (or folder) of root or ourselves that nobody else may write."""
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        raise UnownedError("irregular", "a symbolic link", "put the file itself there")
    if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        raise UnownedError("irregular", "not a folder" if folder else "not a regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise UnownedError("owner", f"it belongs to user {status.st_uid}", f"chown {os.geteuid()}")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UnownedError("writable", "group or others may write here", "chmod go-w")


@contextmanager
def opened_folder(name: str | Path, *, within: int | None = None) -> Iterator[int]:
    """Open a folder and yield its descriptor; raises OSError or UnownedError."""
    examine(look(name, within=within), folder=True)  # says more than the errors of `open`
    descriptor = os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=within)
    try:
        examine(os.fstat(descriptor), folder=True)
        yield descriptor
    finally:
        os.close(descriptor)


def read_owned(name: str | Path, *, limit: int, within: int | None = None) -> tuple[bytes, os.stat_result]:
    """Return the content of a file and its status before it was read; raises OSError or UnownedError."""
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=within)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnownedError("irregular", "a symbolic link", "put the file itself there") from None
        raise
    try:
        status = os.fstat(descriptor)
        examine(status)
        if status.st_size > limit:
            raise _large(limit)
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise _large(limit)
    return content, status


def replace_owned(path: Path, content: bytes) -> None:
    """Put a file that only its owner reads in place, in one step and on the disk; raises OSError."""
    temporary = path.with_name(f"{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()  # whatever lies there, from a crash or from somebody else, is not written into
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _large(limit: int) -> UnownedError:
    return UnownedError("large", f"larger than {limit} bytes")
