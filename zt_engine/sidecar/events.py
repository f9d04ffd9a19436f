"""What an event of the stream says, read: never half of it, and never more than its type may say.

A record that cannot be read may be the one that says `revoked`, so its device or subject is unknown from then on. An
unreadable grant is no grant. Whatever else cannot be read tightens, or would: the stream stops there (STREAM_EVENT),
and the lease ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from device_inventory.device import DeviceRecord
from device_inventory.fleet import Freeze
from zt_engine.core.errors import BundleError, ConfigError, InputError, Problem
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.release import ReleaseNotice, read_notice
from zt_engine.core.rollout import Staged, stageable
from zt_engine.core.situation import Continuity, Grant, Overlay, RevocationKind, Situation
from zt_engine.core.stream import EVENT_TYPES
from zt_engine.sidecar.replica import Heard, SubjectKey
from zt_engine.sidecar.session_events import SessionTold, read_session

EMPTY = b'{"threat_level":0}'


class Readers(msgspec.Struct, frozen=True):
    """The strict readers of records; each takes the text and where it stands, and raises ConfigError."""

    device: Callable[[bytes, str], DeviceRecord]
    subject: Callable[[bytes, str], SubjectRecord]
    situation: Callable[[bytes, str], Situation]


class DeviceTold(msgspec.Struct, frozen=True):
    """A device's record; None: what was told cannot be read."""

    device_id: str
    record: DeviceRecord | None


class SubjectTold(msgspec.Struct, frozen=True):
    """A subject's record; None: what was told cannot be read."""

    key: SubjectKey
    record: SubjectRecord | None


class HeardTold(msgspec.Struct, frozen=True):
    """Reports that changed nothing but ages."""

    heard: dict[str, Heard]


class OverlayTold(msgspec.Struct, frozen=True):
    """An overlay; None: it is taken back."""

    id: str
    raw: bytes
    overlay: Overlay | None


class GrantTold(msgspec.Struct, frozen=True):
    """A grant as it was sent, and what is in force of it: None when it was taken back or its approvals do not hold."""

    id: str
    raw: bytes
    grant: Grant | None


class ContinuityTold(msgspec.Struct, frozen=True):
    """The declaration of continuity as it was sent; None: there is none, or its approvals do not hold."""

    raw: bytes
    continuity: Continuity | None


class RevocationTold(msgspec.Struct, frozen=True):
    """Something is revoked until an instant (None: for ever)."""

    kind: RevocationKind
    key: str
    until: int | None


class ThreatTold(msgspec.Struct, frozen=True):
    """The threat level."""

    level: int


class StagedTold(msgspec.Struct, frozen=True):
    """A change that decides only in the rings that were reached; in a snapshot it comes with those."""

    staged: Staged
    reached: tuple[str, ...]
    told: OverlayTold | GrantTold | ThreatTold | None
    """None: a release."""
    release: ReleaseNotice | None = None


class ReleaseTold(msgspec.Struct, frozen=True):
    """A release for everybody; None: what was told does not read."""

    notice: ReleaseNotice | None
    id: str = ""


class AdvancedTold(msgspec.Struct, frozen=True):
    """A rollout has reached a ring."""

    ref_seq: int
    ring: str


class AbortedTold(msgspec.Struct, frozen=True):
    """A rollout is taken back."""

    ref_seq: int


class FreezeTold(msgspec.Struct, frozen=True):
    """Ageing stands still; None: it does not, or what was told of it does not read."""

    freeze: Freeze | None
    id: str = "fleet"


class OtherTold(msgspec.Struct, frozen=True):
    """What this version or this part does not act on."""


Told = (
    DeviceTold
    | SubjectTold
    | SessionTold
    | HeardTold
    | OverlayTold
    | GrantTold
    | ContinuityTold
    | RevocationTold
    | ThreatTold
    | FreezeTold
    | ReleaseTold
    | StagedTold
    | AdvancedTold
    | AbortedTold
    | OtherTold
)
OTHER = OtherTold()


class _Named(msgspec.Struct):
    id: str = ""
    device_id: str = ""
    issuer: str = ""
    removed: bool = False


class _Seen(msgspec.Struct):
    devices: dict[str, int | tuple[int, tuple[str, ...]]]


class _Level(msgspec.Struct, forbid_unknown_fields=False):
    threat_level: int


class _Revocation(msgspec.Struct):
    kind: Literal["device", "cert", "subject", "session", "jti"]
    key: str
    until: msgspec.Raw


class _Plan(msgspec.Struct):
    staged: Staged | None = None
    reached: tuple[str, ...] = ()
    record: msgspec.Raw = msgspec.Raw(b"")


class _Step(msgspec.Struct):
    ref_seq: int
    ring: str = ""


class _Severity(msgspec.Struct):
    severity: str = ""


class EventReader:
    """Reads events of one tenant; `problems` collects what was left out, for whoever asks."""

    def __init__(self, tenant: str, readers: Readers) -> None:
        self._tenant = tenant
        self._readers = readers

    def read(self, type_: str, data: bytes, where: str, problems: list[Problem]) -> Told:
        """Return what an event says; raises InputError STREAM_EVENT where nothing safe can be made of it."""
        if type_ not in EVENT_TYPES:
            return OTHER
        try:
            return self._read(type_, data, where, problems)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError("STREAM_EVENT", f"`{type_}` does not read: {str(error)[:200]}", where=where) from None
        except ConfigError as error:
            first = error.problems[0]
            message = f"`{type_}` does not read: {first.code}: {first.message}"
            raise InputError("STREAM_EVENT", message, where=where) from None

    def _read(self, type_: str, data: bytes, where: str, problems: list[Problem]) -> Told:
        match type_:
            case "bundle.released":
                return self._release(data, where, problems)
            case "overlay.changed" | "grant.changed" | "threat_level.changed":
                plan = msgspec.json.decode(data, type=_Plan)
                if plan.staged is not None:
                    return self._staged(type_, plan, plan.staged, where, problems)
                return self._unstaged(type_, data, where, problems)
            case "rollout.advanced":
                step = msgspec.json.decode(data, type=_Step)
                return AdvancedTold(step.ref_seq, step.ring)
            case "rollout.aborted":
                return AbortedTold(msgspec.json.decode(data, type=_Step).ref_seq)
            case "device.changed":
                return self._device(data, where, problems)
            case "device.seen":
                return HeardTold(_heard(data))
            case "subject.changed":
                return self._subject(data, where, problems)
            case "session.changed":
                return read_session(data, where, problems)
            case "revocation.added":
                return self.revocation(data, where)
            case "continuity.changed":
                return self.continuity(data, where, problems)
            case "fleet.frozen":
                return self._freeze(data, where, problems)
        return OTHER

    def _unstaged(
        self, type_: str, data: bytes, where: str, problems: list[Problem]
    ) -> OverlayTold | GrantTold | ThreatTold | OtherTold:
        match type_:
            case "threat_level.changed":
                level = msgspec.json.decode(data, type=_Level).threat_level
                return ThreatTold(self._readers.situation(b'{"threat_level":%d}' % level, where).threat_level)
            case "overlay.changed":
                named = _identified(data)
                if named.removed:
                    return OverlayTold(named.id, data, None)
                found = self._readers.situation(_document("overlays", data), where)
                return OverlayTold(named.id, data, found.overlays[0])
            case "grant.changed":
                return self.grant(data, where, problems)
        return OTHER

    def _staged(self, type_: str, plan: _Plan, staged: Staged, where: str, problems: list[Problem]) -> StagedTold:
        """Read a staged change; what may not be staged is refused, since it would be held back where it must hold."""
        record = bytes(plan.record)
        told = self._unstaged(type_, record, where, problems)
        level = told.level if isinstance(told, ThreatTold) else 0
        severity = msgspec.json.decode(record, type=_Severity).severity if type_ == "overlay.changed" else ""
        if not stageable(type_, severity=severity, level=level):
            raise InputError("STREAM_EVENT", f"`{type_}` of this kind is never staged", where=where)
        return StagedTold(staged, plan.reached, None if isinstance(told, OtherTold) else told)

    def _release(self, data: bytes, where: str, problems: list[Problem]) -> ReleaseTold | StagedTold:
        """Read a notice; nothing of it is believed yet. One that does not read changes no policy."""
        try:
            notice = read_notice(data, where=where)
            reached = msgspec.json.decode(data, type=_Plan).reached
        except (BundleError, msgspec.DecodeError) as error:
            message = error.message if isinstance(error, BundleError) else str(error)[:200]
            problems.append(Problem(code="BUNDLE_MALFORMED", message=message, where=where))
            return ReleaseTold(None, where)
        if notice.staged is None:
            return ReleaseTold(notice, str(notice.seq))
        return StagedTold(notice.staged, reached, None, notice)

    def _freeze(self, data: bytes, where: str, problems: list[Problem]) -> FreezeTold:
        if msgspec.json.decode(data, type=_Named).removed:
            return FreezeTold(None)
        found = self._readers.situation(b'{"threat_level":0,"freeze":%b}' % data, where)
        problems += found.problems
        return FreezeTold(found.freeze)

    def _device(self, data: bytes, where: str, problems: list[Problem]) -> DeviceTold:
        try:
            record = self._readers.device(data, where)
        except ConfigError as error:
            problems += error.problems
            named = msgspec.json.decode(data, type=_Named)
            if not named.device_id:
                raise
            return DeviceTold(named.device_id, None)
        if record.tenant != self._tenant:
            raise InputError("STREAM_TENANT", "a device of another tenant", where=where)
        return DeviceTold(record.device_id, record)

    def _subject(self, data: bytes, where: str, problems: list[Problem]) -> SubjectTold:
        try:
            record = self._readers.subject(data, where)
        except ConfigError as error:
            problems += error.problems
            named = msgspec.json.decode(data, type=_Named)
            if not (named.id and named.issuer):
                raise
            return SubjectTold((named.issuer, named.id), None)
        return SubjectTold((record.issuer, record.id), record)

    def revocation(self, data: bytes, where: str) -> RevocationTold:
        """Read a revocation."""
        told = msgspec.json.decode(data, type=_Revocation)
        if bytes(told.until) == b"null":
            if not 0 < len(told.key) <= 512:
                raise InputError("STREAM_EVENT", "a revocation names nothing", where=where)
            return RevocationTold(told.kind, told.key, None)
        found = self._readers.situation(_document("revocations", data), where)
        return RevocationTold(told.kind, told.key, found.revoked[told.kind][told.key])

    def grant(self, data: bytes, where: str, problems: list[Problem]) -> GrantTold:
        """Read a grant; what does not read is none."""
        named = _identified(data)
        if named.removed:
            return GrantTold(named.id, data, None)
        try:
            found = self._readers.situation(_document("grants", data), where)
        except ConfigError as error:
            problems += error.problems
            return GrantTold(named.id, data, None)
        problems += found.problems
        return GrantTold(named.id, data, found.grants[0] if found.grants else None)

    def continuity(self, data: bytes, where: str, problems: list[Problem]) -> ContinuityTold:
        """Read the declaration of continuity; what does not read is none."""
        if msgspec.json.decode(data, type=_Named).removed:
            return ContinuityTold(data, None)
        try:
            found = self._readers.situation(b'{"threat_level":0,"continuity":%b}' % data, where)
        except ConfigError as error:
            problems += error.problems
            return ContinuityTold(data, None)
        problems += found.problems
        return ContinuityTold(data, found.continuity)


def _document(kind: str, data: bytes) -> bytes:
    return b'{"threat_level":0,"%b":[%b]}' % (kind.encode(), data)


def _identified(data: bytes) -> _Named:
    named = msgspec.json.decode(data, type=_Named)
    if not named.id:
        raise msgspec.ValidationError("`id` is missing")
    return named


def _heard(data: bytes) -> dict[str, Heard]:
    names: dict[tuple[str, ...], tuple[str, ...]] = {}
    heard = {}
    for one, said in msgspec.json.decode(data, type=_Seen).devices.items():
        if isinstance(said, int):
            heard[one] = Heard(said)
        else:
            # Most reports confirm the same facts: one list serves them all.
            heard[one] = Heard(said[0], names.setdefault(said[1], said[1]))
    return heard


def subject_of(told: Told) -> str:
    """Name what an event is about, for a problem with it."""
    match told:
        case DeviceTold():
            return f"device:{told.device_id}"
        case SessionTold():
            return f"session:{told.sid[:8]}"
        case SubjectTold():
            return f"subject:{told.key[0]}|{told.key[1]}"
    if isinstance(told, StagedTold):
        return subject_of(told.told) if told.told is not None else "release:"
    one = getattr(told, "id", "")
    return f"{type(told).__name__.removesuffix('Told').lower()}:{one}"
