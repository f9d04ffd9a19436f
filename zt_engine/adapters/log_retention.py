"""Quota of the decision log: which files may go, and taking them away after the chain has said so.

Deleting is a legal act only if an auditor can tell it from tampering. So the note comes first, is signed with a
checkpoint, and only then the files go. Only anchored files qualify: a file that no signature covers yet is the one an
investigator would miss most.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from zt_engine.adapters.log_notices import Notice, Notices
from zt_engine.adapters.log_recovery import alive, segments
from zt_engine.adapters.log_settings import LogSettings
from zt_engine.core.decision_event import timestamp
from zt_engine.core.decision_log import (
    Floor,
    RemovedSegment,
    SegmentName,
    SegmentsRemoved,
    parse_segment_name,
    segment_name,
)

_LOOK_EVERY = 60.0


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """Files to take away, oldest first, and where the log begins afterwards."""

    files: tuple[RemovedSegment, ...]
    floor: Floor


class Retention:
    """Keeps decisions and inputs together under a quota, and no file longer than `keep_seconds` if that is set."""

    def __init__(self, settings: LogSettings, *, inputs: Path, notices: Notices) -> None:
        self._folder = settings.folder
        self._inputs = inputs
        self._quota = settings.quota_bytes
        self._keep_seconds = settings.keep_seconds
        self._moved_to = settings.moved_to
        self._notices = notices
        self._announced: tuple[Removal, Notice] | None = None
        self._looked_at = -_LOOK_EVERY
        self._looked_generation = -1
        self.total_bytes = 0

    def step(self, *, own: str, generation: int, anchored: int, now: float) -> None:
        """Announce a removal, or carry out the announced one once a checkpoint covers the announcement.

        Looks at the folder when a file was added since the last look, when it is too full, and once a minute.
        """
        if self._announced is not None:
            removal, notice = self._announced
            if 0 <= notice.seq < anchored:
                self._execute(removal)
                self._announced = None
            return
        full = self.total_bytes > self._quota
        if not full and generation == self._looked_generation and abs(now - self._looked_at) < _LOOK_EVERY:
            return
        self._looked_at, self._looked_generation = now, generation
        if (plan := self.plan(own=own, anchored=anchored, now=now)) is not None:
            record = SegmentsRemoved(
                at=timestamp(now),
                action="deleted" if self._moved_to is None else "archived",
                segments=plan.files,
                floor=plan.floor,
            )
            self._announced = plan, self._notices.add(record)

    def plan(self, *, own: str, anchored: int, now: float) -> Removal | None:
        """What has to go now; None when nothing has to or may. `own` is the chain of this process."""
        paths = segments(self._folder)
        names = [name for path in paths if (name := parse_segment_name(path.name)) is not None]
        sizes = [self._size(name) for name in names]
        self.total_bytes = total = sum(sizes)
        if anchored < 1:
            return None
        living = {name.chain for path, name in zip(paths, names, strict=True) if name.chain != own and alive(path)}
        gone: list[RemovedSegment] = []
        for position, (path, name) in enumerate(zip(paths[:-1], names[:-1], strict=True)):
            old = self._keep_seconds is not None and path.stat().st_mtime < now - self._keep_seconds
            if not (old or total > self._quota) or name.chain in living:
                break
            # Every dead chain is anchored through ours, whose first line names the head of the one before it.
            if name.chain == own and names[position + 1].first > anchored:
                break
            gone.append(RemovedSegment(name=path.name, bytes=sizes[position]))
            total -= sizes[position]
        if not gone:
            return None
        first = names[len(gone)]
        return Removal(files=tuple(gone), floor=Floor(chain=first.chain, seq=first.first))

    def _execute(self, removal: Removal) -> None:
        for segment in removal.files:
            name = parse_segment_name(segment.name)
            assert name is not None
            for path in self._files_of(name):
                if self._moved_to is None:
                    path.unlink(missing_ok=True)
                elif path.exists():
                    shutil.move(path, self._moved_to / path.name)

    def _size(self, name: SegmentName) -> int:
        return sum(path.stat().st_size for path in self._files_of(name) if path.exists())

    def _files_of(self, name: SegmentName) -> tuple[Path, Path]:
        companion = segment_name(name.chain, name.first, kind="inputs")
        return self._inputs / companion, self._folder / segment_name(name.chain, name.first)
