"""`/`: where to go next."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.passkeys import PASSKEYS
from zt_engine.control_plane.portal.answers import html, page_router
from zt_engine.control_plane.portal.parts import PATHS, portal_of
from zt_engine.control_plane.portal.visitor import Visitor, visitor
from zt_engine.pages.portal import HOME


def router(plane: ControlPlane) -> APIRouter:
    """Return the route."""
    routes = page_router(plane)

    @routes.get("/")
    def home(who: Annotated[Visitor, Depends(visitor)]) -> Response:
        """Show what somebody may do here."""
        texts = HOME[who.language]
        # No browser gives a key to an address, so a control plane without a name has none.
        keys = ("keys",) if PASSKEYS in plane.extras else ()
        names = ("mine", "enroll", *keys, *(("desk",) if who.role is not None else ()))
        paths = {"mine": "/my", "enroll": "/enroll", "keys": "/my/keys", "desk": "/desk"}
        served = plane.extras[PATHS]
        choices = [(paths[name], texts[name], texts[f"{name}_hint"]) for name in names if paths[name] in served]
        page = portal_of(plane).book.render(
            "portal_home.html", language=who.language, visitor=who, t=texts, choices=choices
        )
        return html(page)

    return routes
