"""Policy releases, for publishers and approvers: what is next, submit, approve, withdraw, history, who has it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import Field

from zt_engine.control_plane.access import Administrator, administrator
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.delegating import check_withdrawal, delegation_of
from zt_engine.control_plane.idempotency import Answer, Writing, again, once
from zt_engine.control_plane.paging import Limit
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.release_status import release_status
from zt_engine.control_plane.releases import Releases, notice_of, told
from zt_engine.control_plane.rollouts import newest
from zt_engine.control_plane.routes import Model, Words, strict_router
from zt_engine.control_plane.sidecars import Sidecars
from zt_engine.core.approval import Approval
from zt_engine.core.errors import InputError, UnavailableError, ZtError
from zt_engine.core.release import MAX_APPROVALS
from zt_engine.ports.inventory import SidecarRecord, Transaction
from zt_engine.ports.releases import KeptRelease

RELEASES = "releases"
"""Where in the extras of a control plane its releases are."""

Reader = Annotated[Administrator, Depends(administrator("policy.read"))]
Publisher = Annotated[Administrator, Depends(administrator("policy.publish"))]
MayApprove = Annotated[Administrator, Depends(administrator("policy.approve"))]
Seq = Annotated[int, Path(ge=1, le=2**53)]
Before = Annotated[int, Query(ge=0, le=2**53)]
Why = Annotated[Words, Query(description="Why; it stands in the audit.")]
_SHOWN_AUDIT = 50


class ApprovalBody(Model):
    """A person's signature under content and way back."""

    key_id: Annotated[str, Field(min_length=1, max_length=128)]
    signature: Annotated[str, Field(min_length=1, max_length=256)]


class ReleaseBody(Model):
    """A record as its publisher signed it, with the approvals there are; `staged`: how it goes out."""

    record: Annotated[str, Field(min_length=1, max_length=32_768)]
    approvals: Annotated[list[ApprovalBody], Field(max_length=MAX_APPROVALS, default_factory=list)]
    staged: dict[str, Any] | None = None


def releases_of(plane: ControlPlane) -> Releases:
    """Return the releases of this control plane; UnavailableError RELEASE_NO_KEYS where nothing can be verified."""
    found = plane.extras.get(RELEASES)
    if not isinstance(found, Releases):
        raise UnavailableError("RELEASE_NO_KEYS", "no bundle keys are configured (`policy.keys`)")
    return found


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = strict_router("releases")
    _publishing(plane, routes)
    _approving(plane, routes)
    _looking(plane, routes)
    return routes


def _publishing(plane: ControlPlane, routes: APIRouter) -> None:
    @routes.get("/v1/releases/next", responses=problems())
    def coming(who: Reader) -> dict[str, Any]:
        """Return what the next record has to say: its number, what is in force, how many approve what weakens."""
        return releases_of(plane).next()

    @routes.post(
        "/v1/releases",
        status_code=201,
        responses={**problems(404, 409), 202: {"description": "It waits for approvals."}},
        response_class=Response,
    )
    def submit(body: ReleaseBody, who: Publisher, write: Writing) -> Response:
        """Put a signed release in force, or have it wait for approvals. It is verified as sidecars verify it."""
        releases, now = releases_of(plane), plane.now()
        if (before := again(plane, write)) is not None:
            return before
        approvals = [_approval(one) for one in body.approvals]
        seq = 0
        try:
            seq = releases.judge.read(body.record).seq
            if who.service:
                delegation_of(plane).check(who, body.record, staged=body.staged is not None)
            candidate = releases.examine(body.record, approvals, body.staged, now=plane.clock.now())

            def work(tx: Transaction) -> Answer:
                kept = releases.submit(tx, candidate, actor=who.actor, now=now)
                people = len(candidate.people)
                return Answer(
                    status=201 if kept.state == "released" else 202,
                    body=_answer(kept, lacking=max(0, candidate.release.approvals_needed - people)),
                )

            answer = once(plane, write, work)
        except ZtError as error:
            if not isinstance(error, UnavailableError):
                releases.refuse(seq, error, actor=who.actor, now=now)
            raise
        releases.changed()
        return answer

    @routes.delete("/v1/releases/{seq}", status_code=204, responses=problems(404, 409))
    def withdraw(seq: Seq, who: Publisher, reason: Why = "") -> None:
        """Take back a release that waits for approvals."""
        with plane.store.writing(plane.settings.tenant) as tx:
            check_withdrawal(tx, who, seq)
            releases_of(plane).withdraw(tx, seq, actor=who.actor, reason=reason, now=plane.now())


def _approving(plane: ControlPlane, routes: APIRouter) -> None:
    @routes.post("/v1/releases/{seq}/approvals", responses=problems(404, 409), response_class=Response)
    def approve(seq: Seq, body: ApprovalBody, who: MayApprove, write: Writing) -> Response:
        """Add an approver's signature; with the second person's the release is in force."""
        releases, now = releases_of(plane), plane.now()

        def work(tx: Transaction) -> Answer:
            kept = releases.approve(tx, seq, _approval(body), actor=who.actor, now=now)
            notice = notice_of(kept)
            release = releases.judge.read(notice.record)
            people = releases.judge.approved(release, notice.approvals)
            return Answer(body=_answer(kept, lacking=max(0, release.approvals_needed - len(people))))

        answer = once(plane, write, work)
        releases.changed()
        return answer


def _looking(plane: ControlPlane, routes: APIRouter) -> None:
    @routes.get("/v1/releases", responses=problems())
    def history(who: Reader, before: Before = 0, limit: Limit = 50) -> dict[str, Any]:
        """List releases, newest first, with what became of each."""
        with plane.store.reading(plane.settings.tenant) as tx:
            found = tx.releases.page(before=before, limit=limit + 1)
        following = found[limit - 1].seq if len(found) > limit else None
        return {"items": [told(one) for one in found[:limit]], "next": following}

    @routes.get("/v1/releases/{seq}", responses=problems(404))
    def one(seq: Seq, who: Reader) -> dict[str, Any]:
        """Return a release with its notice as sidecars are told it, and what the audit says of it."""
        with plane.store.reading(plane.settings.tenant) as tx:
            kept = _found(tx, seq)
            events = tx.audit.of(f"release:{seq}", limit=_SHOWN_AUDIT)
        audit = [
            {"at": event.at, "actor": event.actor, "action": event.action, "reason": event.reason} for event in events
        ]
        return {**told(kept), "notice": msgspec.json.decode(kept.notice), "audit": audit}

    @routes.get("/v1/releases/{seq}/status", responses=problems(404))
    def status(seq: Seq, who: Reader) -> dict[str, Any]:
        """Say who has a release, and who has not, since when and why."""
        with plane.store.reading(plane.settings.tenant) as tx:
            kept = _found(tx, seq)
        return status_of_release(plane, kept)


def status_of_release(plane: ControlPlane, kept: KeptRelease) -> dict[str, Any]:
    """Return who has a release and who has not."""
    with plane.store.reading(plane.settings.tenant) as tx:
        clients = tx.releases.opa_clients()
        held: tuple[SidecarRecord, ...] = tuple(tx.sidecars.all())
        object_ = f"release:{kept.seq}"
        rollout = next((one for one in newest(tx) if one.object == object_), None)
    sidecars = plane.extras.get("sidecars")
    known = sidecars.all() if isinstance(sidecars, Sidecars) else held
    return release_status(kept, sidecars=known, clients=clients, now=plane.clock.now(), held=rollout)


def _found(tx: Transaction, seq: int) -> KeptRelease:
    found = tx.releases.get(seq)
    if found is None:
        raise InputError("RELEASE_NOT_FOUND", f"there is no release {seq}")
    return found


def _approval(body: ApprovalBody) -> Approval:
    return Approval(key_id=body.key_id, signature=body.signature)


def _answer(kept: KeptRelease, *, lacking: int) -> dict[str, Any]:
    shown = told(kept)
    names = ("seq", "state", "content_digest", "bundle_digest", "revision", "weakens")
    return {**{name: shown[name] for name in names}, "lacking": lacking}
