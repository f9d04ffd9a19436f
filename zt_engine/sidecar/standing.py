"""The situation as the events of the stream have left it: each record read once, the whole given out as one value.

The version of a situation is a digest of what is in it, so that every sidecar that was told the same names it alike,
whether it was told by a snapshot or by events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from device_inventory.fleet import Freeze
from zt_engine.core.revocations import Revocations
from zt_engine.core.rollout import Place, Rollouts
from zt_engine.core.situation import FOREVER, MAX_THREAT_LEVEL, REVOCATION_KINDS, Situation, situate
from zt_engine.sidecar.events import (
    AbortedTold,
    AdvancedTold,
    ContinuityTold,
    FreezeTold,
    GrantTold,
    OverlayTold,
    RevocationTold,
    StagedTold,
    ThreatTold,
    Told,
)

_MODULUS = 1 << 256
Record = TypeVar("Record", OverlayTold, GrantTold)

UNTOLD = situate(version="untold", threat_level=MAX_THREAT_LEVEL)
"""What is assumed before anything was told: the strictest level, and nothing that loosens."""


NOWHERE = Place(sidecar="")


class Standing:
    """Changed in place by events; `situation` is a value, another one whenever anything in it is another.

    INVARIANT: what is staged never touches what is told to everybody before its last ring is reached, so that taking it
    back leaves nothing of it.
    """

    def __init__(self, place: Place = NOWHERE) -> None:
        self.rollouts = Rollouts()
        self._place = place
        self._staged: list[StagedTold] = []
        """What is under way, in the order it was told."""
        self.revocations = Revocations()
        """Those told in order: what the watermark's digest counts."""
        self._level = MAX_THREAT_LEVEL
        self._overlays: dict[str, OverlayTold] = {}
        self._grants: dict[str, GrantTold] = {}
        self._continuity: ContinuityTold | None = None
        self._freeze: Freeze | None = None
        self._revoked: dict[str, dict[str, int]] = {kind: {} for kind in REVOCATION_KINDS}
        self._sum = 0
        """Of the digests of all revocations that are in force here, also those ahead of their turn."""
        self._changed: set[str] = set()
        self._stale = True
        self._situation = UNTOLD

    def take(self, tolds: Iterable[Told]) -> None:
        """Take up what events say of the situation, in order."""
        for told in tolds:
            match told:
                case RevocationTold():
                    self.revocations.add(told.kind, told.key, told.until)
                    self.ahead(told)
                case ThreatTold() | OverlayTold() | GrantTold():
                    self._supersede(told)
                    self._settle(told)
                case ContinuityTold():
                    self._stale = True
                    self._continuity = None if _removed(told.raw) else told
                case FreezeTold():
                    self._stale, self._freeze = True, told.freeze
                case StagedTold():
                    self.rollouts = self.rollouts.begun(told.staged, told.reached)
                    if told.told is not None:
                        self._staged.append(told)
                    self._finish(told.staged.ref_seq)
                case AdvancedTold():
                    self.rollouts = self.rollouts.advanced(told.ref_seq, told.ring)
                    self._finish(told.ref_seq)
                case AbortedTold():
                    self.rollouts = self.rollouts.aborted(told.ref_seq)
                    self._finish(told.ref_seq)

    def _settle(self, told: ThreatTold | OverlayTold | GrantTold) -> None:
        """Have a change hold for everybody."""
        self._stale = True
        match told:
            case ThreatTold():
                self._level = told.level
            case OverlayTold():
                _put(self._overlays, told)
            case GrantTold():
                # Also one whose approvals do not hold: under other approvers they may.
                _put(self._grants, told)

    def _supersede(self, told: ThreatTold | OverlayTold | GrantTold) -> None:
        """Forget what is under way for the same record: this was said later, and to everybody."""
        self._staged = [held for held in self._staged if held.told is None or _about(held.told) != _about(told)]

    def _finish(self, ref_seq: int) -> None:
        """Have what reached everybody hold for good, and drop what was taken back."""
        self._stale = True
        held = next((one for one in self._staged if one.staged.ref_seq == ref_seq), None)
        if held is None or held.told is None:
            return
        if self.rollouts.known[ref_seq].aborted:
            self._staged.remove(held)
        elif self.rollouts.complete(ref_seq):
            about = _about(held.told)
            before = self._staged[: self._staged.index(held) + 1]
            self._staged = [
                one for one in self._staged if one not in before or one.told is None or _about(one.told) != about
            ]
            self._settle(held.told)

    def moved(self, place: Place) -> None:
        """Stand somewhere else from now on: another place is in other rings."""
        self._place, self._stale = place, True

    def shadowed(self) -> list[StagedTold]:
        """Return what is under way and to be watched."""
        return [told for told in self._staged if self.rollouts.shadowed(told.staged.ref_seq)]

    def _in_force(self) -> tuple[int, dict[str, OverlayTold], dict[str, GrantTold]]:
        """Return level, overlays and grants as they hold at this sidecar."""
        active = [
            one.told for one in self._staged if one.told and self.rollouts.active(one.staged.ref_seq, self._place)
        ]
        if not active:
            return self._level, self._overlays, self._grants
        level, overlays, grants = self._level, dict(self._overlays), dict(self._grants)
        for told in active:
            match told:
                case ThreatTold():
                    level = told.level
                case OverlayTold():
                    _put(overlays, told)
                case GrantTold():
                    _put(grants, told)
        return level, overlays, grants

    def ahead(self, told: RevocationTold) -> None:
        """Take up a revocation, perhaps ahead of its turn: it is in force, and not counted yet."""
        end = FOREVER if told.until is None else told.until
        before = self._revoked[told.kind].get(told.key, -1)
        if end <= before:
            return
        if told.kind not in self._changed:
            # The one that was given out stays as it was.
            self._revoked[told.kind] = dict(self._revoked[told.kind])
            self._changed.add(told.kind)
        self._revoked[told.kind][told.key] = end
        gone = _hash(told, before) if before >= 0 else 0
        self._sum = (self._sum + _hash(told, end) - gone) % _MODULUS

    def reread(self, grant: Callable[[bytes], GrantTold], continuity: Callable[[bytes], ContinuityTold]) -> None:
        """Judge again what approvers signed, because they have changed."""
        self._grants = {one: grant(told.raw) for one, told in self._grants.items()}
        self._staged = [
            msgspec.structs.replace(one, told=grant(one.told.raw)) if isinstance(one.told, GrantTold) else one
            for one in self._staged
        ]
        if self._continuity is not None:
            self._continuity = continuity(self._continuity.raw)
        self._stale = True

    @property
    def situation(self) -> Situation:
        """The situation now; the same value as before if nothing has changed."""
        level, overlays, grants = self._in_force() if self._stale or self._changed else (0, {}, {})
        if self._stale:
            self._situation = situate(
                version="",
                threat_level=level,
                overlays=[told.overlay for told in overlays.values() if told.overlay is not None],
                grants=[told.grant for told in grants.values() if told.grant is not None],
                continuity=self._continuity.continuity if self._continuity is not None else None,
                freeze=self._freeze,
            )
        if self._stale or self._changed:
            version = self._version(level, overlays, grants)
            self._situation = msgspec.structs.replace(self._situation, version=version, revoked=dict(self._revoked))
            self._stale = False
            self._changed.clear()
        return self._situation

    def _version(self, level: int, overlays: dict[str, OverlayTold], grants: dict[str, GrantTold]) -> str:
        said = hashlib.sha256(b"%d\n%d" % (level, self._sum))
        for overlay in sorted(overlays):
            said.update(b"\n" + overlays[overlay].raw)
        # What is in force of a grant depends on the approvers' keys as well as on its text.
        for grant in sorted(self._situation.grants, key=lambda grant: grant.id):
            said.update(b"\n" + grants[grant.id].raw + " ".join(grant.approvers).encode())
        if self._situation.continuity is not None and self._continuity is not None:
            said.update(b"\n" + self._continuity.raw)
        if self._freeze is not None:
            said.update(b"\nfreeze %d %d %d" % (self._freeze.aged_at, self._freeze.end, self._freeze.up_to))
        return said.hexdigest()[:16]


def _about(told: ThreatTold | OverlayTold | GrantTold) -> tuple[type, str]:
    return type(told), "" if isinstance(told, ThreatTold) else told.id


def _put(held: dict[str, Record], told: Record) -> None:
    """Insert or replace a record, or take it out when that is what was told."""
    held.pop(told.id, None)
    if not _removed(told.raw):
        held[told.id] = told


def _removed(raw: bytes) -> bool:
    return msgspec.json.decode(raw, type=_Removed).removed


class _Removed(msgspec.Struct):
    removed: bool = False


def _hash(told: RevocationTold, end: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{told.kind}\n{end}\n{told.key}".encode()).digest())
