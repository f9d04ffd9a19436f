"""The management APIs of OPA: bundle, discovery, status, decision log. A stock OPA needs no plugin to be a client."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from zt_engine.control_plane.access import caller, credential
from zt_engine.control_plane.bundle_shelf import entity_tag
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.opa import BUNDLE, OpaService, held_digest, preferred_wait
from zt_engine.control_plane.problem import problems
from zt_engine.core.errors import InputError

OPA = "opa"
"""Where in the extras of a control plane the service for OPA clients is."""
BUNDLES = "application/vnd.openpolicyagent.bundles"
"""Says that long polling is served; OPA compares it letter by letter."""

Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Held = Annotated[str, Header(alias="If-None-Match", max_length=256)]
Prefer = Annotated[str, Header(max_length=256)]
JSON_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bundle.", "content": {BUNDLES: {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "It is the one that is held already."},
}


class OpaCaller(msgspec.Struct, frozen=True):
    """An OPA that showed its token."""

    name: str

    @property
    def actor(self) -> str:
        """As audit events name it."""
        return f"opa:{self.name}"


def opa_of(plane: ControlPlane) -> OpaService:
    """Return the service for OPA clients; InputError AUTH_REFUSED where there is none."""
    service = plane.extras.get(OPA)
    if not isinstance(service, OpaService):
        raise InputError("AUTH_REFUSED", "this control plane serves no OPA clients")
    return service


def _identify(plane: ControlPlane, request: Request) -> OpaCaller:
    token = credential(request, "bearer")
    return OpaCaller(opa_of(plane).clients.verify(token))


opa_caller = caller("opa", _identify)
Caller = Annotated[OpaCaller, Depends(opa_caller)]


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["opa"])

    @routes.get("/v1/opa/bundles/{name}", responses={**problems(404), **ANSWERS}, response_class=Response)
    async def bundle(name: Name, who: Caller, held: Held = "", prefer: Prefer = "") -> Response:
        """Return the bundle in force. With `Prefer: wait=N` an OPA that has it is answered when there is another."""
        if name != BUNDLE:
            raise InputError("BUNDLE_NOT_FOUND", f"the bundle is called `{BUNDLE}`")
        service = opa_of(plane)
        digest = held_digest(held)
        current = await service.feed.after(digest, wait=preferred_wait(prefer) if digest else 0.0)
        if current is None:
            raise InputError("BUNDLE_NOT_FOUND", "nothing has been released yet")
        headers = {"ETag": entity_tag(current.bundle_digest)}
        if current.bundle_digest == digest:
            return Response(status_code=304, headers=headers)
        raw = await run_in_threadpool(service.shelf.get, current.bundle_digest)
        return Response(raw, media_type=BUNDLES, headers=headers)

    @routes.get("/v1/opa/discovery", responses={**problems(404), **ANSWERS}, response_class=Response)
    def discovery(who: Caller) -> Response:
        """Return which bundle to take, under which key's id, and that status and decisions are reported here."""
        return Response(opa_of(plane).discovery(), media_type="application/gzip")

    @routes.post("/v1/opa/status", status_code=204, responses=problems(), openapi_extra=JSON_BODY)
    async def status(request: Request, who: Caller) -> None:
        """Say how an OPA stands: which revision it has, and what went wrong."""
        raw = await request.body()
        await run_in_threadpool(opa_of(plane).status, who.name, raw, now=plane.now())

    @routes.post("/v1/opa/logs", status_code=204, responses=problems(415), openapi_extra=JSON_BODY)
    async def logs(
        request: Request, who: Caller, encoding: Annotated[str, Header(alias="Content-Encoding", max_length=64)] = ""
    ) -> None:
        """Keep a chunk of an OPA's decision log; what is sent twice is kept once."""
        if encoding not in ("", "identity", "gzip"):
            raise InputError("REQUEST_MEDIA_TYPE", "`gzip` or nothing")
        raw, service = await request.body(), opa_of(plane)
        gzipped = encoding == "gzip"
        await run_in_threadpool(lambda: service.log(who.name, raw, gzipped=gzipped, now=plane.now()))

    return routes
