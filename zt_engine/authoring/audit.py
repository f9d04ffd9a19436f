"""Verify a decision log against its checkpoints.

Works on iterators of lines, so it needs no files and can be tested with any mutation. What it proves and what it cannot
is written in `docs/decision-log.md`; the two ideas are:

- A line is *anchored* when a genuine checkpoint of its chain covers it, or when an anchored later chain names a line
  behind it. Every change to anchored bytes is a fault. Lines behind the last checkpoint are *unanchored*: consistent
  among themselves, but proven by nothing.
- Lines may be missing only before the *floor* that the newest anchored note of retention names. Only a note that a
  checkpoint of its own chain covers counts: a forged note at the end of a crashed chain must not excuse a deletion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

import msgspec

from zt_engine.authoring.audit_report import AuditReport, ChainReport, Finding
from zt_engine.core.decision_log import (
    GENESIS,
    UNREADABLE,
    ChainClosed,
    ChainOpened,
    Head,
    LogSegment,
    SegmentOpened,
    SegmentsRemoved,
    SignedCheckpoint,
    Step,
    parse_checkpoint,
    record_of,
    walk,
)

# A living process signs every second; this much later without a signature means that signatures were lost or stopped.
CHECKPOINT_GRACE = 10.0


class _Claim(msgspec.Struct, frozen=True):
    """Somebody says what the hash of a line is: a checkpoint of this chain, or the first line of the next."""

    hash: bytes
    where: str
    link: bool = False


class _Chain:
    """What is learnt about one chain while it is followed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.segments: list[LogSegment] = []
        self.claims: dict[int, list[_Claim]] = {}
        self.newest_checkpoint = 0
        self.opened: ChainOpened | None = None
        self.sidecar = ""
        self.count = 0
        self.proven_by_checkpoint = 0
        self.proven_by_link = 0
        self.anchored = 0
        self.closed_at_line = ""
        self.last_line = b""
        self.first_behind: dict[int, bytes] = {}
        """The line right behind each place where proof may end."""
        self.last_where = ""
        self.echoes: list[tuple[int, str]] = []
        self.removals: list[tuple[int, SegmentsRemoved]] = []

    @property
    def first(self) -> int:
        return self.segments[0].first if self.segments else 0

    def claim(self, count: int, claim: _Claim) -> None:
        self.claims.setdefault(count, []).append(claim)

    def may_end_proof(self, seq: int) -> bool:
        """Whether line `seq` can turn out to be the first that is not anchored."""
        return seq in {0, self.newest_checkpoint} or any(claim.link for claim in self.claims.get(seq, ()))


_Place = tuple[str, int]


class _Audit:
    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.chains: dict[str, _Chain] = {}
        self.faults: list[Finding] = []
        self.notes: list[Finding] = []
        self.gaps: list[tuple[_Place, Finding]] = []
        """Something is missing before a place; whether that is legal depends on the floor, known at the end."""

    def chain(self, name: str) -> _Chain:
        return self.chains.setdefault(name, _Chain(name))

    def fault(self, code: str, where: str, message: str = "") -> None:
        self.faults.append(Finding(code=code, where=where, message=message))

    def gap(self, before: _Place, code: str, where: str, message: str) -> None:
        self.gaps.append((before, Finding(code=code, where=where, message=message)))

    # --- reading -----------------------------------------------------------------------------------------------------

    def read_checkpoints(self, lines: Iterable[tuple[str, bytes]], genuine: Callable[[SignedCheckpoint], bool]) -> None:
        for where, line in lines:
            signed = parse_checkpoint(line)
            if signed is None and not line.endswith(b"\n"):
                self.notes.append(Finding(code="LOG_LINE_TORN", where=where))
                continue
            if signed is None or not genuine(signed):
                self.fault("LOG_CHECKPOINT_INVALID", where)
                continue
            value, chain = signed.value, self.chain(signed.value.chain)
            chain.claim(value.count, _Claim(value.head.encode(), where))
            chain.newest_checkpoint = max(chain.newest_checkpoint, value.count)

    def read_segments(self, segments: Sequence[LogSegment]) -> list[_Chain]:
        for segment in sorted(segments, key=lambda segment: (segment.chain, segment.first)):
            self.chain(segment.chain).segments.append(segment)
        present = [self.chains[name] for name in sorted(self.chains) if self.chains[name].segments]
        for chain in present:
            if chain.first == 0:
                self._read_opening(chain)
        return present

    def _read_opening(self, chain: _Chain) -> None:
        first = next(iter(chain.segments[0].lines()), b"")
        record = record_of(first.rstrip(b"\n"))
        if not isinstance(record, ChainOpened):
            return
        chain.opened, chain.sidecar = record, record.sidecar
        before = record.predecessor
        if before is not None and before.chain in self.chains:
            where = f"{chain.segments[0].name}:1"
            self.chains[before.chain].claim(before.seq + 1, _Claim(before.hash.encode(), where, link=True))

    # --- following one chain -----------------------------------------------------------------------------------------

    def follow(self, chain: _Chain) -> None:
        head: Head | None = None
        if chain.first == 0:
            before = chain.opened.predecessor if chain.opened is not None else None
            head = Head(0, before.hash.encode() if before is not None else GENESIS)
        else:
            where = f"{chain.segments[0].name}:1"
            self.gap((chain.name, chain.first), "LOG_SEGMENT_MISSING", where, f"lines 0 to {chain.first - 1} are gone")
        for number, segment in enumerate(chain.segments):
            if head is not None and segment.first > head.count:
                message = f"lines {head.count} to {segment.first - 1} are gone"
                self.gap((chain.name, segment.first), "LOG_SEGMENT_MISSING", f"{segment.name}:1", message)
                head = None
            head = self._follow_segment(chain, segment, head, newest=number == len(chain.segments) - 1)
        if head is not None:
            chain.count = head.count

    def _follow_segment(self, chain: _Chain, segment: LogSegment, head: Head | None, *, newest: bool) -> Head | None:
        empty = True
        for step in walk(segment.lines(), head):
            where = f"{segment.name}:{step.number}"
            if step.fault == "LOG_LINE_TORN":
                self.notes.append(Finding(code=step.fault, where=where, message=f"{len(step.line)} bytes"))
                continue
            if step.fault:
                self.fault(step.fault, where, _numbers(head, step))
            if empty:
                self._check_name(segment, step, where)
            empty = False
            head = self._next(head, step)
            self._look_at(chain, step, where)
        if empty and not newest:
            self.fault("LOG_SEGMENT_MISNAMED", f"{segment.name}:1", "the file holds no line")
        return head

    @staticmethod
    def _next(head: Head | None, step: Step) -> Head | None:
        if step.link is not None:
            return Head(step.link.seq + 1, step.hash)
        return None if head is None else Head(head.count + 1, step.hash)

    def _check_name(self, segment: LogSegment, step: Step, where: str) -> None:
        record = record_of(step.line)
        opens = isinstance(record, ChainOpened | SegmentOpened) and record.chain == segment.chain
        if not opens or step.link is None or step.link.seq != segment.first:
            self.fault("LOG_SEGMENT_MISNAMED", where)

    def _look_at(self, chain: _Chain, step: Step, where: str) -> None:
        if step.link is None:
            return
        if chain.closed_at_line:
            self.fault("LOG_APPENDED_AFTER_END", where, f"the chain was closed at {chain.closed_at_line}")
            chain.closed_at_line = ""
        if chain.may_end_proof(step.link.seq):
            chain.first_behind[step.link.seq] = step.line
        chain.last_line, chain.last_where = step.line, where
        for claim in chain.claims.get(step.link.seq + 1, ()):
            if claim.hash != step.hash:
                code = "LOG_CHAIN_UNLINKED" if claim.link else "LOG_CHECKPOINT_MISMATCH"
                self.fault(code, where, f"differs from what {claim.where} says")
            elif claim.link:
                chain.proven_by_link = step.link.seq + 1
            else:
                chain.proven_by_checkpoint = step.link.seq + 1
        match record_of(step.line):
            case SegmentsRemoved() as removed:
                chain.removals.append((step.link.seq, removed))
            case SegmentOpened() as opened:
                chain.echoes.append((opened.anchored, where))
                chain.sidecar = chain.sidecar or opened.sidecar
            case ChainClosed():
                chain.closed_at_line = where
            case _:
                pass

    # --- between the chains ------------------------------------------------------------------------------------------

    def check_links(self, present: Sequence[_Chain]) -> None:
        """Each chain must name the one before it: starts are ordered by a lock, so the row has no branches."""
        for position, chain in enumerate(present):
            where = f"{chain.segments[0].name}:1"
            previous = present[position - 1] if position else None
            if chain.first > 0:
                if previous is not None:
                    self.gap((chain.name, chain.first), "LOG_CHAIN_MISSING", where, "its first line is gone")
                continue
            before = chain.opened.predecessor if chain.opened is not None else None
            if before is None:
                if previous is not None or chain.opened is None:
                    self.fault("LOG_CHAIN_UNLINKED", where, "it names no chain before it")
            elif previous is None or previous.name != before.chain:
                if before.chain in {other.name for other in present}:
                    self.fault("LOG_CHAIN_UNLINKED", where, f"it names {before.chain} as the one before")
                else:
                    self.gap((chain.name, 0), "LOG_CHAIN_MISSING", where, f"{before.chain} is gone")
            elif not before.live and previous.count > before.seq + 1:
                message = f"{chain.name} began when line {before.seq} was its last"
                self.fault("LOG_APPENDED_AFTER_END", previous.last_where, message)

    def check_ends(self) -> None:
        """Whatever a checkpoint or a later chain has seen must still be there."""
        for chain in self.chains.values():
            seen = max(chain.claims, default=0)
            if not chain.segments:
                if seen:
                    where = chain.claims[seen][0].where
                    self.gap((chain.name, seen), "LOG_CHAIN_MISSING", where, f"{chain.name} is gone")
            elif seen > chain.count:
                message = f"{chain.claims[seen][0].where} has seen {seen} lines, {chain.count} are there"
                self.gap((chain.name, seen), "LOG_TRUNCATED", chain.last_where or chain.segments[-1].name, message)

    def anchor(self, present: Sequence[_Chain]) -> None:
        """Give each chain its proven length, newest first: a proven first line proves the chain before."""
        opening_proven = False
        for chain in reversed(present):
            chain.anchored = max(chain.proven_by_checkpoint, chain.proven_by_link if opening_proven else 0)
            opening_proven = chain.anchored > 0

    def check_freshness(self, present: Sequence[_Chain], floor: _Place) -> None:
        for chain in present:
            for anchored, where in chain.echoes:
                if anchored > chain.newest_checkpoint and chain.name >= floor[0]:
                    self.fault("LOG_CHECKPOINT_MISSING", where, f"a checkpoint over {anchored} lines had left by then")
            since = _time_on(chain.first_behind.get(chain.anchored, b""))
            if chain.count > chain.anchored and _seconds_between(since, _time_on(chain.last_line)) > self.grace:
                message = f"{chain.count - chain.anchored} lines since {since} were never signed"
                self.fault("LOG_CHECKPOINT_MISSING", chain.last_where, message)

    def floor(self) -> _Place:
        """Where the log legally begins."""
        places = [
            (removed.floor.chain, removed.floor.seq)
            for chain in self.chains.values()
            for seq, removed in chain.removals
            if seq < chain.proven_by_checkpoint
        ]
        return max(places, default=("", 0))


def verify(
    segments: Sequence[LogSegment],
    checkpoints: Iterable[tuple[str, bytes]],
    *,
    genuine: Callable[[SignedCheckpoint], bool],
    grace: float = CHECKPOINT_GRACE,
) -> AuditReport:
    """Compare a log with its checkpoints (`(where, line)`); `genuine` says whether a trusted key signed one."""
    audit = _Audit(grace)
    audit.read_checkpoints(checkpoints, genuine)
    present = audit.read_segments(segments)
    for chain in present:
        audit.follow(chain)
    audit.check_links(present)
    audit.check_ends()
    audit.anchor(present)
    floor = audit.floor()
    audit.check_freshness(present, floor)
    audit.faults.extend(finding for before, finding in audit.gaps if before > floor)
    return AuditReport(
        chains=tuple(_report(chain) for chain in present),
        faults=tuple(_unique(audit.faults)),
        notes=tuple(audit.notes),
    )


def _numbers(head: Head | None, step: Step) -> str:
    """Which line was expected and which was found, where that is the fault."""
    found = step.link.seq if step.link is not None else None
    if head is None or found == head.count:
        return ""
    return f"expected line {head.count}" + (f", found line {found}" if found is not None else "")


def _report(chain: _Chain) -> ChainReport:
    return ChainReport(
        chain=chain.name,
        sidecar=chain.sidecar,
        segments=len(chain.segments),
        first=chain.first,
        count=chain.count,
        anchored=chain.anchored,
    )


def _unique(findings: Iterable[Finding]) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for finding in findings:
        if (finding.code, finding.where) not in seen:
            seen.add((finding.code, finding.where))
            yield finding


class _Timed(msgspec.Struct):
    ts: str = ""
    at: str = ""


_timed = msgspec.json.Decoder(_Timed)


def _time_on(line: bytes) -> str:
    try:
        found = _timed.decode(line)
    except UNREADABLE:
        return ""
    return found.ts or found.at


def _seconds_between(earlier: str, later: str) -> float:
    try:
        return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
