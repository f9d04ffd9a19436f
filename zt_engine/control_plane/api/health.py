"""`GET /healthz`: whether this process and its database answer. It tells hardly more, as anybody may ask."""

from __future__ import annotations

from fastapi import APIRouter

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.fleet import silent
from zt_engine.control_plane.problem import problems


def router(plane: ControlPlane) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", responses=problems())
    def healthz() -> dict[str, str]:
        """Whether this process and its database answer; 503 otherwise.

        `reports` is `silent` while the reports of a whole fleet stay away, which no single device is to blame for.
        """
        with plane.store.reading(plane.settings.tenant) as tx:
            tx.audit.page(after=0, limit=1)
            reports = "silent" if silent(tx, now=plane.now()) else "ok"
        return {"status": "ok", "reports": reports}

    return routes
