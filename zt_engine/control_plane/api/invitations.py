"""Invitations, for administrators. The code is told once, to whoever made the invitation."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from device_inventory.device import Ownership
from device_inventory.inventory import DeviceKind
from zt_engine.control_plane.access import Administrator, administrator
from zt_engine.control_plane.api.devices import ReasonBody
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.idempotency import Answer, Writing, once
from zt_engine.control_plane.invitations import Invitations, Wanted, shown
from zt_engine.control_plane.paging import After, Limit, page
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.routes import Instant, Model, Named, PathText, Words, strict_router
from zt_engine.ports.inventory import Transaction

Reader = Annotated[Administrator, Depends(administrator("invitations.read"))]
Writer = Annotated[Administrator, Depends(administrator("invitations.write"))]


class InvitationBody(Model):
    """Who is invited to enroll what. `subject` is the `sub` of the person at `issuer`."""

    subject: Named
    issuer: Words = ""
    ownership: Ownership
    kind: DeviceKind = "person"
    ceiling: Annotated[int, Field(ge=0, le=1000)] = 200
    approval: bool = False
    sponsor: Words = ""
    not_after_device: Instant | None = None
    replaces: Words | None = None


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = strict_router("invitations")
    use = Invitations(plane)

    @routes.get("/v1/invitations", responses=problems())
    def invitations(who: Reader, after: After = "", limit: Limit = 100) -> dict[str, Any]:
        """List invitations in the order of their ids."""
        with plane.store.reading(plane.settings.tenant) as tx:
            found = tx.invitations.page(after=after, limit=limit + 1)
        now = plane.now()
        return page(found, limit, key=lambda one: one.id, show=lambda one: shown(one, now=now))

    @routes.post("/v1/invitations", status_code=201, responses=problems(404))
    def invite(body: InvitationBody, who: Writer, write: Writing) -> Response:
        """Invite one person to enroll one device; the code is told in this answer and never again."""
        wanted = Wanted(
            subject=body.subject,
            issuer=body.issuer,
            ownership=body.ownership,
            kind=body.kind,
            ceiling=body.ceiling,
            approval=body.approval,
            sponsor=body.sponsor,
            ends_at=body.not_after_device,
            replaces=body.replaces or "",
        )

        def work(tx: Transaction) -> Answer:
            made, code = use.invite(tx, wanted, who=who, now=plane.now())
            told = {"code": code, "link": use.link(code)}
            return Answer(status=201, body=shown(made, now=plane.now()), secrets=told)

        return once(plane, write, work)

    @routes.post("/v1/invitations/{invitation}/withdraw", responses=problems(404, 409))
    def withdraw(invitation: PathText, body: ReasonBody, who: Writer, write: Writing) -> Response:
        """Withdraw an invitation nothing has come of yet."""

        def work(tx: Transaction) -> Answer:
            now = plane.now()
            after = use.withdraw(tx, invitation, actor=who.actor, reason=body.reason, now=now)
            return Answer(body=shown(after, now=now))

        return once(plane, write, work)

    return routes
