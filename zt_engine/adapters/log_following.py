"""Follow the decision log of a running sidecar from beside it: inputs that are new, and the last decisions.

Only reads, and only what was written completely. What happens to the files (rotation, retention) is the sidecar's
business; a file that has gone is one that is not followed any more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

INPUTS: Final = "inputs-*.jsonl"
DECISIONS: Final = "decisions-*.jsonl"
CHUNK_BYTES: Final = 128 << 10
"""Read at once: some fifty inputs. More would push out of the caches what the sidecar has in them."""
LINE_BYTES: Final = 4 << 20
TAIL_BYTES: Final = 1 << 20
GLANCE_BYTES: Final = 64 << 10
"""A tail that is enough to see what decides now."""
SAMPLE: Final = 500
MAX_KNOWN: Final = 1_000_000


class NewInput(msgspec.Struct, frozen=True):
    """An input that was stored for the first time, under its digest."""

    digest: str
    document: msgspec.Raw


class _Line(msgspec.Struct):
    input_digest: str
    input: msgspec.Raw


class Decided(msgspec.Struct):
    """What is needed of a decision here."""

    decision_id: str
    latency_us: int = 0
    versions: dict[str, str | int] | None = None
    input_digest: str | None = None


_line: Final = msgspec.json.Decoder(_Line)
_decided: Final = msgspec.json.Decoder(Decided)


class LogFollower:
    """Follows one log folder from now on; what was in it before is passed over."""

    def __init__(self, folder: Path, *, inputs: Path | None = None) -> None:
        self._folder = folder
        self._inputs = inputs or folder / "inputs"
        self._offsets = {path: path.stat().st_size for path in sorted(self._inputs.glob(INPUTS))}
        self._known: set[bytes] = set()
        self.waiting = False
        """Whether there was more than was read the last time."""

    def new_inputs(self) -> list[NewInput]:
        """Return inputs that were not seen before, oldest first; some fifty of them at once."""
        found: list[NewInput] = []
        self.waiting = False
        paths = sorted(self._inputs.glob(INPUTS), key=_modified)
        for gone in self._offsets.keys() - set(paths):
            del self._offsets[gone]
        for path in paths:
            data = self._read(path)
            for text in data.splitlines():
                line = _line.decode(text)
                digest = bytes.fromhex(line.input_digest)
                if digest not in self._known:
                    if len(self._known) >= MAX_KNOWN:
                        self._known.clear()
                    self._known.add(digest)
                    found.append(NewInput(line.input_digest, line.input))
        return found

    def _read(self, path: Path) -> bytes:
        offset = self._offsets.setdefault(path, 0)
        try:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(CHUNK_BYTES)
                whole = len(data) == CHUNK_BYTES
                if whole and b"\n" not in data:
                    data += file.read(LINE_BYTES)
        except FileNotFoundError:
            return b""
        end = data.rfind(b"\n") + 1
        self._offsets[path] = offset + end
        self.waiting = self.waiting or (whole and end > 0)
        return data[:end]

    # -- the last decisions

    def tail(self, most: int = TAIL_BYTES) -> bytes:
        """Return the last complete lines of the newest segment, of so many bytes at most."""
        newest = max(self._folder.glob(DECISIONS), key=_modified, default=None)
        if newest is None:
            return b""
        try:
            with newest.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - most))
                data = file.read(most)
        except FileNotFoundError:
            return b""
        start = data.find(b"\n") + 1 if size > most else 0
        return data[start : data.rfind(b"\n") + 1]


def decisions(tail: bytes, *, most: int = SAMPLE) -> list[Decided]:
    """Return the last decisions of a tail, oldest first."""
    found = []
    for line in tail.splitlines()[-most:]:
        try:
            found.append(_decided.decode(line))
        except msgspec.DecodeError:  # a record about the log itself
            continue
    return found


def decision_of(tail: bytes, digest: str) -> str:
    """Return the id of a decision over an input, empty when it is not among the last."""
    at = tail.rfind(b'"input_digest":"' + digest.encode("ascii"))
    if at < 0:
        return ""
    start, end = tail.rfind(b"\n", 0, at) + 1, tail.find(b"\n", at)
    found = decisions(tail[start:end])
    return found[0].decision_id if found else ""


def p99(decided: list[Decided]) -> int:
    """Return the latency, in microseconds, that one of a hundred decisions exceeded."""
    latencies = sorted(one.latency_us for one in decided)
    return latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)] if latencies else 0


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
