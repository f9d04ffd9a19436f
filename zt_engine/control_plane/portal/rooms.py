"""Every room of pages, and the room of rooms that the control plane is given where people sign in with a browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from fastapi import APIRouter

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.portal import desk, enroll, home, keys, keys_prove, my, my_ending, sign_in
from zt_engine.control_plane.portal.parts import PATHS, PORTAL, Portal

ROOMS: Final[Sequence[Callable[[ControlPlane], APIRouter]]] = (
    sign_in.router,
    home.router,
    my.router,
    my_ending.router,
    desk.router,
    enroll.router,
    keys.router,
    keys_prove.router,
)
"""A path of its own stands before one with a parameter there."""


def portal_room(portal: Portal) -> Callable[[ControlPlane], APIRouter]:
    """Return all pages as one room for `ControlPlane.rooms`."""

    def router(plane: ControlPlane) -> APIRouter:
        plane.extras[PORTAL] = portal
        routes = APIRouter()
        for make in ROOMS:
            routes.routes.extend(make(plane).routes)
        plane.extras[PATHS] = frozenset(str(getattr(route, "path", "")) for route in routes.routes)
        return routes

    return router
