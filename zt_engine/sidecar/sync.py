"""The replica follows the stream: messages in whatever order they come, a state that only moves forward.

A message is read and prepared, which changes nothing and may happen in a thread, and then committed, which is one
assignment between two requests. One message at a time: only a revocation ahead of its turn may come in between.

INVARIANT: nothing is applied that was not signed by a stream key for this tenant, and no event before the one ahead of
it. So after any repeats, losses and reorderings the state is the one in-order delivery would have given, or there is a
gap (STREAM_GAP), and the stream has to be asked for again from the position.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from zt_engine.core.bundle_signature import PublicKey
from zt_engine.core.errors import InputError, Problem
from zt_engine.core.lease import Lease
from zt_engine.core.lease import Reading as Clocks
from zt_engine.core.release import ReleaseNotice
from zt_engine.core.rollout import Place, Staged
from zt_engine.core.stream import Batch, SnapshotPart, Urgent, Watermark
from zt_engine.core.stream_signing import Position, unseal
from zt_engine.sidecar.events import (
    DeviceTold,
    EventReader,
    HeardTold,
    Readers,
    ReleaseTold,
    RevocationTold,
    StagedTold,
    SubjectTold,
    Told,
    subject_of,
)
from zt_engine.sidecar.replica import Changes, Heard, Records, Replica, SubjectKey
from zt_engine.sidecar.session_events import SessionTold
from zt_engine.sidecar.standing import NOWHERE, Standing

MAX_PARTS = 4096
MAX_PROBLEMS = 100
WATERMARKS = 64
"""How many that are not reached yet are remembered: a minute of them."""
NOTICES = 64
"""How many releases are remembered."""
MISMATCHES = 3
"""So many watermarks in a row under which other things are revoked than here, and everything is asked for again."""


class Keep(Protocol):
    """Where what was believed is kept for the next start, as it was received."""

    def part(self, raw: bytes, *, first: bool, last: bool) -> None:
        """Keep a part of a snapshot; it replaces everything once the last one is there."""
        ...

    def batch(self, raw: bytes) -> None:
        """Keep a batch that follows what is kept."""
        ...

    def watermark(self, raw: bytes) -> None:
        """Keep the newest watermark."""
        ...


class KeepNothing:
    """For whoever begins anew each time."""

    def part(self, raw: bytes, *, first: bool, last: bool) -> None:
        """Forget it."""

    def batch(self, raw: bytes) -> None:
        """Forget it."""

    def watermark(self, raw: bytes) -> None:
        """Forget it."""


class Prepared(msgspec.Struct, frozen=True):
    """A message with everything it says, read."""

    message: Batch | SnapshotPart | Urgent | Watermark
    raw: bytes
    tolds: tuple[Told, ...] = ()
    problems: tuple[tuple[str, Problem], ...] = ()
    """Each with what it is about."""
    records: Records | None = None
    """What the records become by a batch; they rest on those before, so nothing else may change them meanwhile."""


KINDS: Mapping[str, type[Batch | SnapshotPart | Urgent | Watermark]] = {
    "batch": Batch,
    "snapshot": SnapshotPart,
    "urgent": Urgent,
    "watermark": Watermark,
}


class Sync:
    """Keeps a replica equal to what the stream says, and the lease running while it is."""

    def __init__(
        self,
        *,
        tenant: str,
        keys: Mapping[str, PublicKey],
        readers: Readers,
        replica: Replica,
        lease: Lease,
        keep: Keep,
        bundle_seq: Callable[[], int] = lambda: 0,
        place: Place = NOWHERE,
    ) -> None:
        """`place` is where this sidecar stands: what is staged decides here when its turn has come there."""
        self.position = Position()
        self.keys = keys
        self.problems: dict[str, Problem] = {}
        """What was left out of force, by what it is about."""
        self.snapshot_wanted = False
        """Whether what is here cannot be relied on, so that everything has to be asked for again."""
        self._tenant = tenant
        self._reader = EventReader(tenant, readers)
        self._replica = replica
        self._lease = lease
        self.keep = keep
        self._bundle_seq = bundle_seq
        self._place = place
        self._standing = Standing(place)
        self._begun = False
        """Whether anything complete was ever taken up."""
        self._parts: list[Prepared] = []
        self._urgent: dict[int, RevocationTold] = {}
        self._marks: deque[Watermark] = deque(maxlen=WATERMARKS)
        self._mismatches = 0
        self._notices: dict[int, ReleaseNotice] = {}
        self.minimum_release = 0
        """The oldest release that may decide, as the newest watermark says."""
        replica.situation = self._standing.situation

    def take(self, kind: str, raw: bytes, clocks: Clocks) -> None:
        """Read, prepare and commit one message; raises InputError STREAM_* for what is refused."""
        self.commit(self.prepare(kind, raw), clocks)

    # -- in any thread

    def prepare(self, kind: str, raw: bytes) -> Prepared:
        """Verify and read a message; changes nothing."""
        message = unseal(raw, KINDS[kind], self.keys, tenant=self._tenant)
        problems: list[tuple[str, Problem]] = []
        match message:
            case Batch():
                self.position.after(message)
                fresh = [event for event in message.events if event.seq > self.position.seq]
                tolds = self._read([(event.type, event.data, f"event {event.seq}") for event in fresh], problems)
                records = follow(self._replica.state.records, tolds)
                return Prepared(message, raw, tolds, tuple(problems), records)
            case SnapshotPart():
                where = f"part {message.part}"
                tolds = self._read([(event.type, event.data, where) for event in message.events], problems)
                return Prepared(message, raw, tolds, tuple(problems))
            case Urgent():
                self.position.fenced(message.fence)
                return Prepared(message, raw, (self._reader.revocation(bytes(message.data), "urgent"),))
        return Prepared(message, raw)

    def _read(
        self, events: Sequence[tuple[str, msgspec.Raw, str]], problems: list[tuple[str, Problem]]
    ) -> tuple[Told, ...]:
        tolds = []
        for type_, data, where in events:
            found: list[Problem] = []
            told = self._reader.read(type_, bytes(data), where, found)
            tolds.append(told)
            problems += [(subject_of(told), problem) for problem in found[:1]]
        return tuple(tolds)

    # -- between two requests

    def commit(self, prepared: Prepared, clocks: Clocks) -> None:
        """Take up what was prepared; raises InputError STREAM_* when it is refused after all."""
        match prepared.message:
            case Batch() as batch:
                self._take_batch(batch, prepared, clocks)
            case SnapshotPart() as part:
                self._take_part(part, prepared, clocks)
            case Urgent() as urgent:
                self._take_urgent(urgent, prepared, clocks)
            case Watermark() as watermark:
                self._take_watermark(watermark, prepared.raw, clocks)

    def _take_batch(self, batch: Batch, prepared: Prepared, clocks: Clocks) -> None:
        position = self.position.after(batch)
        for told in prepared.tolds:
            self.problems.pop(subject_of(told), None)
        self._note(prepared.problems)
        self._standing.take(prepared.tolds)
        self._hear(prepared.tolds)
        self._begun = True
        records = prepared.records if prepared.records is not None else self._replica.state.records
        self._adopt(records, clocks)
        self.position = position
        self._urgent = {seq: told for seq, told in self._urgent.items() if seq > position.seq}
        self.keep.batch(prepared.raw)
        self._reach(clocks)

    def _take_part(self, part: SnapshotPart, prepared: Prepared, clocks: Clocks) -> None:
        self.position.behind(part)
        if part.part == 1:
            self._parts.clear()
        first = self._parts[0].message if self._parts else part
        same = isinstance(first, SnapshotPart) and (first.fence, first.seq, first.of) == (part.fence, part.seq, part.of)
        if not same or part.part != len(self._parts) + 1 or part.of > MAX_PARTS:
            self._parts.clear()
            raise InputError("STREAM_SNAPSHOT", f"part {part.part} of {part.of} does not follow the one before it")
        # What was read is kept, not what it was read from: that may be a hundred megabytes.
        bare = msgspec.structs.replace(part, events=())
        self._parts.append(msgspec.structs.replace(prepared, message=bare, raw=b""))
        self.keep.part(prepared.raw, first=part.part == 1, last=part.part == part.of)
        if part.part == part.of:
            parts, self._parts = self._parts, []
            self._begin(part, parts, clocks)

    def _begin(self, last: SnapshotPart, parts: list[Prepared], clocks: Clocks) -> None:
        """Replace everything by a complete snapshot; a record that is equal keeps its identity."""
        position = self.position.behind(last)
        tolds = [told for part in parts for told in part.tolds]
        self.problems.clear()
        self._note([problem for part in parts for problem in part.problems])
        self._standing = Standing(self._place)
        self._standing.take(tolds)
        self._notices.clear()
        self._hear(tolds)
        self._urgent = {seq: told for seq, told in self._urgent.items() if seq > position.seq}
        for urgent in self._urgent.values():
            self._standing.ahead(urgent)
        records = self._replica.state.records.becoming(
            (told.record for told in tolds if isinstance(told, DeviceTold) and told.record is not None),
            (told.record for told in tolds if isinstance(told, SubjectTold) and told.record is not None),
            (told.record for told in tolds if isinstance(told, SessionTold) and told.record is not None),
        )
        self._begun = True
        self._adopt(records, clocks)
        if position.seq < self.position.seq:
            self._marks.clear()
        self.position, self.snapshot_wanted, self._mismatches = position, False, 0
        self._reach(clocks)

    def _take_urgent(self, urgent: Urgent, prepared: Prepared, clocks: Clocks) -> None:
        self.position = self.position.fenced(urgent.fence)
        told = prepared.tolds[0]
        if urgent.seq <= self.position.seq or not isinstance(told, RevocationTold):
            return
        self._urgent[urgent.seq] = told
        self._standing.ahead(told)
        self._adopt(self._replica.state.records, clocks)

    def _take_watermark(self, watermark: Watermark, raw: bytes, clocks: Clocks) -> None:
        if watermark.fence > self.position.fence:
            self._marks.clear()
        self.position = self.position.at(watermark)
        self.minimum_release = watermark.min_bundle_seq
        self._marks.append(watermark)
        self.keep.watermark(raw)
        self._reach(clocks)

    def _reach(self, clocks: Clocks) -> None:
        """Let the lease run from the newest watermark that what is here is not behind of."""
        reached = None
        while self._marks and self._marks[0].seq <= self.position.seq:
            reached = self._marks.popleft()
        if reached is None or reached.min_bundle_seq > self._bundle_seq() or self.snapshot_wanted:
            return
        if reached.seq == self.position.seq and not self._agrees(reached):
            return
        self._lease.renew(reached.issued_at, clocks)

    def _agrees(self, watermark: Watermark) -> bool:
        if watermark.revocations_digest == self._standing.revocations.digest(watermark.issued_at):
            self._mismatches = 0
            self.problems.pop("revocations", None)
            return True
        self._mismatches += 1
        if self._mismatches >= MISMATCHES:
            self.snapshot_wanted = True
            message = "other things are revoked here than the watermark says"
            self._note([("revocations", Problem(code="STREAM_REVOCATIONS", message=message))])
        return False

    def _adopt(self, records: Records, clocks: Clocks) -> None:
        state, situation = self._replica.state, self._standing.situation
        if not self._begun:
            self._replica.situation = situation
        elif records is not state.records or situation is not state.situation or self._replica.loaded_at is None:
            self._replica.adopt(records, situation, now=clocks.wall)

    def _note(self, problems: Sequence[tuple[str, Problem]]) -> None:
        for about, problem in problems[:MAX_PROBLEMS]:
            if about in self.problems or len(self.problems) < MAX_PROBLEMS:
                self.problems[about] = problem

    # -- releases

    def _hear(self, tolds: Sequence[Told]) -> None:
        for told in tolds:
            match told:
                case ReleaseTold(notice=ReleaseNotice() as notice) | StagedTold(release=ReleaseNotice() as notice):
                    self._notices[notice.seq] = notice
        for old in sorted(self._notices)[:-NOTICES]:
            del self._notices[old]

    def releases(self) -> list[ReleaseNotice]:
        """Return the releases that were told and whose turn it is here, the newest first. None of them is verified."""
        newest = sorted(self._notices.items(), reverse=True)
        return [notice for _, notice in newest if self.in_force(notice.staged)]

    # -- staged rollouts

    def in_force(self, staged: Staged | None) -> bool:
        """Whether what came with this plan decides here; None: it was told to everybody."""
        return staged is None or self._standing.rollouts.active(staged.ref_seq, self._place)

    def taken_back(self, staged: Staged) -> bool:
        """Whether a rollout was aborted."""
        known = self._standing.rollouts.known.get(staged.ref_seq)
        return known is not None and known.aborted

    def moved(self, place: Place, clocks: Clocks) -> None:
        """Stand somewhere else from now on."""
        if place != self._place:
            self._place = place
            self._standing.moved(place)
            self._adopt(self._replica.state.records, clocks)

    # -- other approvers

    def reread(self, readers: Readers, clocks: Clocks) -> None:
        """Judge again what approvers signed, under others."""
        self._reader = EventReader(self._tenant, readers)
        found: list[Problem] = []
        self._standing.reread(
            lambda raw: self._reader.grant(raw, "grant", found),
            lambda raw: self._reader.continuity(raw, "continuity", found),
        )
        self._note([("grants", problem) for problem in found[:1]])
        self._adopt(self._replica.state.records, clocks)


def follow(records: Records, tolds: Sequence[Told]) -> Records:
    """Return the records after events, in order; one that is older than what is known brings nothing.

    What reports confirm is gathered between two changes of records, so that the tables are copied as seldom as can be.
    """
    devices: dict[str, object] = {}
    subjects: dict[SubjectKey, object] = {}
    sessions: dict[str, object] = {}
    heard: dict[str, Heard] = {}

    def gathered(before: Records) -> Records:
        changed = devices or subjects or sessions
        after = before.changed(Changes(devices, subjects, sessions)) if changed else before  # type: ignore[arg-type]
        after = after.renewed(heard) if heard else after
        for told in (devices, subjects, sessions, heard):
            told.clear()
        return after

    for told in tolds:
        match told:
            case DeviceTold():
                if heard:
                    records = gathered(records)
                known = devices.get(told.device_id, records.devices.get(told.device_id))
                if _brings(known, told.record):
                    devices[told.device_id] = told.record
            case SubjectTold():
                if _brings(subjects.get(told.key, records.subjects.get(told.key)), told.record):
                    subjects[told.key] = told.record
            case SessionTold():
                # One that has ended stays ended: its handle is never given out again.
                known = sessions.get(told.sid, records.sessions.get(told.sid))
                if _brings(known, told.record):
                    sessions[told.sid] = told.record
            case HeardTold():
                heard.update(told.heard)
    return gathered(records)


def _brings(known: object, record: object) -> bool:
    """Whether a record is not older than the known one; versions grow with every change."""
    return known is None or record is None or record.version >= known.version  # type: ignore[attr-defined]
