"""What is going on, as administrators declare it: overlays, grants, continuity, revocations, the threat level.

Every record is read with the sidecars' own reader before it is kept. What loosens (a grant, a declaration) carries the
signatures of approvers, whose keys are not here: it is kept and announced as it was signed, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from zt_engine.control_plane.break_glass import declare, reviews, signed_content
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.ledger import revoke, write_down
from zt_engine.control_plane.released_names import check_names
from zt_engine.control_plane.rollouts import RELEASE, Held, supersede, under_way
from zt_engine.control_plane.signal_overlays import OWNER, PREFIX, released
from zt_engine.control_plane.threat_level import Lowering, level_of, lowered_by
from zt_engine.core.approval import Approval
from zt_engine.core.errors import InputError
from zt_engine.core.instants import parse_instant
from zt_engine.ports.inventory import Transaction

Kind = Literal["overlay", "grant", "continuity"]

MOST: Final[Mapping[str, int]] = {"overlay": 1_000, "grant": 2_000, "continuity": 1, "revocation": 200_000}
"""What a sidecar reads at most."""
SHOWN_REVOCATIONS: Final = 1_000
_LEVEL: Final = "threat_level"


class Declarations:
    """The situation of a control plane."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def put(
        self,
        tx: Transaction,
        kind: Kind,
        id_: str,
        record: Mapping[str, Any],
        *,
        actor: str,
        now: int,
        reason: str = "",
    ) -> dict[str, Any]:
        """Insert or replace a record; reader's codes, RECORD_ID, RECORDS_FULL, GRANT_*, OVERLAY_NAME.

        The audit says `reason`, or else what the record itself says.
        """
        if record.get("id") != id_:
            raise InputError("RECORD_ID", "the record has another id than its URL", where="id")
        record = owned(kind, record, actor)
        raw = _written(record)
        self._plane.records.check(kind, raw)
        if kind == "overlay" and actor != OWNER:  # what rules say was looked up when they were read
            check_names(self._plane, tx, record["effect"])
        held = tx.situation.all(kind)
        if kind == "grant" and (id_ not in held or signed_content(_read(held[id_])) != signed_content(record)):
            declare(tx, record, actor=actor, now=now)
        if kind == "continuity":
            # There is one declaration at a time.
            for other in held.keys() - {id_}:
                tx.situation.put(kind, other, None)
        elif id_ not in held and len(held) >= MOST[kind]:
            raise InputError("RECORDS_FULL", f"there are {len(held)} already; remove some that are over")
        tx.situation.put(kind, id_, raw)
        tx.outbox.announce(f"{kind}.changed", raw)
        reason = reason or str(record.get("reason") or record.get("cause") or "")
        self._write_down(tx, kind, id_, held.get(id_), raw, actor=actor, reason=reason, now=now)
        return dict(record)

    def remove(self, tx: Transaction, kind: Kind, id_: str, *, actor: str, reason: str, now: int) -> None:
        """Remove a record, and with an overlay of signals the others of its rule and principal; RECORD_NOT_FOUND."""
        held = tx.situation.all(kind)
        if id_ not in held:
            raise InputError("RECORD_NOT_FOUND", f"there is no such {kind}")
        of_signals = kind == "overlay" and id_.startswith(PREFIX) and actor != OWNER
        for one in released(tx, id_, now=now) if of_signals else (id_,):
            if one in held:
                tx.situation.put(kind, one, None)
                tx.outbox.announce(f"{kind}.changed", msgspec.json.encode({"id": one, "removed": True}))
                self._write_down(tx, kind, one, held[one], None, actor=actor, reason=reason, now=now)

    def remove_ended(self, tx: Transaction, *, before: int, actor: str, now: int, limit: int) -> int:
        """Remove some overlays that people declared and that ended before an instant; return how many.

        They hold places that sidecars read. What signals declared is theirs to take back.
        """
        ended = [
            id_
            for id_, body in tx.situation.all("overlay").items()
            if not id_.startswith(PREFIX) and _ended(body, before=before)
        ]
        for id_ in ended[:limit]:
            self.remove(tx, "overlay", id_, actor=actor, reason="ended long ago", now=now)
        return len(ended[:limit])

    def set_level(
        self,
        tx: Transaction,
        level: int,
        *,
        actor: str,
        reason: str,
        now: int,
        expires_at: int = 0,
        approvals: Sequence[Approval] = (),
        previous: int | None = None,
    ) -> dict[str, int]:
        """Set the threat level: one person raises it, and two sign that it goes down (`control_plane.threat_level`).

        What was signed as a lowering is judged as one, whatever level is in force by now.
        """
        if level < level_of(tx) or approvals or previous is not None:
            lowering = Lowering(
                tenant=self._plane.settings.tenant,
                previous=level_of(tx) if previous is None else previous,
                threat_level=level,
                expires_at=expires_at or now + 1,
            )
            approvers = lowered_by(self._plane, tx, lowering, approvals, now=now)
            reason = f"{reason} (approved by {', '.join(approvers) or 'nobody: fewer than two approvers are known'})"
        before = tx.situation.all(_LEVEL).get("")
        after = msgspec.json.encode({"threat_level": level})
        tx.situation.put(_LEVEL, "", after)
        tx.outbox.announce("threat_level.changed", after)
        self._write_down(tx, _LEVEL, "", before, after, actor=actor, reason=reason, now=now)
        return {"threat_level": level}

    def revoke(
        self, tx: Transaction, kind: str, key: str, until: int | None, *, actor: str, reason: str, now: int
    ) -> dict[str, Any]:
        """Revoke something; it cannot be taken back before its end.

        A device nobody knows is revoked as well, since it may be enrolled yet; `known` says that there is none.
        """
        record = {"kind": kind, "key": key, "until": until}
        self._plane.records.check("revocation", msgspec.json.encode(record))
        if until is not None and until <= now:
            raise InputError("RECORD_ID", "the end lies in the past", where="until")
        revoke(tx, kind, key, until)
        known = {"known": tx.devices.get(key) is not None} if kind == "device" else {}
        after = {**record, **known}
        object_ = f"{kind}:{key}"[:512]
        write_down(tx, actor=actor, action="revocation.added", object_=object_, reason=reason, after=after, now=now)
        return after

    def everything(self, tx: Transaction, *, now: int) -> dict[str, Any]:
        """Return the whole situation; of revocations those that end last, and how many there are."""
        revocations = [msgspec.json.decode(body) for body in tx.situation.all("revocation").values()]
        live = [one for one in revocations if one["until"] is None or one["until"] >= now]
        live.sort(key=lambda one: (one["until"] is not None, -(one["until"] or 0), one["kind"], one["key"]))
        continuity = [msgspec.json.decode(body) for body in tx.situation.all("continuity").values()]
        return {
            "tenant": self._plane.settings.tenant,
            "threat_level": level_of(tx),
            "overlays": [msgspec.json.decode(body) for body in tx.situation.all("overlay").values()],
            "grants": [msgspec.json.decode(body) for body in tx.situation.all("grant").values()],
            "continuity": continuity[0] if continuity else None,
            "staged": [_staged(held) for held in under_way(tx) if held.type != RELEASE],
            "reviews": reviews(tx),
            "revocations": live[:SHOWN_REVOCATIONS],
            "revocations_in_force": len(live),
        }

    def _write_down(
        self,
        tx: Transaction,
        kind: str,
        id_: str,
        before: bytes | None,
        after: bytes | None,
        *,
        actor: str,
        reason: str,
        now: int,
    ) -> None:
        supersede(tx, f"{kind}:{id_}", actor=actor, now=now)
        write_down(
            tx,
            actor=actor,
            action=f"{kind}.{'removed' if after is None else 'changed'}",
            object_=f"{kind}:{id_}",
            reason=reason,
            before=None if before is None else msgspec.json.decode(before),
            after=None if after is None else msgspec.json.decode(after),
            now=now,
        )


def _staged(held: Held) -> dict[str, Any]:
    """Return what only some sidecars decide by so far, or none where it is only watched."""
    return {
        "kind": held.object.partition(":")[0],
        "ref_seq": held.staged.ref_seq,
        "mode": held.staged.mode,
        "reached": list(held.reached),
        "rings": [ring.name for ring in held.staged.rings],
        "record": msgspec.json.decode(held.record),
    }


def owned(kind: str, record: Mapping[str, Any], actor: str) -> Mapping[str, Any]:
    """Return a record with its owner: an overlay is whose who raised it, whatever it says.

    InputError OVERLAY_ID for an id that only signals give.
    """
    if kind != "overlay":
        return record
    if str(record.get("id", "")).startswith(PREFIX) and actor != OWNER:
        raise InputError("OVERLAY_ID", f"what begins with `{PREFIX}` is declared by signals", where="id")
    return {**record, "owner": actor}


def _ended(body: bytes, *, before: int) -> bool:
    told = msgspec.json.decode(body).get("not_after")
    end = parse_instant(told) if isinstance(told, str) else told
    return isinstance(end, int) and end < before


def forget_ended(tx: Transaction, *, before: int) -> int:
    """Remove revocations that ended before an instant; return how many."""
    gone = 0
    for id_, body in tx.situation.all("revocation").items():
        until = msgspec.json.decode(body)["until"]
        if isinstance(until, int) and until < before:
            tx.situation.put("revocation", id_, None)
            gone += 1
    return gone


def _read(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(raw)
    return found


def _written(record: Mapping[str, Any]) -> bytes:
    # As it came, so that the signatures over it hold.
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
