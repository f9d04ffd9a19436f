"""Decision logs of OPA clients as files: a folder for each client, a line for each event, the oldest file goes first.

Each client has a quota of its own, so one that floods loses its own past and nobody else's.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from zt_engine.core.errors import UnavailableError

FILE_BYTES: Final = 16 << 20
QUOTA_BYTES: Final = 256 << 20
_CLIENT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class OpaLogFiles:
    """For use by many threads."""

    def __init__(self, folder: Path, *, file_bytes: int = FILE_BYTES, quota_bytes: int = QUOTA_BYTES) -> None:
        """`quota_bytes` are each client's."""
        self._folder = folder
        self._file_bytes = file_bytes
        self._quota_bytes = quota_bytes
        self._lock = threading.Lock()

    def append(self, client: str, lines: Sequence[bytes], *, now: int) -> None:
        """Add lines; they are on the disk on return. UnavailableError OPA_LOG_FULL."""
        if _CLIENT.fullmatch(client) is None:
            raise ValueError(client)
        with self._lock:
            try:
                self._append(self._folder / client, b"".join(line + b"\n" for line in lines), now)
            except OSError as error:
                raise UnavailableError("OPA_LOG_FULL", str(error.strerror)) from error

    def _append(self, folder: Path, text: bytes, now: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Their names are numbers of equal length, so the order of names is that of time.
        files = sorted(path for path in folder.iterdir() if path.suffix == ".jsonl")
        sizes = {path: path.stat().st_size for path in files}
        current = files[-1] if files else folder / _name(now, 0)
        if sizes.get(current, 0) and sizes[current] + len(text) > self._file_bytes:
            current = folder / _name(max(now, int(current.stem[:12])), int(current.stem[13:]) + 1)
        kept = sum(sizes.values()) + len(text)
        for path in files:
            if kept <= self._quota_bytes or path == current:
                break
            path.unlink()
            kept -= sizes[path]
        descriptor = os.open(current, _NEW, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            try:
                _write(descriptor, text)
                os.fsync(descriptor)
            except OSError:
                # The client sends it again: half of it would stand there twice.
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)


def _write(descriptor: int, text: bytes) -> None:
    rest = memoryview(text)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _name(now: int, number: int) -> str:
    return f"{now:012d}-{number:08d}.jsonl"
