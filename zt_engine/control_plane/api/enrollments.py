"""Enrollments, for administrators: who is registering what, how far they are, and what came of it."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query

from device_inventory.enrollment import EnrollmentGroup
from zt_engine.control_plane.access import Administrator, administrator
from zt_engine.control_plane.api.audit import shown
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrollments import listed, wanted
from zt_engine.control_plane.paging import After, Limit, page
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.routes import PathText, Sought
from zt_engine.core.errors import InputError

Reader = Annotated[Administrator, Depends(administrator("invitations.read"))]
EVENTS: Final = 50


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["enrollments"])
    home = plane.settings.home_issuer

    @routes.get("/v1/enrollments", responses=problems())
    def enrollments(  # noqa: PLR0917 -- called by name
        who: Reader,
        state: Annotated[EnrollmentGroup | None, Query(description="A state, or `open`, or `finished`.")] = None,
        person: Annotated[Sought, Query(description="Whose: the name records of devices know them by.")] = "",
        device: Annotated[Sought, Query(description="The device that came of it.")] = "",
        q: Annotated[
            Sought, Query(description="Part of id, subject, device or invitation; or `ISSUER|SUB`, whole.")
        ] = "",
        after: After = "",
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """List enrollments in the order of their ids."""
        filtered = wanted(group=state, person=person, device_id=device, text=q, home=home)
        with plane.store.reading(plane.settings.tenant) as tx:
            found = tx.enrollments.page(filtered, after=after, limit=limit + 1)
        return page(found, limit, key=lambda one: one.id, show=lambda one: listed(one, home=home))

    @routes.get("/v1/enrollments/{enrollment}", responses=problems(404))
    def one(who: Reader, enrollment: PathText) -> dict[str, Any]:
        """Return an enrollment with how its person signed in, what they agreed to, and what happened."""
        with plane.store.reading(plane.settings.tenant) as tx:
            found = tx.enrollments.get(enrollment)
            if found is None:
                raise InputError("ENROLLMENT_NOT_FOUND", "there is no such enrollment")
            events = tx.audit.of(f"enrollment:{enrollment}", limit=EVENTS)
        return listed(found, home=home) | {
            "acr": found.acr,
            "auth_time": found.auth_time,
            "notice_version": found.notice_version,
            "events": [shown(event) for event in events],
        }

    return routes
