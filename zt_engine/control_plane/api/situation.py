"""The situation, for the security team: threat level, overlays, grants, continuity, revocations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Query, Response
from pydantic import Field

from zt_engine.control_plane.access import Administrator, administrator
from zt_engine.control_plane.break_glass import review
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.idempotency import Answer, Writing, once
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.routes import Instant, Model, PathText, Reason, Words, strict_router
from zt_engine.control_plane.situation import Declarations, Kind
from zt_engine.core.approval import Approval
from zt_engine.core.situation import MAX_THREAT_LEVEL
from zt_engine.ports.inventory import Transaction

Reader = Annotated[Administrator, Depends(administrator("situation.read"))]
Writer = Annotated[Administrator, Depends(administrator("situation.write"))]
Revoker = Annotated[Administrator, Depends(administrator("revocations.write"))]
Record = Annotated[dict[str, Any], Body(description="The record as sidecars read it, with its approvals.")]
Why = Annotated[Words, Query(description="Why; it stands in the audit.")]


class ApprovalBody(Model):
    """One signature of an approver."""

    key_id: Annotated[str, Field(max_length=64)]
    signature: Annotated[str, Field(max_length=128)]


class LevelBody(Model):
    """How tense things are, from 0 (calm)."""

    threat_level: Annotated[int, Field(ge=0, le=MAX_THREAT_LEVEL)]
    reason: Reason
    previous: Annotated[int, Field(ge=0, le=MAX_THREAT_LEVEL)] | None = None
    expires_at: Instant | None = None
    approvals: Annotated[list[ApprovalBody], Field(max_length=20, default_factory=list)]
    """Two people's signatures over `{tenant, previous, threat_level, expires_at}`, for a level that goes down."""


class ReviewBody(Model):
    """What a review has found."""

    findings: Reason


class RevocationBody(Model):
    """What is revoked until when; null: for ever."""

    kind: Literal["device", "cert", "subject", "session", "jti"]
    key: Annotated[str, Field(min_length=1, max_length=480, pattern=r"^[^\x00-\x1f\x7f]+$")]
    until: Instant | None
    reason: Reason


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = strict_router("situation")
    use = Declarations(plane)

    @routes.get("/v1/situation", responses=problems())
    def situation(who: Reader) -> dict[str, Any]:
        """Return everything that is in force or announced."""
        with plane.store.reading(plane.settings.tenant) as tx:
            return use.everything(tx, now=plane.now())

    @routes.put("/v1/situation/threat-level", responses=problems())
    def level(who: Writer, body: LevelBody) -> dict[str, Any]:
        """Set the threat level: one person raises it, two have to sign that it goes down."""
        with plane.store.writing(plane.settings.tenant) as tx:
            return use.set_level(
                tx,
                body.threat_level,
                actor=who.actor,
                reason=body.reason,
                now=plane.now(),
                previous=body.previous,
                expires_at=body.expires_at or 0,
                approvals=[Approval(one.key_id, one.signature) for one in body.approvals],
            )

    @routes.post("/v1/situation/grants/{id}/review", responses=problems(404), response_class=Response)
    def review_(who: Writer, id: PathText, body: ReviewBody, write: Writing) -> Response:  # noqa: A002
        """Write down what came of breaking the glass; 72 hours after its end nobody breaks it again without."""

        def work(tx: Transaction) -> Answer:
            settled = review(tx, id, actor=who.actor, findings=body.findings, now=plane.now())
            return Answer(body={"grant": id, "settled": settled})

        return once(plane, write, work)

    @routes.post("/v1/revocations", status_code=201, responses=problems())
    def revoke(who: Revoker, body: RevocationBody, write: Writing) -> Response:
        """Revoke a device, certificate, subject, session or token; it cannot be taken back before its end."""
        return once(
            plane,
            write,
            lambda tx: Answer(
                status=201,
                body=use.revoke(
                    tx, body.kind, body.key, body.until, actor=who.actor, reason=body.reason, now=plane.now()
                ),
            ),
        )

    kinds: tuple[tuple[Kind, str], ...] = (("overlay", "overlays"), ("grant", "grants"), ("continuity", "continuity"))
    for kind, path in kinds:
        _records(plane, routes, use, kind, path)
    return routes


def _records(plane: ControlPlane, routes: APIRouter, use: Declarations, kind: Kind, path: str) -> None:
    @routes.put(f"/v1/situation/{path}/{{id}}", name=f"put_{kind}", responses=problems())
    def put(who: Writer, id: PathText, body: Record) -> dict[str, Any]:  # noqa: A002
        """Declare a record, or replace it; what loosens has to carry approvals that hold."""
        with plane.store.writing(plane.settings.tenant) as tx:
            return use.put(tx, kind, id, body, actor=who.actor, now=plane.now())

    @routes.delete(f"/v1/situation/{path}/{{id}}", name=f"remove_{kind}", status_code=204, responses=problems(404))
    def remove(who: Writer, id: PathText, reason: Why = "") -> None:  # noqa: A002
        """Withdraw a record before its end."""
        with plane.store.writing(plane.settings.tenant) as tx:
            use.remove(tx, kind, id, actor=who.actor, reason=reason, now=plane.now())
