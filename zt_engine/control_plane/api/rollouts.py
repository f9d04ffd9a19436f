"""Staged rollouts, for the security team; and what shadows are to watch and say, for sidecars."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Path
from fastapi import Response as Empty
from pydantic import Field
from starlette.responses import Response

from zt_engine.control_plane import rollouts
from zt_engine.control_plane.access import PERMISSIONS, Administrator, administrator
from zt_engine.control_plane.api.sidecars import sidecar_caller
from zt_engine.control_plane.break_glass import declare
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.idempotency import Answer, Writing, once
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.released_names import check_names
from zt_engine.control_plane.routes import Model, Reason, strict_router
from zt_engine.control_plane.shadow_reports import reports_of
from zt_engine.control_plane.situation import owned
from zt_engine.core.errors import InputError
from zt_engine.core.guards import MAX_CHANGES, ShadowReport, suspicions
from zt_engine.ports.inventory import SidecarRecord, Transaction

Reader = Annotated[Administrator, Depends(administrator("situation.read"))]
Writer = Annotated[Administrator, Depends(administrator("situation.write"))]
Caller = Annotated[SidecarRecord, Depends(sidecar_caller)]
RefSeq = Annotated[int, Path(ge=1, le=2**53)]
PUBLISH = "policy.publish"
TYPES = {"overlay": "overlay.changed", "grant": "grant.changed", "threat_level": "threat_level.changed"}


class BeginBody(Model):
    """A record of the situation, and how it goes out."""

    kind: Literal["overlay", "grant", "threat_level"]
    record: dict[str, Any]
    plan: dict[str, Any] = Field(description="`rings`, `mode`, `guards`, `dwell`")
    reason: Reason


class StepBody(Model):
    """Why."""

    reason: Reason


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = strict_router("rollouts")
    _for_administrators(plane, routes)
    _for_shadows(plane, routes)
    return routes


def _for_administrators(plane: ControlPlane, routes: APIRouter) -> None:
    @routes.get("/v1/rollouts", responses=problems())
    def every(who: Reader) -> dict[str, Any]:
        """List rollouts, newest first."""
        with plane.store.reading(plane.settings.tenant) as tx:
            return {"items": [shown(held) for held in rollouts.newest(tx)], "next": None}

    @routes.get("/v1/rollouts/{ref_seq}", responses=problems(404))
    def one(ref_seq: RefSeq, who: Reader) -> dict[str, Any]:
        """Return a rollout, with what shadows have seen, what is suspected, and the incident."""
        with plane.store.reading(plane.settings.tenant) as tx:
            held = rollouts.get(tx, ref_seq)
            seen = reports_of(tx, ref_seq, now=plane.now())
            reports = [{"sidecar": sidecar, **_plain(told)} for sidecar, told in seen]
            found = {"record": json.loads(bytes(held.record)), "reports": reports, "suspicions": []}
            if held.state == "running":
                found["suspicions"] = _plain(suspicions([told for _, told in seen], held.guards))
            return {**shown(held), **found}

    @routes.post("/v1/rollouts", status_code=201, responses=problems(), response_class=Response)
    def begin(who: Writer, body: BeginBody, write: Writing) -> Response:
        """Begin to roll a change of the situation out; a release is begun where it is released."""

        def work(tx: Transaction) -> Answer:
            plan, (id_, raw) = rollouts.read_plan(body.plan), _checked(plane, tx, body, actor=who.actor)
            if body.kind == "grant":
                declare(tx, body.record, actor=who.actor, now=plane.now())
            staged = rollouts.begin(
                tx,
                plan,
                type_=TYPES[body.kind],
                object_=f"{body.kind}:{id_}",
                record=raw,
                actor=who.actor,
                reason=body.reason,
                now=plane.now(),
            )
            tx.outbox.announce(TYPES[body.kind], rollouts.event_data(staged, raw))
            return Answer(status=201, body=shown(rollouts.get(tx, staged.ref_seq)))

        return once(plane, write, work)

    @routes.post("/v1/rollouts/{ref_seq}/advance", responses=problems(404), response_class=Response)
    def advance(ref_seq: RefSeq, who: Writer, body: StepBody, write: Writing) -> Response:
        """Have it reach the next ring."""

        def work(tx: Transaction) -> Answer:
            _may(who, rollouts.get(tx, ref_seq))
            held = rollouts.advance(tx, ref_seq, actor=who.actor, reason=body.reason, now=plane.now())
            return Answer(body=shown(held))

        return once(plane, write, work)

    @routes.post("/v1/rollouts/{ref_seq}/abort", responses=problems(404), response_class=Response)
    def abort(ref_seq: RefSeq, who: Writer, body: StepBody, write: Writing) -> Response:
        """Take it back everywhere."""

        def work(tx: Transaction) -> Answer:
            _may(who, rollouts.get(tx, ref_seq))
            held = rollouts.abort(tx, ref_seq, actor=who.actor, reason=body.reason, now=plane.now())
            return Answer(body=shown(held))

        return once(plane, write, work)


def _for_shadows(plane: ControlPlane, routes: APIRouter) -> None:
    @routes.get("/v1/shadow", responses=problems())
    def watched(who: Caller) -> dict[str, Any]:
        """Return what shadows are to watch, with what holds without it."""
        with plane.store.reading(plane.settings.tenant) as tx:
            return {"items": [_candidate(tx, held) for held in rollouts.under_way(tx)]}

    @routes.put("/v1/shadow/{ref_seq}", status_code=204, responses=problems(404))
    def report(ref_seq: RefSeq, who: Caller, body: dict[str, Any]) -> Empty:
        """Say what the shadow beside a sidecar has seen so far."""
        try:
            told = msgspec.convert({**body, "ref_seq": ref_seq}, ShadowReport)
        except msgspec.ValidationError as error:
            raise InputError("ROLLOUT_REPORT", str(error)[:300]) from None
        with plane.store.writing(plane.settings.tenant) as tx:
            rollouts.report(tx, who.id, told, now=plane.now())
        return Empty(status_code=204)


def shown(held: rollouts.Held) -> dict[str, Any]:
    """Return a rollout as it is answered."""
    found = _plain(msgspec.structs.replace(held, record=None))
    found.pop("record")
    staged = found.pop("staged")
    return {**staged, **found}


def _checked(plane: ControlPlane, tx: Transaction, body: BeginBody, *, actor: str) -> tuple[str, bytes]:
    raw = json.dumps(owned(body.kind, body.record, actor), separators=(",", ":"), ensure_ascii=False).encode()
    if body.kind == "threat_level":
        level = body.record.get("threat_level")
        if set(body.record) != {"threat_level"} or type(level) is not int or not 0 <= level <= 4:
            raise InputError("SITUATION_THREAT_LEVEL", "the record is `{threat_level: 0 to 4}`", where="record")
        known = tx.situation.all("threat_level").get("")
        if level < (msgspec.json.decode(known)["threat_level"] if known is not None else 0):
            raise InputError("ROLLOUT_LOOSENS", "a level is lowered by two people, not by a rollout", where="record")
        return "", raw
    id_ = body.record.get("id")
    if not isinstance(id_, str):
        raise InputError("RECORD_ID", "the record has no id", where="record.id")
    plane.records.check(body.kind, raw)
    if body.kind == "overlay":
        check_names(plane, tx, body.record["effect"])
    return id_, raw


def _may(who: Administrator, held: rollouts.Held) -> None:
    """A release is moved on by those who may publish."""
    if held.type == "bundle.released" and PUBLISH not in {str(one) for one in PERMISSIONS[who.role]}:
        raise InputError("AUTH_FORBIDDEN", f"the role `{who.role}` lacks `{PUBLISH}`")


def _candidate(tx: Transaction, held: rollouts.Held) -> dict[str, Any]:
    kind, _, id_ = held.object.partition(":")
    found: dict[str, Any] = {
        "staged": _plain(held.staged),
        "type": held.type,
        "object": held.object,
        "record": json.loads(bytes(held.record)),
        "must_allow": _plain(held.guards.must_allow)[:MAX_CHANGES],
        "before": None,
    }
    if held.type == "bundle.released":
        candidate, settled = tx.releases.get(int(id_)), tx.releases.last("released", settled=True)
        found["bundle"] = candidate.bundle_digest if candidate is not None else ""
        found["before"] = settled.bundle_digest if settled is not None else ""
    elif (known := tx.situation.all(kind).get(id_)) is not None:
        found["before"] = json.loads(known)
    return found


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value)
