"""`GET /v1/whoami`: who the credential belongs to and what it may do. `GET /v1/openapi.json`: what there is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from zt_engine.control_plane.access import PERMISSIONS, Administrator, administrator
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.problem import problems

Viewer = Annotated[Administrator, Depends(administrator("devices.read"))]


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["administrators"])

    @routes.get("/v1/whoami", responses=problems())
    def whoami(who: Viewer) -> dict[str, Any]:
        """Who asks, in which role, with which permissions."""
        return {
            "name": who.name,
            "actor": who.actor,
            "role": who.role,
            "permissions": sorted(PERMISSIONS[who.role]),
            "tenant": plane.settings.tenant,
        }

    @routes.get("/v1/openapi.json", include_in_schema=False)
    def openapi(who: Viewer, request: Request) -> dict[str, Any]:
        """Describe every route (OpenAPI 3.1)."""
        described: dict[str, Any] = request.app.openapi()
        return described

    return routes
