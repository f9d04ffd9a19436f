"""Step-up with a person's key, for sidecars: begin a ceremony for a session, and finish it with what was proven."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi.routing import APIRouter
from pydantic import Field

from zt_engine.control_plane.api.sessions import Authority, DeviceId, Host, Secret, Text
from zt_engine.control_plane.api.sidecars import Caller
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.passkeys_proving import Proving
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.routes import Model, strict_router

Sid = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
Acr = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z]+$")]


class BeginBody(Model):
    """Which session is to prove itself, and where its browser is to come back to."""

    sid: Sid
    scheme: Annotated[str, Field(pattern=r"^https?$")]
    host: Host
    authority: Authority
    to: Text
    device_id: DeviceId = ""
    wanted: Annotated[list[Acr], Field(min_length=1, max_length=8)]
    acr_values: Annotated[str, Field(max_length=512)] = ""
    max_age: Annotated[int, Field(ge=0, le=31_536_000)] | None = None


class FinishBody(Model):
    """What a browser came back with."""

    code: Secret
    ticket: Secret
    sid: Sid
    host: Host
    device_id: DeviceId = ""


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = strict_router("sessions")
    proving = Proving(plane)

    @routes.post("/v1/step-ups", status_code=201, responses=problems())
    def begin(body: BeginBody, who: Caller) -> dict[str, Any]:
        """Begin: where to send the browser, and the ticket that ties the ceremony to it."""
        begun = proving.begin(
            sid=body.sid,
            scheme=body.scheme,
            host=body.host,
            authority=body.authority,
            to=body.to,
            device_id=body.device_id,
            wanted=tuple(body.wanted),
            asked=_asked(body),
            now=plane.now(),
        )
        return {"location": begun.location, "ticket": begun.ticket, "seconds": begun.seconds}

    @routes.post("/v1/step-ups/finish", status_code=201, responses=problems())
    def finish(body: FinishBody, who: Caller) -> dict[str, Any]:
        """Finish: from here on the session says what the key proved."""
        raised = proving.finish(
            code=body.code,
            ticket=body.ticket,
            sid=body.sid,
            host=body.host,
            device_id=body.device_id,
            now=plane.now(),
        )
        return {"to": raised.to, "version": raised.version}

    return routes


def _asked(body: BeginBody) -> str:
    told = {"acr_values": body.acr_values, "max_age": "" if body.max_age is None else str(body.max_age)}
    return urlencode({name: value for name, value in told.items() if value})
