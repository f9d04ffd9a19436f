"""The control plane as an ASGI application: which routes there are, which of them are public, what errors look like.

A room of routes is a module `control_plane.api.NAME` with `router(plane) -> APIRouter`, or a function in
`ControlPlane.rooms` when it needs parts of its own. A route says who may call it by a dependency made by
`access.caller` (`administrator(...)`, `device_caller`), or it is in PUBLIC and nobody has to say who they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from fastapi import APIRouter, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.responses import Response

from device_inventory.device import DeviceRecordError
from zt_engine import __version__
from zt_engine.control_plane.access import Identify, Refused
from zt_engine.control_plane.api import (
    audit,
    bundles,
    device_self,
    devices,
    directory,
    enroll,
    enrollments,
    health,
    imports,
    invitations,
    opa,
    releases,
    reports,
    rollouts,
    sessions,
    sidecars,
    signals,
    situation,
    step_ups,
    stream,
    whoami,
)
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.invalid import in_words
from zt_engine.control_plane.lanes import lane_of
from zt_engine.control_plane.limits import Rate, RateLimiter
from zt_engine.control_plane.opa import MAX_LOG_BYTES
from zt_engine.control_plane.portal.parts import PORTAL
from zt_engine.control_plane.portal.refused import error_pages
from zt_engine.control_plane.problem import problem, problem_of
from zt_engine.control_plane.shell import Entry, Shell
from zt_engine.core.bundle_archive import MAX_ARCHIVE
from zt_engine.core.errors import Problem, ZtError

Room = Callable[[ControlPlane], APIRouter]
RateName = Literal["probe", "enroll", "report"]

RATES: Final[Mapping[RateName, tuple[Rate, Rate]]] = {
    # A whole ministry may stand behind one address.
    "probe": (Rate(60, 10), Rate(600, 100)),
    "enroll": (Rate(100, 5), Rate(400, 50)),
    "report": (Rate(1000, 100), Rate(4000, 400)),
}
"""How often public routes are answered: each address, and all together."""

PUBLIC: Final[Mapping[tuple[str, str], RateName]] = {
    ("GET", "/healthz"): "probe",
    ("GET", "/v1/enroll/config"): "enroll",
    ("GET", "/v1/enroll/notice"): "enroll",
    ("POST", "/v1/enroll"): "enroll",
    ("POST", "/v1/lost"): "enroll",
    # Its body is signed by the device.
    ("POST", "/v1/reports"): "report",
    # Its body holds a join token.
    ("POST", "/v1/sidecars"): "enroll",
    # Its body is a token that the identity provider has signed.
    ("POST", "/v1/backchannel-logout"): "report",
    ("GET", "/.well-known/est/cacerts"): "enroll",
    ("GET", "/.well-known/est/csrattrs"): "enroll",
    ("POST", "/.well-known/est/simpleenroll"): "enroll",
    ("POST", "/.well-known/est/simplereenroll"): "enroll",
    # Where people sign in to the pages. `Sessions` counts the sign-ins that are begun; a form that signs somebody out
    # has to come from this very origin.
    ("GET", "/.zt/login"): "report",
    ("GET", "/.zt/callback"): "report",
    ("GET", "/.zt/logout"): "report",
    ("POST", "/.zt/logout"): "report",
    ("GET", "/.zt/signed-out"): "report",
    # The address holds a secret that counts once, and what comes of it only where it was made.
    ("GET", "/step-up/{secret}"): "enroll",
    ("POST", "/step-up/{secret}"): "enroll",
    # An invitation is taken in before anybody signs in, and looked at afterwards.
    ("GET", "/enroll"): "enroll",
    ("POST", "/enroll"): "enroll",
}
"""Every route that anybody may call, and how often. Those that take a secret verify it themselves."""

BODY: Final = 64 * 1024
BODIES: Final[Mapping[tuple[str, str], int]] = {
    ("POST", "/v1/imports/{source}"): 2**30,
    ("POST", "/v1/reports"): 256 * 1024,
    ("POST", "/v1/enroll/{enrollment}/key"): 2 * 2**20,
    ("PUT", "/v1/bundles/{digest}"): MAX_ARCHIVE,
    ("POST", "/v1/signals"): 256 * 1024,
    ("POST", "/v1/opa/status"): 256 * 1024,
    ("PUT", "/v1/shadow/{ref_seq}"): 2**20,
    ("POST", "/v1/opa/logs"): MAX_LOG_BYTES,
}
"""Routes that take more than 64 KiB. That a request for a certificate is too large is for its reader to say."""

ROOMS: Final[Sequence[Room]] = (
    health.router,
    whoami.router,
    device_self.router,
    devices.router,
    invitations.router,
    enrollments.router,
    imports.router,
    audit.router,
    directory.router,
    situation.router,
    signals.router,
    rollouts.router,
    enroll.router,
    reports.router,
    sidecars.router,
    stream.router,
    releases.router,
    bundles.router,
    opa.router,
    sessions.router,
    step_ups.router,
)
"""What every control plane serves. A path of its own (`devices/self`) stands before one with a parameter there."""


def create_app(plane: ControlPlane, *, rates: Mapping[RateName, tuple[Rate, Rate]] = RATES) -> FastAPI:
    """Return the application; RuntimeError when a route neither names its caller nor is public."""
    app = FastAPI(
        title="zt_engine control plane",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.plane = plane
    for make in (*ROOMS, *plane.rooms):
        # As they are: including a router builds each of its routes a second time.
        app.router.routes.extend(make(plane).routes)
    limiters = {name: RateLimiter(each=each, together=together) for name, (each, together) in rates.items()}
    pages = error_pages(plane) if PORTAL in plane.extras else None
    app.add_middleware(Shell, plane=plane, table=tuple(_table(app, limiters)), pages=pages)
    _handle_errors(app, plane)
    return app


def _table(app: FastAPI, limiters: Mapping[RateName, RateLimiter]) -> Iterator[Entry]:
    seen: set[tuple[str, str]] = set()
    for context in iter_route_contexts(app.routes):
        path, methods = context.path_format or context.path, context.methods or ()
        pattern = getattr(context, "path_regex", None)
        if path is None or not isinstance(pattern, re.Pattern):
            raise RuntimeError(f"a route that is none: {context.route!r}")
        dependant = getattr(context, "dependant", None)
        kinds = {kind.identify: kind for kind in _kinds(dependant)}
        named = next(iter(kinds.values()), None)
        for method in sorted(methods):
            if (method, path) in seen:
                raise RuntimeError(f"`{method} {path}` is there twice")
            seen.add((method, path))
            public = (method, path) in PUBLIC
            if len(kinds) != (0 if public else 1):
                raise RuntimeError(f"`{method} {path}` has {len(kinds)} kinds of caller and is public: {public}")
            yield Entry(
                path=path,
                pattern=pattern,
                methods=frozenset({method}),
                identify=None if named is None else named.identify,
                at_once=None if named is None else named.at_once,
                refused=None if named is None else named.refused,
                lane=lane_of(getattr(dependant, "call", None)),
                rate=limiters[PUBLIC[method, path]] if public else None,
                body=BODIES.get((method, path), BODY),
            )


class _Kind(NamedTuple):
    identify: Identify
    at_once: Identify | None
    refused: Refused | None


def _kinds(dependant: Dependant | None) -> Iterator[_Kind]:
    if dependant is None:
        return
    identify = getattr(dependant.call, "identify", None)
    if identify is not None:
        call = dependant.call
        yield _Kind(identify, getattr(call, "at_once", None), getattr(call, "refused", None))
    for inner in dependant.dependencies:
        yield from _kinds(inner)


def _handle_errors(app: FastAPI, plane: ControlPlane) -> None:
    default = plane.settings.language

    def language(request: Request) -> str:
        return request.headers.get("accept-language", "")

    def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, ZtError | DeviceRecordError)
        return problem_of(error, accept_language=language(request), default_language=default)

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = error.errors()
        if any(fault["type"] == "json_invalid" for fault in faults):
            code, status = "REQUEST_MALFORMED", 400
        else:
            code, status = "REQUEST_INVALID", 422
        named = [Problem(code=code, message=in_words(fault), where=_place(fault["loc"])) for fault in faults]
        first = f"{named[0].where}: {named[0].message}" if named else ""
        return problem(
            code,
            status=status,
            detail=first,
            accept_language=language(request),
            default_language=default,
            errors=named,
        )

    def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _HTTP_CODES.get(error.status_code, "REQUEST_MALFORMED")
        return problem(
            code,
            status=error.status_code,
            detail=str(error.detail),
            accept_language=language(request),
            default_language=default,
        )

    handlers: Sequence[tuple[type[Exception], Any]] = (
        (ZtError, ours),
        (DeviceRecordError, ours),
        (RequestValidationError, invalid),
        (HTTPException, http),
    )
    for kind, handler in handlers:
        app.add_exception_handler(kind, handler)


_HTTP_CODES: Final = {
    404: "REQUEST_NOT_FOUND",
    405: "REQUEST_METHOD",
    413: "REQUEST_TOO_LARGE",
    415: "REQUEST_MEDIA_TYPE",
}


def _place(location: Sequence[Any]) -> str:
    """Where a fault is, without repeating what was written there."""
    return ".".join(str(part)[:64] for part in location)
