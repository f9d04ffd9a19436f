"""Reading `situation.json`: strictly, with every fault named, and with every grant's signatures verified.

A fault in what tightens (an overlay, a revocation, the threat level) refuses the whole file, since leaving it out
would loosen; the caller keeps the last situation that was good. A grant or continuity declaration whose approvals do
not hold is left out and reported in `Situation.problems`; the rest is in force.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from device_inventory.fleet import Freeze
from zt_engine.adapters.approvals import Approvers, RecordKind, verify_approvals
from zt_engine.adapters.freeze_json import read_freeze
from zt_engine.core.approval import Approval
from zt_engine.core.errors import ConfigError, InputError, Problem
from zt_engine.core.instants import LATEST, parse_instant
from zt_engine.core.situation import (
    FOREVER,
    MAX_THREAT_LEVEL,
    REGISTRATION,
    Continuity,
    Grant,
    GrantKind,
    Overlay,
    RevocationKind,
    Situation,
    situate,
)
from zt_engine.core.situation_words import parse_effect, parse_scope
from zt_engine.core.strict_json import read_object

MAX_BYTES = 32 * 2**20
MAX_OVERLAYS = 1_000
MAX_GRANTS = 2_000
MAX_REVOCATIONS = 200_000
MAX_PROBLEMS = 100
APPROVALS_NEEDED: Mapping[GrantKind, int] = {"exception": 1, "continuity": 2, "break_glass": 2, "approval": 2}
LONGEST: Mapping[GrantKind, int] = {
    "exception": 90 * 86400,
    "continuity": 72 * 3600,
    "break_glass": 3600,
    "approval": 24 * 3600,
}
"""For how many seconds each kind of grant may hold; a longer one was a mistake or is policy, and belongs into Rego."""

Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}\Z")]
Name = Annotated[str, Meta(pattern=r"^\S{1,256}\Z")]
Words = Annotated[str, Meta(max_length=1000)]
Instant = int | str
Reason = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{0,63}\Z")]


class OverlayRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """An overlay as it is sent; approvals of a tightening are kept for people, and prove nothing here."""

    id: Identifier
    scope: Words
    effect: Words
    not_before: Instant
    not_after: Instant
    cause: Words = ""
    severity: Words = ""
    exercise: bool = False
    owner: Words = ""
    """Who raised it, as the control plane says: it stands beside the cause for people and decides nothing."""
    approvals: tuple[Approval, ...] = ()


class GrantRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A grant as it is sent and signed."""

    id: Identifier
    kind: GrantKind
    not_before: Instant
    not_after: Instant
    subjects: tuple[Name, ...] = ()
    groups: tuple[Name, ...] = ()
    services: tuple[Name, ...] = ()
    ceiling: Annotated[int, Meta(ge=0, le=1000)] = 0
    waives: tuple[Reason, ...] = ()
    action: Words = ""
    object: Words = ""
    reason: Words = ""
    approvals: tuple[Approval, ...] = ()


class ContinuityRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """The declaration of continuity mode as it is sent and signed."""

    id: Identifier
    not_before: Instant
    not_after: Instant
    reason: Words = ""
    approvals: tuple[Approval, ...] = ()


class RevocationRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A revocation; `until: null` never ends."""

    kind: RevocationKind
    key: Annotated[str, Meta(min_length=1, max_length=512)]
    until: Instant | None


_TOP = ("version", "threat_level", "overlays", "grants", "revocations", "continuity", "freeze")
_ItemT = TypeVar("_ItemT")
RecordT = TypeVar("RecordT", OverlayRecord, GrantRecord, ContinuityRecord, RevocationRecord)


def decode_situation(raw: bytes, *, where: str, approvers: Approvers | None = None) -> Situation:
    """Decode a situation, or raise ConfigError with every fault in it. Without approvers no grant is in force."""
    if len(raw) > MAX_BYTES:
        raise _refused("SITUATION_TOO_LARGE", f"{len(raw)} bytes; at most {MAX_BYTES} are read", where)
    try:
        document = read_object(raw)
    except ValueError as error:
        raise _refused("SITUATION_SYNTAX", str(error), where) from None
    reader = _Reader(where, approvers or {})
    situation = reader.situation(document, digest=hashlib.sha256(raw).hexdigest())
    if reader.faults:
        raise ConfigError(tuple(reader.faults[:MAX_PROBLEMS]))
    return situation


def _refused(code: str, message: str, where: str) -> ConfigError:
    return ConfigError((Problem(code=code, message=message, where=where),))


class _Reader:
    """Reads one document; `faults` refuse it, `ignored` are grants that are left out."""

    def __init__(self, where: str, approvers: Approvers) -> None:
        self._where = where
        self._approvers = approvers
        self.faults: list[Problem] = []
        self.ignored: list[Problem] = []

    def situation(self, document: Mapping[str, object], *, digest: str) -> Situation:
        for key in document:
            if key not in _TOP:
                close = difflib.get_close_matches(key, _TOP, n=1)
                hint = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(_TOP)}"
                self._fault("SITUATION_RECORD", f"unknown key `{key[:80]}`", "", hint)
        level = document.get("threat_level")
        if type(level) is not int or not 0 <= level <= MAX_THREAT_LEVEL:
            text = f"`threat_level` is not an integer from 0 to {MAX_THREAT_LEVEL}"
            self._fault("SITUATION_THREAT_LEVEL", text, "threat_level", "calm is written 0, never left out")
            level = MAX_THREAT_LEVEL
        overlays = self._list(document, "overlays", MAX_OVERLAYS, self._overlay)
        grants = self._list(document, "grants", MAX_GRANTS, self._grant)
        revocations = self._list(document, "revocations", MAX_REVOCATIONS, self._revocation)
        for name, records in (("overlays", overlays), ("grants", grants)):
            self._refuse_duplicates(name, [record.id for record in records])
        revoked: dict[str, dict[str, int]] = {}
        for kind, key, until in revocations:
            keys = revoked.setdefault(kind, {})
            keys[key] = max(until, keys.get(key, 0))
        continuity = self._continuity(document.get("continuity", False))
        freeze = self._freeze(document.get("freeze"))
        kept = [grant for grant in grants if grant.approvers]
        # What is in force depends on the approvers' keys as well as on the text.
        proof = "".join(f"\n{grant.id} {' '.join(grant.approvers)}" for grant in kept) + f"\n{continuity is not None}"
        return situate(
            version=hashlib.sha256((digest + proof).encode()).hexdigest()[:16],
            threat_level=level,
            overlays=overlays,
            grants=kept,
            continuity=continuity,
            revoked=revoked,
            freeze=freeze,
            problems=self.ignored,
        )

    def _overlay(self, raw: object, at: str) -> Overlay | None:
        record = self._record(raw, OverlayRecord, at)
        if record is None:
            return None
        effect, terms = parse_effect(record.effect), parse_scope(record.scope)
        if record.id == REGISTRATION:
            self._fault("OVERLAY_ID", f"`{REGISTRATION}` is what a device's own ceiling is called", at, "")
            return None
        if effect is None:
            hint = "deny, ceiling:R, threshold:+N, acr:L, report_age:SECONDS or obligation:ID"
            self._fault("OVERLAY_EFFECT", f"`{record.effect[:80]}` is no effect", at, hint)
        if terms is None:
            hint = "tenant, service:, subject:, group:, device:, ownership: or label:, joined by ` and `"
            self._fault("OVERLAY_SCOPE", f"`{record.scope[:80]}` is no scope", at, hint)
        times = self._times(record.not_before, record.not_after, at)
        if effect is None or terms is None or times is None:
            return None
        return Overlay(
            id=record.id,
            effect=record.effect,
            scope=record.scope,
            not_before=times[0],
            not_after=times[1],
            parsed_effect=effect,
            terms=terms,
            cause=record.cause,
            severity=record.severity,
            exercise=record.exercise,
        )

    def _grant(self, raw: object, at: str) -> Grant | None:
        """Read a grant; one that is not in force has no approvers."""
        record = self._record(raw, GrantRecord, at)
        times = self._times(record.not_before, record.not_after, at) if record is not None else None
        if record is None or times is None or not isinstance(raw, Mapping):
            return None
        beneficiaries = frozenset(record.subjects)
        people: tuple[str, ...] = ()
        if self._sensible(record, times, at):
            needed = APPROVALS_NEEDED[record.kind]
            people = self._people(raw, record, at, needed=needed, beneficiaries=beneficiaries)
        return Grant(
            id=record.id,
            kind=record.kind,
            subjects=beneficiaries,
            groups=frozenset(record.groups),
            services=frozenset(record.services),
            ceiling=record.ceiling,
            waives=tuple(sorted(set(record.waives))),
            not_before=times[0],
            not_after=times[1],
            approvers=people,
            action=record.action,
            object=record.object,
            reason=record.reason,
        )

    def _sensible(self, record: GrantRecord, times: tuple[int, int], at: str) -> bool:
        """Say whether a grant names whom, where and for how long; one that is too wide is left out, not narrowed."""
        approval = record.kind == "approval"
        if not (record.subjects or record.groups) or not record.services:
            self._ignore("GRANT_SCOPE", f"grant `{record.id}` does not name who may use it, and on which services", at)
        elif times[1] - times[0] > LONGEST[record.kind]:
            text = f"grant `{record.id}` lasts longer than {LONGEST[record.kind]} seconds"
            self._ignore("GRANT_TOO_LONG", text, at)
        elif approval and not (record.action and record.object and not record.waives):
            self._ignore("GRANT_SCOPE", f"approval `{record.id}` must name an action and object, and waive nothing", at)
        elif not approval and (record.action or record.object):
            text = f"grant `{record.id}` names an action or object, which only an approval can be limited to"
            self._ignore("GRANT_SCOPE", text, at)
        else:
            return True
        return False

    def _people(
        self,
        raw: Mapping[str, object],
        record: GrantRecord | ContinuityRecord,
        at: str,
        *,
        needed: int,
        beneficiaries: frozenset[str] = frozenset(),
    ) -> tuple[str, ...]:
        kind: RecordKind = "grant" if isinstance(record, GrantRecord) else "continuity"
        try:
            return verify_approvals(
                kind,
                raw,
                record.approvals,
                approvers=self._approvers,
                needed=needed,
                beneficiaries=beneficiaries,
            )
        except InputError as error:
            self._ignore(error.code, f"{kind} `{record.id}`: {error.message}", at)
        except ValueError as error:
            self._ignore("APPROVAL_SIGNATURE", f"{kind} `{record.id}`: {error}", at)
        return ()

    def _revocation(self, raw: object, at: str) -> tuple[str, str, int] | None:
        record = self._record(raw, RevocationRecord, at)
        if record is None:
            return None
        until = FOREVER if record.until is None else self._instant(record.until, at)
        return None if until is None else (record.kind, record.key, until)

    def _continuity(self, raw: object) -> Continuity | None:
        if raw is False or raw is None:
            return None
        record = self._record(raw, ContinuityRecord, "continuity")
        times = self._times(record.not_before, record.not_after, "continuity") if record is not None else None
        if record is None or times is None or not isinstance(raw, Mapping):
            return None
        if times[1] - times[0] > LONGEST["continuity"]:
            text = f"continuity lasts longer than {LONGEST['continuity']} seconds"
            self._ignore("GRANT_TOO_LONG", text, "continuity")
            return None
        people = self._people(raw, record, "continuity", needed=APPROVALS_NEEDED["continuity"])
        if not people:
            return None
        return Continuity(id=record.id, not_before=times[0], not_after=times[1], reason=record.reason)

    def _freeze(self, raw: object) -> Freeze | None:
        if raw is None:
            return None
        try:
            return read_freeze(raw)
        except InputError as error:
            where = self._at("freeze")
            self.ignored.append(Problem(code=error.code, message=error.message, where=where))
            return None

    def _list(
        self, document: Mapping[str, object], key: str, limit: int, read: Callable[[object, str], _ItemT | None]
    ) -> list[_ItemT]:
        items = document.get(key, [])
        if not isinstance(items, list) or len(items) > limit:
            self._fault("SITUATION_RECORD", f"`{key}` is not a list of at most {limit} records", key)
            return []
        found = (read(item, f"{key}[{number}]") for number, item in enumerate(items))
        return [item for item in found if item is not None]

    def _record(self, raw: object, kind: type[RecordT], at: str) -> RecordT | None:
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            self._fault("SITUATION_RECORD", str(error)[:300], at)
            return None

    def _times(self, not_before: Instant, not_after: Instant, at: str) -> tuple[int, int] | None:
        start, end = self._instant(not_before, at), self._instant(not_after, at)
        if start is None or end is None:
            return None
        if end <= start:
            self._fault("SITUATION_TIMES", "`not_after` is not later than `not_before`", at)
            return None
        return start, end

    def _instant(self, value: Instant, at: str) -> int | None:
        moment = value if isinstance(value, int) else parse_instant(value)
        if moment is None or not 0 < moment <= LATEST:
            hint = "epoch seconds, or for example 2026-04-01T00:00:00+09:00"
            self._fault("SITUATION_TIMES", "a time is no instant", at, hint)
            return None
        return moment

    def _refuse_duplicates(self, name: str, ids: Sequence[str]) -> None:
        seen: set[str] = set()
        for identifier in ids:
            if identifier in seen:
                self._fault("SITUATION_DUPLICATE", f"the id `{identifier}` occurs twice in `{name}`", name)
            seen.add(identifier)

    def _fault(self, code: str, message: str, at: str, hint: str = "") -> None:
        self.faults.append(Problem(code=code, message=message, where=self._at(at), hint=hint))

    def _ignore(self, code: str, message: str, at: str) -> None:
        hint = "have it signed again by approvers of this installation, as the documentation of grants says"
        self.ignored.append(Problem(code=code, message=message, where=self._at(at), hint=hint))

    def _at(self, at: str) -> str:
        return f"{self._where}: {at}" if at else self._where
