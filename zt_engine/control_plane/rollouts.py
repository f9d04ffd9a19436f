"""Staged rollouts at the control plane: begun, advanced ring by ring, taken back; by people or by their guards.

A rollout is kept beside the situation, with the rings it has reached and, when it was taken back by a guard, with the
incident: which figures, and which decisions to look at. What is staged reaches the situation itself with the last ring.

INVARIANT: of one record one rollout is under way at a time, and what is said to everybody meanwhile takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from zt_engine.control_plane import staged_releases
from zt_engine.control_plane.ledger import write_down
from zt_engine.control_plane.shadow_reports import forget_reports, keep_report, reports_of
from zt_engine.core.errors import InputError
from zt_engine.core.guards import Breach, Guards, ShadowReport, breaches, seen_enough, suspicions
from zt_engine.core.rollout import Mode, Ring, Rollout, Staged, stageable
from zt_engine.ports.inventory import Transaction
from zt_engine.ports.releases import KeptRelease

State = Literal["running", "complete", "aborted"]

KIND: Final = "rollout"
COUNTER: Final = "rollout_seq"
KEPT: Final = 200
"""So many that are over are remembered."""
MOST_RUNNING: Final = 20
HEARD_SECONDS: Final = 11
"""So long after its beginning every shadow has asked what is watched, and reported, at least once."""
BREACH: Final = "ROLLOUT_BREACH"
SUPERSEDED: Final = "superseded"
RELEASE: Final = "bundle.released"


class Incident(Struct, frozen=True, kw_only=True):
    """Why a rollout was taken back without anybody being asked."""

    at: int
    breaches: tuple[Breach, ...]
    sidecars: tuple[str, ...]
    """Whose shadows had reported."""
    decided: int
    reached: tuple[str, ...]


class Held(Struct, frozen=True, kw_only=True):
    """A rollout as it is kept."""

    staged: Staged
    type: str
    object: str
    """What it is about, as the audit names it."""
    record: msgspec.Raw = msgspec.Raw(b"null")
    """What everybody is to be told in the end; null for a release, which is kept elsewhere."""
    state: State = "running"
    reached: tuple[str, ...] = ()
    guards: Guards = Guards()
    dwell: int | None = None
    """For how many seconds a ring is watched before the next is reached by itself; None: only by people."""
    began_at: int
    moved_at: int
    author: str = ""
    reason: str = ""
    why: str = ""
    """Why it was taken back: a code, or the words of whoever did."""
    incident: Incident | None = None

    @property
    def next_ring(self) -> Ring | None:
        """The ring after those reached."""
        reached = Rollout(staged=self.staged, reached=frozenset(self.reached)).rings()
        rest = self.staged.rings[len(reached) :]
        return rest[0] if rest else None


class Plan(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How whoever begins a rollout wants it to go."""

    rings: tuple[Ring, ...]
    mode: Mode = "enforce"
    guards: Guards = Guards()
    dwell: int | None = None


_decode: Final = msgspec.json.Decoder(Held).decode
_report: Final = msgspec.json.Decoder(ShadowReport).decode


def read_plan(raw: bytes | Mapping[str, Any]) -> Plan:
    """Read a plan; InputError ROLLOUT_PLAN."""
    try:
        plan = msgspec.json.decode(raw, type=Plan) if isinstance(raw, bytes) else msgspec.convert(raw, Plan)
        if not plan.rings:
            raise ValueError("there is no ring")
        Staged(ref_seq=1, rings=plan.rings, mode=plan.mode)
    except (msgspec.DecodeError, ValueError) as error:
        raise InputError("ROLLOUT_PLAN", str(error)[:300], where="plan") from None
    if plan.dwell is not None and not 0 < plan.dwell <= 30 * 86_400:
        raise InputError("ROLLOUT_PLAN", "`dwell` is not a number of seconds up to 30 days", where="plan.dwell")
    return plan


def begin(
    tx: Transaction,
    plan: Plan,
    *,
    type_: str,
    object_: str,
    record: bytes = b"null",
    actor: str,
    reason: str = "",
    now: int,
) -> Staged:
    """Begin a rollout and say so in the audit; the caller announces the event (`event_data`).

    Codes: ROLLOUT_NOT_STAGEABLE, ROLLOUT_RUNNING, ROLLOUT_FULL.
    """
    tx.releases.lock()
    said = msgspec.json.decode(record) or {}
    if not stageable(type_, severity=str(said.get("severity", "")), level=int(said.get("threat_level", 0))):
        raise InputError("ROLLOUT_NOT_STAGEABLE", f"`{object_}` has to hold everywhere at once", where="record")
    held = list(_all(tx))
    running = [one for one in held if one.state == "running"]
    if any(one.object == object_ or _stacked(tx, one, type_, plan, now=now) for one in running):
        raise InputError("ROLLOUT_RUNNING", f"a rollout of `{object_}`, or of another release, is under way")
    if len(running) >= MOST_RUNNING:
        raise InputError("ROLLOUT_FULL", f"{len(running)} rollouts are under way")
    ref_seq = _next(tx)
    staged = Staged(ref_seq=ref_seq, rings=plan.rings, mode=plan.mode)
    begun = Held(
        staged=staged,
        type=type_,
        object=object_,
        record=msgspec.Raw(record),
        reached=(plan.rings[0].name,),
        guards=plan.guards,
        dwell=plan.dwell,
        began_at=now,
        moved_at=now,
        author=actor,
        reason=reason,
    )
    _keep(tx, begun)
    _write_down(tx, begun, "rollout.begun", actor=actor, reason=reason, now=now)
    for old in sorted((one.staged.ref_seq for one in held if one.state != "running"), reverse=True)[KEPT:]:
        tx.situation.put(KIND, _name(old), None)
        forget_reports(tx, old)
    if len(staged.rings) == 1 and staged.mode == "enforce":
        _complete(tx, begun, actor=actor, now=now)
    return staged


def stage_release(tx: Transaction, plan: Mapping[str, Any], *, now: int) -> Staged:
    """Begin the rollout of the release that comes next: how `Releases` gives a plan its number."""
    number = tx.releases.newest() + 1
    object_ = f"release:{number}"
    return begin(tx, read_plan(plan), type_=RELEASE, object_=object_, actor=object_, now=now)


def event_data(staged: Staged, record: bytes, reached: Sequence[str] = ()) -> bytes:
    """Return the `data` of a staged event; in a snapshot with the rings reached."""
    told: dict[str, Any] = {"staged": staged, "record": msgspec.Raw(record)}
    return msgspec.json.encode({**told, "reached": reached} if reached else told)


def advance(tx: Transaction, ref_seq: int, *, actor: str, reason: str, now: int) -> Held:
    """Reach the next ring. Codes: ROLLOUT_NOT_FOUND, ROLLOUT_OVER, ROLLOUT_REPORT_ONLY."""
    tx.releases.lock()
    held = _running(tx, ref_seq)
    ring = held.next_ring
    if held.staged.mode == "report-only" or ring is None:
        raise InputError("ROLLOUT_REPORT_ONLY", "it is only watched; begin another one that is enforced")
    release = _release(tx, held)
    if release is not None and release.state == "waiting":
        raise InputError("ROLLOUT_WAITING", f"`{held.object}` waits for approvals")
    after = replace(held, reached=(*held.reached, ring.name), moved_at=now)
    _keep(tx, after)
    tx.outbox.announce("rollout.advanced", msgspec.json.encode({"ref_seq": ref_seq, "ring": ring.name}))
    _write_down(tx, after, "rollout.advanced", before=held, actor=actor, reason=reason, now=now)
    return after if after.next_ring is not None else _complete(tx, after, actor=actor, now=now)


def abort(
    tx: Transaction,
    ref_seq: int,
    *,
    actor: str,
    reason: str,
    now: int,
    incident: Incident | None = None,
    quiet: bool = False,
) -> Held:
    """Take a rollout back; `quiet`: another one has taken its place. Codes: ROLLOUT_NOT_FOUND, ROLLOUT_OVER."""
    tx.releases.lock()
    held = _running(tx, ref_seq)
    after = replace(held, state="aborted", moved_at=now, why=reason, incident=incident)
    _keep(tx, after)
    _write_down(tx, after, "rollout.aborted", before=held, actor=actor, reason=reason, now=now)
    if quiet and held.staged.mode == "enforce":
        return after  # whoever has it goes on to the next one, not back to the one before
    tx.outbox.announce("rollout.aborted", aborted_data(ref_seq, reason))
    if held.type == RELEASE:
        staged_releases.take_back(tx, int(held.object.partition(":")[2]), why=reason, actor=actor, now=now)
    return after


def supersede(tx: Transaction, object_: str, *, actor: str, now: int) -> None:
    """End a rollout of something about which everybody is told now."""
    for held in _all(tx):
        if held.state == "running" and held.object == object_:
            abort(tx, held.staged.ref_seq, actor=actor, reason=SUPERSEDED, now=now)


def report(tx: Transaction, sidecar: str, told: ShadowReport, *, now: int) -> Held:
    """Keep what a shadow saw, and take the rollout back at once when a guard does not hold."""
    held = _running(tx, told.ref_seq)
    keep_report(tx, sidecar, told, now=now)
    return _judged(tx, held, now=now)


def turn(tx: Transaction, *, now: int) -> int:
    """Take back what breaches a guard, and go on where a ring was watched for long enough; return how many moved."""
    moved = 0
    for held in _all(tx):
        if held.state != "running":
            continue
        since = _since(tx, held, now=now)
        if since is None:
            abort(tx, held.staged.ref_seq, actor="system", reason=SUPERSEDED, now=now, quiet=True)
            moved += 1
            continue
        after = _judged(tx, held, now=now)
        if after is held and held.dwell is not None and held.staged.mode == "enforce" and now - since >= held.dwell:
            reports = [one for _, one in reports_of(tx, held.staged.ref_seq, now=now)]
            # What one sidecar says takes nothing back, and yet does not let it spread.
            if seen_enough(reports, held.guards) and not suspicions(reports, held.guards):
                after = advance(tx, held.staged.ref_seq, actor="system", reason="guards hold", now=now)
        moved += after is not held
    return moved


def get(tx: Transaction, ref_seq: int) -> Held:
    """Return a rollout; ROLLOUT_NOT_FOUND."""
    body = tx.situation.all(KIND).get(_name(ref_seq))
    if body is None:
        raise InputError("ROLLOUT_NOT_FOUND", f"there is no rollout {ref_seq}")
    return _decode(body)


def newest(tx: Transaction) -> list[Held]:
    """Return every rollout that is remembered, newest first."""
    return list(_all(tx))[::-1]


def under_way(tx: Transaction) -> list[Held]:
    """Return what is running, oldest first."""
    return [held for held in _all(tx) if held.state == "running"]


def _judged(tx: Transaction, held: Held, *, now: int) -> Held:
    reports = reports_of(tx, held.staged.ref_seq, now=now)
    all_heard = now - held.began_at >= HEARD_SECONDS
    found = breaches([one for _, one in reports], held.guards, all_heard=all_heard)
    if not found or held.staged.mode == "report-only":
        return held
    incident = Incident(
        at=now,
        breaches=found,
        sidecars=tuple(sidecar for sidecar, _ in reports)[:100],
        decided=sum(one.decided for _, one in reports),
        reached=held.reached,
    )
    return abort(tx, held.staged.ref_seq, actor="system", reason=BREACH, now=now, incident=incident)


def _since(tx: Transaction, held: Held, *, now: int) -> int | None:
    """Return since when a ring is watched; None: there is nothing to roll out any more."""
    if held.type != RELEASE:
        return held.moved_at
    release = _release(tx, held)
    settled = tx.releases.last("released", settled=True)
    if release is None or release.state not in ("waiting", "released", "watched"):
        return None
    if settled is not None and settled.seq > release.seq:
        return None  # another one was told to everybody since
    return now if release.state == "waiting" else max(held.moved_at, release.released_at or now)


def _release(tx: Transaction, held: Held) -> KeptRelease | None:
    return tx.releases.get(int(held.object.partition(":")[2])) if held.type == RELEASE else None


def _stacked(tx: Transaction, held: Held, type_: str, plan: Plan, *, now: int) -> bool:
    """Whether a release would go out on top of one that may be taken back: it could not be taken back to that."""
    enforced = held.staged.mode == plan.mode == "enforce"
    return enforced and held.type == type_ == RELEASE and _since(tx, held, now=now) is not None


def _complete(tx: Transaction, held: Held, *, actor: str, now: int) -> Held:
    after = replace(held, state="complete")
    _keep(tx, after)
    kind, _, id_ = held.object.partition(":")
    if held.type == RELEASE:
        staged_releases.settle(tx, int(id_), actor=actor, now=now)
    else:
        tx.situation.put(kind, id_, bytes(held.record))
    _write_down(tx, after, "rollout.completed", before=held, actor=actor, reason="", now=now)
    return after


def _running(tx: Transaction, ref_seq: int) -> Held:
    held = get(tx, ref_seq)
    if held.state != "running":
        raise InputError("ROLLOUT_OVER", f"rollout {ref_seq} is {held.state}")
    return held


def _next(tx: Transaction) -> int:
    """Take the next number. It grows for ever, since a number names one membership of its own."""
    known = tx.situation.all(COUNTER).get("")
    number = (msgspec.json.decode(known, type=int) if known is not None else 0) + 1
    tx.situation.put(COUNTER, "", msgspec.json.encode(number))
    return number


def _all(tx: Transaction) -> Iterator[Held]:
    return map(_decode, tx.situation.all(KIND).values())


def _keep(tx: Transaction, held: Held) -> None:
    tx.situation.put(KIND, _name(held.staged.ref_seq), msgspec.json.encode(held))


def aborted_data(ref_seq: int, reason: str) -> bytes:
    """Return the `data` of `rollout.aborted`."""
    return msgspec.json.encode({"ref_seq": ref_seq, "reason": reason})


def _name(ref_seq: int) -> str:
    return f"{ref_seq:016d}"  # in the order of the ids is the order they were begun


def _write_down(
    tx: Transaction, held: Held, action: str, *, actor: str, reason: str, now: int, before: Held | None = None
) -> None:
    write_down(
        tx,
        actor=actor,
        action=action,
        object_=f"rollout:{held.staged.ref_seq}",
        reason=reason,
        before=None if before is None else _shown(before),
        after={**_shown(held), "record": held.record} if before is None else _shown(held),
        now=now,
    )
    if held.incident is not None and action == "rollout.aborted":
        write_down(
            tx,
            actor=actor,
            action="incident.recorded",
            object_=f"incident:rollout-{held.staged.ref_seq}",
            reason=reason,
            after={"about": held.object, **msgspec.to_builtins(held.incident)},
            now=now,
        )


def _shown(held: Held) -> dict[str, Any]:
    return {
        "about": held.object,
        "state": held.state,
        "mode": held.staged.mode,
        "rings": [ring.name for ring in held.staged.rings],
        "reached": held.reached,
    }
