"""`GET /v1/audit`: who changed what, when and why, with what was before and after."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query

from zt_engine.control_plane.access import Administrator, administrator
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.paging import Limit, page
from zt_engine.control_plane.problem import problems
from zt_engine.core.audit import AuditEvent

Reader = Annotated[Administrator, Depends(administrator("audit.read"))]


def router(plane: ControlPlane) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["audit"])

    @routes.get("/v1/audit", responses=problems())
    def audit(who: Reader, after: Annotated[int, Query(ge=0, le=2**53)] = 0, limit: Limit = 100) -> dict[str, Any]:
        """List every change in order."""
        with plane.store.reading(plane.settings.tenant) as tx:
            found = tx.audit.page(after=after, limit=limit + 1)
        return page(found, limit, key=lambda event: event.seq, show=shown)

    return routes


def shown(event: AuditEvent) -> dict[str, Any]:
    """Return an event with its states decoded."""
    return {
        "seq": event.seq,
        "at": event.at,
        "actor": event.actor,
        "action": event.action,
        "object": event.object,
        "reason": event.reason,
        "before": msgspec.json.decode(event.before) if event.before else None,
        "after": msgspec.json.decode(event.after) if event.after else None,
    }
