"""The situation as the events of the stream have left it: each record read once, the whole given out as one value.

The version of a situation is a digest of what is in it, so that every sidecar that was told the same names it alike,
whether it was told by a snapshot or by events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import msgspec

from zt_engine.core.revocations import Revocations
from zt_engine.core.situation import FOREVER, MAX_THREAT_LEVEL, REVOCATION_KINDS, Situation, situate
from zt_engine.sidecar.events import ContinuityTold, GrantTold, OverlayTold, RevocationTold, ThreatTold, Told

_MODULUS = 1 << 256

UNTOLD = situate(version="untold", threat_level=MAX_THREAT_LEVEL)
"""What is assumed before anything was told: the strictest level, and nothing that loosens."""


class Standing:
    """Changed in place by events; `situation` is a value, another one whenever anything in it is another."""

    def __init__(self) -> None:
        self.revocations = Revocations()
        """Those told in order: what the watermark's digest counts."""
        self._level = MAX_THREAT_LEVEL
        self._overlays: dict[str, OverlayTold] = {}
        self._grants: dict[str, GrantTold] = {}
        self._continuity: ContinuityTold | None = None
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
                case ThreatTold():
                    self._stale, self._level = True, told.level
                case OverlayTold():
                    self._stale = True
                    self._overlays.pop(told.id, None)
                    if told.overlay is not None:
                        self._overlays[told.id] = told
                case GrantTold():
                    self._stale = True
                    # Also one whose approvals do not hold: under other approvers they may.
                    self._grants.pop(told.id, None)
                    if not _removed(told.raw):
                        self._grants[told.id] = told
                case ContinuityTold():
                    self._stale = True
                    self._continuity = None if _removed(told.raw) else told

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
        if self._continuity is not None:
            self._continuity = continuity(self._continuity.raw)
        self._stale = True

    @property
    def situation(self) -> Situation:
        """The situation now; the same value as before if nothing has changed."""
        if self._stale:
            self._situation = situate(
                version="",
                threat_level=self._level,
                overlays=[told.overlay for told in self._overlays.values() if told.overlay is not None],
                grants=[told.grant for told in self._grants.values() if told.grant is not None],
                continuity=self._continuity.continuity if self._continuity is not None else None,
            )
        if self._stale or self._changed:
            self._situation = msgspec.structs.replace(
                self._situation, version=self._version(), revoked=dict(self._revoked)
            )
            self._stale = False
            self._changed.clear()
        return self._situation

    def _version(self) -> str:
        said = hashlib.sha256(b"%d\n%d" % (self._level, self._sum))
        for overlay in sorted(self._overlays):
            said.update(b"\n" + self._overlays[overlay].raw)
        # What is in force of a grant depends on the approvers' keys as well as on its text.
        for grant in sorted(self._situation.grants, key=lambda grant: grant.id):
            said.update(b"\n" + self._grants[grant.id].raw + " ".join(grant.approvers).encode())
        if self._situation.continuity is not None and self._continuity is not None:
            said.update(b"\n" + self._continuity.raw)
        return said.hexdigest()[:16]


def _removed(raw: bytes) -> bool:
    return msgspec.json.decode(raw, type=_Removed).removed


class _Removed(msgspec.Struct):
    removed: bool = False


def _hash(told: RevocationTold, end: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{told.kind}\n{end}\n{told.key}".encode()).digest())
