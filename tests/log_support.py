"""Decision logs for tests: a fixed key, a clock that is set, and a file layer that fails on request."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from zt_engine.adapters.log_checkpoints import CheckpointKeys, CheckpointPublisher, CheckpointSink, DirectorySink
from zt_engine.adapters.log_files import Files
from zt_engine.adapters.log_reader import read_checkpoints, read_log
from zt_engine.adapters.log_segments import DecisionLog
from zt_engine.adapters.log_settings import LogSettings
from zt_engine.authoring.audit import verify
from zt_engine.authoring.audit_report import AuditReport

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = CheckpointKeys([KEY.public_key()])


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1790000000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FailingFiles(Files):
    """The real file system, failing on request: `error` fails every write, `space` is what may still be written.

    `short` writes at most so many bytes a call, as a signal or a full disk may.
    """

    def __init__(self) -> None:
        self.error = 0
        self.sync_error = 0
        self.truncate_error = 0
        self.space: int | None = None
        self.short: int | None = None
        self.writes = 0
        self.syncs = 0

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self.writes += 1
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        if self.space is not None:
            if self.space <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[: self.space]
        if self.short is not None:
            data = data[: self.short]
        done = super().write(fd, data)
        if self.space is not None:
            self.space -= done
        return done

    def sync(self, fd: int) -> None:
        self.syncs += 1
        if self.sync_error:
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        super().sync(fd)

    def truncate(self, fd: int, size: int) -> None:
        if self.truncate_error:
            raise OSError(self.truncate_error, os.strerror(self.truncate_error))
        super().truncate(fd, size)


def open_log(
    root: Path,
    *,
    files: Files | None = None,
    clock: Callable[[], float] | None = None,
    sinks: Sequence[CheckpointSink] | None = None,
    segment_bytes: int = 1 << 20,
    segment_seconds: float = 3600.0,
    quota_bytes: int = 1 << 30,
    keep_seconds: float | None = None,
    moved_to: Path | None = None,
    reserve_bytes: int = 1 << 16,
    remembered_inputs: int = 1000,
) -> DecisionLog:
    """A log under `root/log` whose checkpoints go to `root/checkpoints`."""
    (root / "checkpoints").mkdir(exist_ok=True)
    settings = LogSettings(
        folder=root / "log",
        sidecar="s1",
        segment_bytes=segment_bytes,
        segment_seconds=segment_seconds,
        quota_bytes=quota_bytes,
        keep_seconds=keep_seconds,
        moved_to=moved_to,
        reserve_bytes=reserve_bytes,
        remembered_inputs=remembered_inputs,
    )
    if sinks is None:
        sinks = [DirectorySink(root / "checkpoints", log_folder=root / "log")]
    publisher = CheckpointPublisher(KEY, sinks, sidecar="s1")
    return DecisionLog(settings, publisher=publisher, clock=clock or Clock(), files=files)


def audit(root: Path, *more: Path) -> AuditReport:
    """What `zt audit verify` would say about `root`."""
    segments = read_log([root / "log", *more])
    return verify(segments, read_checkpoints([root / "checkpoints"]), genuine=KEYS.verify)


def event(name: str, *, digest: str | None = None) -> bytes:
    """The body of a small event."""
    tail = b',"input_digest":"%b"' % digest.encode() if digest is not None else b""
    return b'"ts":"2026-09-21T14:13:20.000Z","decision_id":"%b"%b' % (name.encode(), tail)
