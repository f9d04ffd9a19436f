"""Enrollments at the desk: whose are under way, where one stands, and what came of it."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from device_inventory.enrollment import STATES, STEPS, Enrollment, EnrollmentGroup, EnrollmentStep, expired
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrollments import name_of, wanted
from zt_engine.control_plane.paging import After
from zt_engine.control_plane.portal.desk_pages import DeskPages
from zt_engine.control_plane.portal.desk_reading import EVENTS, PAGE
from zt_engine.control_plane.portal.visitor import Visitor, officer
from zt_engine.control_plane.routes import PathText, Sought
from zt_engine.core.audit import AuditEvent
from zt_engine.core.errors import InputError

Reader = Annotated[Visitor, Depends(officer("invitations.read"))]
Asked = Annotated[str, Query(max_length=64)]
GROUPS: Final[tuple[EnrollmentGroup, ...]] = ("open", "finished", *STATES)


class EnrollmentLine(msgspec.Struct, frozen=True, kw_only=True):
    """An enrollment in a list, with the name its person goes by."""

    held: Enrollment
    person: str


class EnrollmentShown(EnrollmentLine, frozen=True, kw_only=True):
    """What the page of an enrollment shows. `until`: when its person has to be done; None where nothing runs out."""

    invited_by: str
    step: EnrollmentStep
    until: int | None
    events: tuple[AuditEvent, ...]


def enrollment_routes(plane: ControlPlane, routes: APIRouter, pages: DeskPages) -> None:
    """Add the pages of enrollments."""
    home = plane.settings.home_issuer

    @routes.get("/desk/enrollments")
    def enrollments(who: Reader, q: Sought = "", state: Asked = "", after: After = "") -> Response:
        """Search for enrollments."""
        chosen = next((one for one in GROUPS if one == state), None)
        with plane.store.reading(plane.settings.tenant) as tx:
            filtered = wanted(group=chosen, text=q.strip(), home=home)
            found = tx.enrollments.page(filtered, after=after, limit=PAGE + 1)
        kept = {"q": q, "state": chosen or ""}
        behind = {"after": found[PAGE - 1].id} if len(found) > PAGE else {}
        return pages.show(
            "enrollments",
            who,
            tab="enrollments",
            found=[EnrollmentLine(held=one, person=name_of(one, home=home)) for one in found[:PAGE]],
            q=q,
            chosen=chosen or "",
            groups=GROUPS,
            after=after,
            first=f"/desk/enrollments?{urlencode(kept)}",
            next=f"/desk/enrollments?{urlencode(kept | behind)}" if behind else "",
        )

    @routes.get("/desk/enrollments/{enrollment_id}")
    def enrollment(who: Reader, enrollment_id: PathText) -> Response:
        """Show how far an enrollment is, and what happened to it."""
        return pages.show("enrollment", who, tab="enrollments", shown=_shown(plane, enrollment_id))


def _shown(plane: ControlPlane, enrollment_id: str) -> EnrollmentShown:
    with plane.store.reading(plane.settings.tenant) as tx:
        held = tx.enrollments.get(enrollment_id)
        if held is None:
            raise InputError("ENROLLMENT_NOT_FOUND", "there is no such enrollment")
        invitation = tx.invitations.get(held.invitation)
        events = tuple(tx.audit.of(f"enrollment:{enrollment_id}", limit=EVENTS))
    runs_out = expired(held, now=held.not_after) and held.state != "expired"
    return EnrollmentShown(
        held=held,
        person=name_of(held, home=plane.settings.home_issuer),
        invited_by="" if invitation is None else invitation.invited_by,
        step=STEPS[held.state],
        until=held.not_after if runs_out else None,
        events=events,
    )
