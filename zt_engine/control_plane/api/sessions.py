"""Browser sign-in, for sidecars: begin, finish, refresh and end; and the provider's word that a session has ended."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import Path, Request, Response
from fastapi.routing import APIRouter
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from zt_engine.control_plane.api.sidecars import Caller
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.problem import problem_of, problems
from zt_engine.control_plane.routes import Model, strict_router
from zt_engine.control_plane.sessions import Sessions
from zt_engine.core.errors import InputError, ZtError

PART = "sessions"
MAX_FORM = 32 * 1024
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9.:\[\]-]+$")]
Authority = Annotated[str, Field(min_length=1, max_length=262, pattern=r"^[a-z0-9.:\[\]-]+$")]
Secret = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_-]*$")]
DeviceId = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9._-]*$")]
Text = Annotated[str, Field(max_length=4096)]
Sid = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{43}$")]


class BeginBody(Model):
    """Which browser is to be sent away, and where it is to come back to."""

    scheme: Annotated[str, Field(pattern=r"^https?$")]
    host: Host
    authority: Authority
    to: Text
    acr_values: Annotated[str, Field(max_length=512)] = ""
    max_age: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    device_id: DeviceId = ""
    ticket: Secret = ""
    address: Annotated[str, Field(max_length=64)] = ""


class FinishBody(Model):
    """What a browser came back with."""

    state: Secret
    ticket: Secret
    host: Host
    device_id: DeviceId = ""
    code: Text = ""
    issuer: Annotated[str, Field(max_length=512)] | None = None
    error: Annotated[str, Field(max_length=128)] = ""
    replaces: Annotated[str, Field(pattern=r"^([A-Za-z0-9_-]{43})?$")] = ""


class EndBody(Model):
    """Where the browser of somebody who signs out is, and what it will recognise its way back by."""

    back: Annotated[str, Field(max_length=270, pattern=r"^(https?://[a-z0-9.:\[\]-]+)?$")] = ""
    state: Secret = ""


def sessions_of(plane: ControlPlane) -> Sessions:
    """Return the sessions of this control plane; InputError SIGN_IN_OFF where nobody signs in with a browser."""
    found = plane.extras.get(PART)
    if not isinstance(found, Sessions):
        raise InputError("SIGN_IN_OFF", "this control plane signs no browser in")
    return found


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = strict_router("sessions")

    @routes.post("/v1/sign-ins", status_code=201, responses=problems())
    def begin(body: BeginBody, who: Caller) -> dict[str, Any]:
        """Begin a sign-in: where to send the browser, and the ticket that ties it to that browser."""
        begun = sessions_of(plane).begin(
            scheme=body.scheme,
            host=body.host,
            authority=body.authority,
            to=body.to,
            acr_values=body.acr_values,
            max_age=body.max_age,
            device_id=body.device_id,
            ticket=body.ticket,
            address=body.address,
            now=plane.now(),
        )
        return {"location": begun.location, "ticket": begun.ticket, "seconds": begun.seconds}

    @routes.post("/v1/sign-ins/finish", status_code=201, responses=problems())
    def finish(body: FinishBody, who: Caller) -> dict[str, Any]:
        """Finish a sign-in; the handle of the session is told here and never again."""
        done = sessions_of(plane).finish(
            state=body.state,
            ticket=body.ticket,
            host=body.host,
            device_id=body.device_id,
            code=body.code,
            issuer=body.issuer,
            error=body.error,
            replaces=body.replaces,
            now=plane.now(),
        )
        wish = {"acr_values": done.wish.acr_values, "max_age": done.wish.max_age}
        return {"handle": done.handle, "sid": done.sid, "to": done.to, "seconds": done.seconds, "wish": wish}

    @routes.post("/v1/sessions/{sid}/refresh", responses=problems(404))
    def refresh(sid: Sid, who: Caller) -> dict[str, Any]:
        """Refresh a session when it is time; however many ask at once, the provider is asked once."""
        found = sessions_of(plane).refresh(sid, now=plane.now())
        if found is None:
            raise InputError("SESSION_NOT_FOUND", "the session has ended")
        return {"until": found.until, "version": found.version}

    @routes.post("/v1/sessions/{sid}/end", responses=problems(404))
    def end(sid: Sid, body: EndBody, who: Caller) -> dict[str, Any]:
        """End a session: somebody signs out. `location` is where the browser goes on to, empty for nowhere."""
        location = sessions_of(plane).sign_out(
            sid, back=body.back, state=body.state, reason="signed out", actor=f"sidecar:{who.id}", now=plane.now()
        )
        if location is None:
            raise InputError("SESSION_NOT_FOUND", "the session has ended")
        return {"ended": True, "location": location}

    @routes.post("/v1/backchannel-logout", include_in_schema=False)
    async def backchannel(request: Request) -> Response:
        """Take the provider's word that somebody's session has ended (OpenID Connect Back-Channel Logout 1.0, 2.5)."""
        try:
            token = await _logout_token(request)
            await run_in_threadpool(sessions_of(plane).logged_out, token, now=plane.now())
        except ZtError as error:
            status = 400 if isinstance(error, InputError) else 503
            language = request.headers.get("accept-language", "")
            return problem_of(error, status=status, accept_language=language, default_language=plane.settings.language)
        return Response(status_code=200, headers={"Cache-Control": "no-store"})

    return routes


async def _logout_token(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if kind != "application/x-www-form-urlencoded" or len(body) > MAX_FORM:
        raise InputError("LOGOUT_TOKEN", "the body is no form with a logout token")
    found = parse_qs(body.decode("ascii", "replace"), max_num_fields=8).get("logout_token", [])
    if len(found) != 1:
        raise InputError("LOGOUT_TOKEN", "the form has not exactly one logout token")
    return found[0].encode("ascii", "replace")
