"""Decide a recorded log again, from the stored inputs and the archived policy, and compare byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Protocol

import msgspec

from zt_engine.authoring.audit_report import Finding
from zt_engine.core.decision_event import RULE_SOURCES
from zt_engine.core.decision_log import RECORD_PREFIX, UNREADABLE, LogSegment
from zt_engine.core.errors import ZtError

COMPARED = ("effect", "reasons", "obligations", "threshold")
_REMEMBERED = 20_000


class ArchiveReader(Protocol):
    """What decided at the time, by kind (`bundle`, `catalogue`, `trust`) and SHA-256."""

    def read(self, kind: str, digest: str) -> bytes: ...


class Redecide(Protocol):
    """Decide again: `event` is the recorded one (its `revision` and `versions` say what decided), `document` the input.

    Returns the four compared fields as the event would hold them; raises ZtError when it cannot.
    """

    def __call__(
        self, archive: ArchiveReader, event: Mapping[str, object], document: bytes, /
    ) -> Mapping[str, object]: ...


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One field of one decision that came out otherwise."""

    where: str
    decision_id: str
    field: str
    recorded: str
    redecided: str


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """`decisions` were read, `replayed` of them had an input; the rest was refused before policy."""

    decisions: int
    replayed: int
    same: int
    differences: tuple[Difference, ...]
    faults: tuple[Finding, ...]


class _Recorded(msgspec.Struct):
    decision_id: str
    effect: msgspec.Raw
    reasons: msgspec.Raw
    obligations: msgspec.Raw
    threshold: msgspec.Raw
    revision: str = ""
    source: str = ""
    versions: msgspec.Raw = msgspec.Raw(b"null")
    input_digest: str | None = None


_recorded = msgspec.json.Decoder(_Recorded)
_event = msgspec.json.Decoder(dict[str, object])
_encode = msgspec.json.Encoder().encode


class _Replay:
    def __init__(self, redecide: Redecide, archive: ArchiveReader, limit: int) -> None:
        self._redecide = redecide
        self._archive = archive
        self._limit = limit
        self._known: dict[tuple[str, str, str, bytes], Mapping[str, bytes]] = {}
        self.decisions = self.replayed = self.same = 0
        self.differences: list[Difference] = []
        self.faults: list[Finding] = []

    @property
    def full(self) -> bool:
        return len(self.differences) + len(self.faults) >= self._limit

    def line(self, segment: LogSegment, line: bytes, where: str) -> None:
        try:
            recorded = _recorded.decode(line)
        except UNREADABLE:
            self._fault("LOG_LINE_MALFORMED", where)
            return
        self.decisions += 1
        if recorded.input_digest is None or recorded.source in RULE_SOURCES:
            return
        self.replayed += 1
        outcome = self._outcome(segment, recorded, line, where)
        if outcome is None:
            return
        differing = [name for name in COMPARED if bytes(getattr(recorded, name)) != outcome[name]]
        self.same += not differing
        for name in differing:
            difference = Difference(
                where=where,
                decision_id=recorded.decision_id,
                field=name,
                recorded=bytes(getattr(recorded, name)).decode(),
                redecided=outcome[name].decode(),
            )
            self.differences.append(difference)

    def _outcome(self, segment: LogSegment, recorded: _Recorded, line: bytes, where: str) -> Mapping[str, bytes] | None:
        """The same input under the same policy is decided once: a decision is a pure function of both."""
        assert recorded.input_digest is not None
        key = (recorded.input_digest, recorded.revision, recorded.source, bytes(recorded.versions))
        if (known := self._known.get(key)) is not None:
            return known
        document = segment.find_input(recorded.input_digest)
        if document is None:
            self._fault("LOG_INPUT_MISSING", where, recorded.input_digest)
            return None
        if sha256(document).hexdigest() != recorded.input_digest:
            self._fault("LOG_INPUT_CHANGED", where, recorded.input_digest)
            return None
        try:
            result = self._redecide(self._archive, _event.decode(line), document)
        except ZtError as error:
            self._fault("LOG_REPLAY_FAILED", where, str(error))
            return None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        outcome = self._known[key] = {name: _encode(result.get(name)) for name in COMPARED}
        return outcome

    def _fault(self, code: str, where: str, message: str = "") -> None:
        self.faults.append(Finding(code=code, where=where, message=message))


def replay(
    segments: Iterable[LogSegment], redecide: Redecide, archive: ArchiveReader, *, limit: int = 20
) -> ReplayReport:
    """Decide every event with an input again; stops after `limit` differences and faults."""
    run = _Replay(redecide, archive, limit)
    for segment, line, where in _events(segments):
        run.line(segment, line, where)
        if run.full:
            break
    return ReplayReport(
        decisions=run.decisions,
        replayed=run.replayed,
        same=run.same,
        differences=tuple(run.differences),
        faults=tuple(run.faults),
    )


def _events(segments: Iterable[LogSegment]) -> Iterable[tuple[LogSegment, bytes, str]]:
    for segment in segments:
        for number, line in enumerate(segment.lines(), 1):
            if line.endswith(b"\n") and not line.startswith(RECORD_PREFIX):
                yield segment, line, f"{segment.name}:{number}"
