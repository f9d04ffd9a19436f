"""What a sidecar was told, on its disk as it was received: signed parts of a snapshot, and the batches behind it.

Everything is verified again when it is read. A new snapshot replaces the old one by a rename; a batch is one line more
of a file. Nothing here is waited for: what a power cut takes is sent again from the cursor. One thread writes.

A key of the stream that was taken out counts here until nothing that is kept was signed by it: for what lies here,
which was believed when it came, and for nothing that comes.

    snapshot.jws  batches.jws  watermark.jws  clock.json  former-keys.json
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import structlog

from zt_engine.adapters.job_thread import Job, JobThread
from zt_engine.adapters.owned_files import UnownedError, examine, opened_folder, read_owned
from zt_engine.core.errors import Problem
from zt_engine.core.stream import MAX_MESSAGE_BYTES

log = structlog.get_logger()

SNAPSHOT, BATCHES, WATERMARK, CLOCK = "snapshot.jws", "batches.jws", "watermark.jws", "clock.json"
FORMER = "former-keys.json"
LOCK = "lock"
MODE = 0o600
SMALL = 16 << 20
FORMER_BYTES = 64 << 10
WATERMARK_EVERY = 5
"""Of the watermarks that come, each fifth is kept."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Anchor(msgspec.Struct, frozen=True):
    """What time it was at the control plane when this machine started, and which start that was."""

    boot: str
    zero: float


class FormerKeys(msgspec.Struct, frozen=True):
    """Keys of the stream (JWKs by their ids) that were taken out while this sidecar was that member."""

    member: str
    keys: Mapping[str, Mapping[str, str]]


class Stored(msgspec.Struct, frozen=True):
    """One message as it was kept; `start` is where it stands in its file."""

    kind: str
    raw: bytes
    start: int


class ReplicaDisk:
    """One folder. `Keep` of `sidecar.sync`; nothing it does raises, `problem` says what does not work."""

    def __init__(self, folder: Path, *, member: str = "") -> None:
        """`member` is another one each time this sidecar joins: what was believed before that is believed no more."""
        self.problem: Problem | None = None
        self.former: Mapping[str, Mapping[str, str]] = {}
        """Keys that were taken out and may have signed what is kept; replaced as a whole."""
        self._outdated: frozenset[str] = frozenset()
        """Those by which nothing is signed in a snapshot that is being fetched."""
        self._member = member
        self._folder = folder
        self._jobs = JobThread("replica-disk", self._work)
        self._lock: int | None = None
        self._marks = 0
        self._covered: int | None = None
        """How much of the batches a snapshot that is being fetched will hold."""
        self._mark: int | None = None
        """How much of the batches there was when `mark` was called, as long as nothing has replaced them."""
        self._sizes = {SNAPSHOT: 0, BATCHES: 0}

    # -- reading, before anything is written

    def stored(self) -> Iterator[Stored]:
        """Yield what was kept, in the order it has to be taken: parts, batches, the newest watermark."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with opened_folder(self._folder) as folder:
                for name, kind in ((SNAPSHOT, "snapshot"), (BATCHES, "batch"), (WATERMARK, "watermark")):
                    yield from self._lines(folder, name, kind)
        except (OSError, UnownedError) as error:
            self._fault(error)

    def _lines(self, folder: int, name: str, kind: str) -> Iterator[Stored]:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return
        with open(descriptor, "rb") as file:
            examine(os.fstat(descriptor))
            start = 0
            while line := file.readline(MAX_MESSAGE_BYTES + 2):
                if not line.endswith(b"\n"):
                    break  # a write that a crash cut off
                yield Stored(kind, line[:-1], start)
                start += len(line)
                self._sizes[name] = start

    def anchor(self) -> float | None:
        """Return what is known of the time, if the machine has not been started since."""
        try:
            raw, _ = read_owned(self._folder / CLOCK, limit=1024)
            anchor = msgspec.json.decode(raw, type=Anchor)
        except (OSError, UnownedError, msgspec.DecodeError):
            return None
        return anchor.zero if anchor.boot == boot_id() != "" else None

    def read_former(self) -> Mapping[str, Mapping[str, str]]:
        """Return the keys, taken out since, that what is kept may be signed by; `former` are these from now on."""
        try:
            raw, _ = read_owned(self._folder / FORMER, limit=FORMER_BYTES)
            found = msgspec.json.decode(raw, type=FormerKeys)
        except (OSError, UnownedError, msgspec.DecodeError):
            return self.former
        if found.member == self._member:
            self.former = found.keys
        return self.former

    def cut(self, start: int) -> None:
        """Drop what was kept of batches from a place on: it does not hold."""
        self._sizes[BATCHES] = start
        self._jobs.do(lambda: os.truncate(self._folder / BATCHES, start))

    # -- writing

    def acquire(self) -> bool:
        """Become the one process that writes here; whether it is. Another one of this sidecar may be going."""
        if self._lock is not None:
            return True
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._folder / LOCK, flags, MODE)
        except OSError as error:
            self._fault(error)
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        if self.former:
            self._jobs.do(self._write_former)
        return True

    def release(self) -> None:
        """Let another process write, once what waits is written."""
        self._jobs.do(self._unlock)

    def _unlock(self) -> None:
        held, self._lock = self._lock, None
        if held is not None:
            os.close(held)

    @property
    def long(self) -> bool:
        """Whether so many batches are kept that a new snapshot would be shorter to read."""
        return self._sizes[BATCHES] > max(SMALL, self._sizes[SNAPSHOT] // 4)

    def part(self, raw: bytes, *, first: bool, last: bool) -> None:
        """Keep a part; the last one puts the snapshot in place of everything before."""
        self._jobs.do(lambda: self._write_part(raw, first=first, last=last))

    def _write_part(self, raw: bytes, *, first: bool, last: bool) -> None:
        size = self._gather(f"{SNAPSHOT}.new", raw, first=first, last=last)
        if last:
            # Batches that the snapshot has already are skipped when they are read; none that it lacks are in there.
            os.replace(self._folder / f"{SNAPSHOT}.new", self._folder / SNAPSHOT)
            self._replace(BATCHES, b"")
            self._sizes, self._covered, self._mark = {SNAPSHOT: size, BATCHES: 0}, None, None

    def _gather(self, name: str, raw: bytes, *, first: bool, last: bool) -> int:
        """Write a part behind those before it; return how long they are together."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if first else os.O_APPEND)
        with open(os.open(self._folder / name, flags, MODE), "wb") as file:
            file.write(raw + b"\n")
            if last:
                file.flush()
                os.fsync(file.fileno())
            return file.seek(0, os.SEEK_END)

    def mark(self) -> None:
        """Remember how far what is kept has come now."""

        def remember() -> None:
            self._mark = self._sizes[BATCHES]

        self._jobs.do(remember)

    def begin_fresh(self, *, without: frozenset[str] = frozenset(), marked: bool = False) -> None:
        """Say that a snapshot is fetched which has everything that was kept so far, or up to the mark.

        By the keys `without` nothing of it is signed, nor of what comes behind.
        """

        def begin() -> None:
            self._covered = self._mark if marked else self._sizes[BATCHES]
            self._outdated = without

        self._jobs.do(begin)

    def fresh(self, raw: bytes, *, first: bool, last: bool) -> None:
        """Keep a part of that snapshot; with the last one it takes the place of what it has, and the rest stays."""
        self._jobs.do(lambda: self._write_fresh(raw, first=first, last=last))

    def _write_fresh(self, raw: bytes, *, first: bool, last: bool) -> None:
        size = self._gather(f"{SNAPSHOT}.fresh", raw, first=first, last=last)
        covered, path = self._covered, self._folder / BATCHES
        if last and covered is not None:
            os.replace(self._folder / f"{SNAPSHOT}.fresh", self._folder / SNAPSHOT)
            rest = path.read_bytes()[covered:] if path.exists() else b""
            self._replace(BATCHES, rest)
            self._sizes, self._covered, self._mark = {SNAPSHOT: size, BATCHES: len(rest)}, None, None
            if self._outdated:
                self.former = {key_id: jwk for key_id, jwk in self.former.items() if key_id not in self._outdated}
                self._write_former()
                log.info("replica.signed_anew", without=sorted(self._outdated))

    def keys_left(self, keys: Mapping[str, Mapping[str, str]]) -> None:
        """Say which keys of the stream were taken out: what is kept may be signed by them."""

        def leave() -> None:
            self.former = {**self.former, **keys}
            if self._lock is not None:
                self._write_former()

        self._jobs.do(leave)

    def _write_former(self) -> None:
        self._replace(FORMER, msgspec.json.encode(FormerKeys(self._member, self.former)))

    def batch(self, raw: bytes) -> None:
        """Keep a batch."""
        self._jobs.do(lambda: self._append(raw))

    def _append(self, raw: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_APPEND
        with open(os.open(self._folder / BATCHES, flags, MODE), "ab") as file:
            file.write(raw + b"\n")
        self._sizes[BATCHES] += len(raw) + 1

    def watermark(self, raw: bytes) -> None:
        """Keep a watermark, now and then."""
        if self._marks % WATERMARK_EVERY == 0:
            self._jobs.do(lambda: self._replace(WATERMARK, raw + b"\n"))
        self._marks += 1

    def clock(self, zero: float) -> None:
        """Keep what is known of the time."""
        anchor = msgspec.json.encode(Anchor(boot_id(), zero))
        self._jobs.do(lambda: self._replace(CLOCK, anchor))

    def _replace(self, name: str, content: bytes) -> None:
        new = self._folder / f"{name}.new"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, MODE), "wb") as file:
            file.write(content)
        os.replace(new, self._folder / name)

    def _work(self, job: Job) -> None:
        try:
            job()
            self.problem = None
        except OSError as error:
            self._fault(error)
            # What is kept lacks something from now on, perhaps a revocation. Without a watermark it opens nothing
            # at the next start before the control plane was heard; removing a file works on a full disk as well.
            with contextlib.suppress(OSError):
                os.unlink(self._folder / WATERMARK)

    def _fault(self, error: OSError | UnownedError) -> None:
        text = error.message if isinstance(error, UnownedError) else str(error.strerror)
        if self.problem is None:
            log.error("replica.not_kept", problem=text, where=str(self._folder))
        self.problem = Problem(code="REPLICA_DISK", message=text, where=str(self._folder))

    def close(self) -> None:
        """Write what waits, and end."""
        self._jobs.close()
        self._unlock()


def boot_id() -> str:
    """Return what names this start of the machine; empty where that is not told."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
