"""The file of a transfer: an uncompressed tar of plain files, of which every byte is settled by its index.

A header is exactly the one that name and size have here, so there are no links, folders, owners or extensions to be
careful about: anything else is no header.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from zt_engine.core.bundle_archive import header
from zt_engine.core.errors import BundleError, ConfigError, Problem
from zt_engine.core.transfer import INDEX, MAX_INDEX, Member, TransferIndex

_BLOCK: Final = 512
_END: Final = bytes(2 * _BLOCK)
_CHUNK: Final = 1 << 20
Content = bytes | Path


def measured(name: str, content: Content) -> Member:
    """Return the member that this content makes; a file that is still written to counts up to its last whole line."""
    if isinstance(content, bytes):
        return Member(name, len(content), hashlib.sha256(content).hexdigest())
    digest = hashlib.sha256()
    with _source(content) as file:
        size = _whole_lines(file)
        for chunk in _chunks(file, size, name):
            digest.update(chunk)
    return Member(name, size, digest.hexdigest())


def write_transfer(path: Path, index: bytes, members: Sequence[tuple[Member, Content]]) -> None:
    """Write a transfer in one step, for its owner alone: a log says who did what."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as out:
            _put(out, Member(INDEX, len(index), ""), index)
            for member, content in members:
                _put(out, member, content)
            out.write(_END)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _unusable(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


class TransferFile:
    """A transfer that is read. What is in it is believed by its index only, which the caller verifies first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _unusable(path, error) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise BundleError("TRANSFER_MALFORMED", "not a regular file", where=str(path))
        self._file = os.fdopen(descriptor, "rb")
        self._places: dict[str, tuple[int, Member]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def index(self) -> bytes:
        """Return the index, which nobody has verified yet."""
        raw = self._file.read(_BLOCK)
        digits = raw[124:135]
        size = int(digits, 8) if len(digits) == 11 and not digits.strip(b"01234567") else -1
        if size < 0 or raw != header(INDEX, size):
            raise BundleError("TRANSFER_MALFORMED", "it does not begin with an index", where=str(self._path))
        if size > MAX_INDEX:
            raise BundleError("TRANSFER_TOO_LARGE", f"an index of {size} bytes", where=INDEX)
        return b"".join(_chunks(self._file, size, INDEX))

    def verify(self, index: TransferIndex) -> None:
        """Read all of it once: exactly these members, in this order, with these digests, and nothing behind them."""
        self._padding(INDEX)
        for member in index.members:
            if self._file.read(_BLOCK) != header(member.name, member.size):
                raise BundleError("TRANSFER_MALFORMED", "another member than the index names", where=member.name)
            self._places[member.name] = (self._file.tell(), member)
            digest = hashlib.sha256()
            for chunk in _chunks(self._file, member.size, member.name):
                digest.update(chunk)
            if digest.hexdigest() != member.sha256:
                raise BundleError("TRANSFER_HASH", "not the content that the index names", where=member.name)
            self._padding(member.name)
        if self._file.read(len(_END) + 1) != _END:
            raise BundleError("TRANSFER_MALFORMED", "something follows that the index does not name")

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of a member that was verified; raises BundleError at its end if it changed meanwhile."""
        start, member = self._places[name]
        self._file.seek(start)
        digest = hashlib.sha256()
        for chunk in _chunks(self._file, member.size, name):
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != member.sha256:
            raise BundleError("TRANSFER_HASH", "it changed while it was read", where=name)

    def content(self, name: str) -> bytes:
        """Return the content of a member that was verified."""
        return b"".join(self.chunks(name))

    def _padding(self, name: str) -> None:
        rest = -self._file.tell() % _BLOCK
        if self._file.read(rest) != bytes(rest):
            raise BundleError("TRANSFER_MALFORMED", "not filled up with zeros", where=name)


def _put(out: BinaryIO, member: Member, content: Content) -> None:
    out.write(header(member.name, member.size))
    digest = hashlib.sha256()
    if isinstance(content, bytes):
        digest.update(content)
        out.write(content)
    else:
        with _source(content) as file:
            for chunk in _chunks(file, member.size, member.name):
                digest.update(chunk)
                out.write(chunk)
    if member.sha256 and digest.hexdigest() != member.sha256:
        raise BundleError("TRANSFER_HASH", "it changed while it was read", where=member.name)
    out.write(bytes(-member.size % _BLOCK))


def _chunks(file: BinaryIO, size: int, name: str) -> Iterator[bytes]:
    while size:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            raise BundleError("TRANSFER_MALFORMED", "it ends too early", where=name)
        size -= len(chunk)
        yield chunk


def _whole_lines(file: BinaryIO) -> int:
    """How many bytes end with the last newline; the file stands at its beginning afterwards."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _CHUNK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    file.seek(0)
    return end


@contextmanager
def _source(path: Path) -> Iterator[BinaryIO]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(path, error) from None
    with open(descriptor, "rb") as file:
        yield file


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError((Problem(code="TRANSFER_FILE", message=str(error.strerror), where=str(path)),))
