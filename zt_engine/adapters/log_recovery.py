"""What a starting process finds in the log folder: the head of the chain before it, and perhaps a torn end."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep

import msgspec

from zt_engine.adapters.log_files import PRIVATE_FILE, Files, give_back, private_folder
from zt_engine.core.decision_log import Predecessor, Recovered, line_hash, link_of, parse_segment_name
from zt_engine.core.errors import UnavailableError

_STAMP = "%Y%m%dT%H%M%S"
_LOCK_PATIENCE = 5.0


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the folder before this process adds to it."""

    predecessor: Predecessor | None
    recovered: tuple[Recovered, ...]


def segments(folder: Path, *, kind: str = "decisions") -> list[Path]:
    """The segment files of a folder in the order of the log."""
    named = [(parse_segment_name(path.name, kind=kind), path) for path in folder.iterdir()]
    return [path for name, path in sorted((name, path) for name, path in named if name is not None)]


def alive(path: Path) -> bool:
    """Whether a process holds this file open for appending."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def opening(folder: Path) -> Iterator[None]:
    """Only one process at a time may open a chain: each must see the one before it, or two would name the same head."""
    fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
    try:
        patience = monotonic() + _LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() > patience:
                    raise UnavailableError(
                        "LOG_UNAVAILABLE", "another process is opening this log and does not finish", where=str(folder)
                    ) from None
                sleep(0.02)
        yield
    finally:
        os.close(fd)


def recover(folder: Path, files: Files) -> Found:
    """Find the newest chain's head; cut off and set aside a torn end if its process is gone.

    Only bytes that are no whole line are touched, and they are kept under `torn/`. A line that is whole but wrong is
    evidence, not damage: it stays, and `zt audit verify` reports it.
    """
    for draft in folder.glob(".new-*"):
        if not alive(draft):
            draft.unlink()
    recovered: list[Recovered] = []
    for path in reversed(segments(folder)):
        name = parse_segment_name(path.name)
        assert name is not None
        live = alive(path)
        good, last = _last_line(path)
        size = path.stat().st_size
        if not live and good < size:
            recovered.append(_set_aside(path, good, files))
        if last is not None:
            link = link_of(last)
            assert link is not None
            head = Predecessor(chain=name.chain, seq=link.seq, hash=line_hash(last).decode(), live=live)
            return Found(predecessor=head, recovered=tuple(recovered))
        if not live:
            path.unlink()  # nothing of it was a line, and its bytes are under torn/
    return Found(predecessor=None, recovered=tuple(recovered))


def give_back_all(folder: Path, *, kind: str) -> None:
    """Free what crashed processes had allocated ahead."""
    for path in segments(folder, kind=kind):
        if not alive(path):
            give_back(path)


def _last_line(path: Path) -> tuple[int, bytes | None]:
    """Where the last whole line ends, and that line."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return 0, None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            end = len(content)
            while (newline := content.rfind(b"\n", 0, end)) >= 0:
                start = content.rfind(b"\n", 0, newline) + 1
                line = content[start:newline]
                if link_of(line) is not None:
                    return newline + 1, line
                end = newline
    return 0, None


def _set_aside(path: Path, good: int, files: Files) -> Recovered:
    torn = private_folder(path.parent / "torn")
    with path.open("rb+") as file:
        file.seek(good)
        rest = file.read()
        kept = torn / f"{path.name}.{good}"
        kept.unlink(missing_ok=True)
        fd = files.create(kept)
        try:
            done = 0
            while done < len(rest):
                done += files.write(fd, memoryview(rest)[done:])
            files.sync(fd)
        finally:
            os.close(fd)
        files.truncate(file.fileno(), good)
        files.sync(file.fileno())
    return Recovered(segment=path.name, bytes=len(rest), sha256=sha256(rest).hexdigest())


def chain_name(now: float, after: str | None, entropy: bytes) -> str:
    """A name that sorts behind the chain before it, even when the clock was set back."""
    started = datetime.fromtimestamp(now, UTC)
    stamp = _stamped(started)
    if after is not None and stamp <= (newest := after.partition("-")[0]):
        second, millisecond = newest[:15], int(newest[15:18])
        started = datetime.strptime(second, _STAMP).replace(tzinfo=UTC) + timedelta(milliseconds=millisecond + 1)
        stamp = _stamped(started)
    return f"{stamp}-{entropy.hex()}"


def _stamped(moment: datetime) -> str:
    return f"{moment.strftime(_STAMP)}{moment.microsecond // 1000:03d}Z"
