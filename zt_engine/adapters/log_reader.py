"""Read a decision log and its checkpoints from folders, for an auditor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from zt_engine.adapters.log_recovery import segments
from zt_engine.core.decision_log import MAX_LINE, LogSegment, parse_segment_name, segment_name
from zt_engine.core.errors import InputError

_INPUT_START = b'{"input_digest":"'
_INPUT_MIDDLE = b'","input":'
_DIGEST_END = len(_INPUT_START) + 64
_INPUT_AT = _DIGEST_END + len(_INPUT_MIDDLE)
_SYSLOG_MARK = b'{"checkpoint":'


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file with their newlines; only a last one may lack it. One that is far too long comes as empty."""
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE):
            if line.endswith(b"\n") or len(line) < MAX_LINE:
                yield line
                continue
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE)
            yield b"\n"


class Companion:
    """The inputs beside one segment, found by digest; the index is built at the first question."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index: dict[bytes, tuple[int, int]] | None = None

    def find(self, digest: str) -> bytes | None:
        """The canonical bytes kept under `digest`, unverified; None when there are none."""
        if self._index is None:
            self._index = self._build()
        place = self._index.get(digest.encode())
        if place is None:
            return None
        with self._path.open("rb") as file:
            file.seek(place[0])
            return file.read(place[1])

    def _build(self) -> dict[bytes, tuple[int, int]]:
        index: dict[bytes, tuple[int, int]] = {}
        if not self._path.exists():
            return index
        with self._path.open("rb") as file:
            offset = 0
            for line in file:
                middle = line[_DIGEST_END:_INPUT_AT]
                if line.startswith(_INPUT_START) and middle == _INPUT_MIDDLE and line.endswith(b"}\n"):
                    digest = line[len(_INPUT_START) : _DIGEST_END]
                    index.setdefault(digest, (offset + _INPUT_AT, len(line) - _INPUT_AT - 2))
                offset += len(line)
        return index


def read_log(folders: Sequence[Path], *, inputs: Path | None = None) -> list[LogSegment]:
    """Every segment of one log, which may lie in several folders when retention moves files to an archive."""
    found: list[LogSegment] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError("LOG_FOLDER_UNREADABLE", "no such folder", where=str(folder))
        for path in segments(folder):
            name = parse_segment_name(path.name)
            assert name is not None
            companion = segment_name(name.chain, name.first, kind="inputs")
            places = [place / companion for place in (inputs or folder / "inputs", folder)]
            segment = LogSegment(
                name=path.name,
                chain=name.chain,
                first=name.first,
                lines=partial(read_lines, path),
                find_input=Companion(next((place for place in places if place.exists()), places[0])).find,
            )
            found.append(segment)
    return sorted(found, key=lambda segment: (segment.chain, segment.first))


def read_checkpoints(places: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Checkpoint lines with their `file:line`, from directories that a sink filled or from syslog files."""
    for place in places:
        if place.is_dir():
            for path in sorted(place.glob("checkpoints-*.jsonl")):
                yield from ((f"{path.name}:{number}", line) for number, line in enumerate(read_lines(path), 1))
        elif place.is_file():
            for number, line in enumerate(read_lines(place), 1):
                if _SYSLOG_MARK in line:
                    yield f"{place.name}:{number}", line
        else:
            raise InputError("LOG_FOLDER_UNREADABLE", "no such file or folder", where=str(place))
