"""Bundles by their digest: publishers send them, sidecars and administrators fetch them, in parts if need be."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from zt_engine.control_plane.access import Administrator, administrator, caller, credential
from zt_engine.control_plane.api.releases import releases_of
from zt_engine.control_plane.api.sidecars import identify_at_once, sidecar_caller
from zt_engine.control_plane.bundle_shelf import BundleShelf, entity_tag, part_of
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.lanes import beside, reply
from zt_engine.control_plane.problem import problems
from zt_engine.core.errors import BundleError, InputError
from zt_engine.core.jose import MAX_TOKEN_BYTES, split_compact
from zt_engine.core.stream import SIDECAR_TYPE
from zt_engine.ports.inventory import SidecarRecord

GZIP = "application/gzip"
_CONDITIONS = frozenset({b"if-none-match", b"if-match", b"if-range", b"range"})
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Publisher = Annotated[Administrator, Depends(administrator("policy.publish"))]
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
WHOLE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bundle.", "content": {GZIP: {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "The part that was asked for."},
    304: {"description": "It is the one that is held already."},
}


def _is_statement(request: Request) -> bool:
    given = credential(request, "bearer")
    try:
        parts = split_compact(given, max_bytes=MAX_TOKEN_BYTES, malformed="AUTH_REFUSED", too_large="AUTH_REFUSED")
    except InputError:
        return False
    return parts.header.get("typ") == SIDECAR_TYPE


def _at_once(plane: ControlPlane, request: Request) -> SidecarRecord | None:
    return identify_at_once(plane, request) if _is_statement(request) else None


def _identify(plane: ControlPlane, request: Request) -> SidecarRecord | Administrator:
    """A sidecar by its statement, or an administrator who may read policy."""
    if _is_statement(request):
        found: SidecarRecord = sidecar_caller.identify(plane, request)  # type: ignore[attr-defined]
        return found
    reader: Administrator = administrator("policy.read").identify(plane, request)  # type: ignore[attr-defined]
    return reader


bundle_reader = caller("sidecar or administrator", _identify, at_once=_at_once)
Caller = Annotated[SidecarRecord | Administrator, Depends(bundle_reader)]


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["bundles"])
    shelf = BundleShelf(plane.store, plane.settings.tenant)

    @routes.put(
        "/v1/bundles/{digest}",
        status_code=201,
        responses={**problems(), 200: {"description": "It was here already."}},
        openapi_extra=BODY,
        response_class=Response,
    )
    async def put(digest: Digest, request: Request, who: Publisher) -> Response:
        """Keep a bundle for a release that follows. Sent twice, it is kept once."""
        raw = await request.body()

        def work() -> bool:
            if hashlib.sha256(raw).hexdigest() != digest:
                raise BundleError("BUNDLE_HASH", "not the bytes that the path names")
            return releases_of(plane).keep(digest, raw, now=plane.now())

        new = await run_in_threadpool(work)
        shelf.hold(digest, raw)
        return Response(status_code=201 if new else 200, headers={"ETag": entity_tag(digest)})

    async def whole(scope: Scope, receive: Receive, send: Send) -> Receive | None:
        digest = str(scope["path"]).rpartition("/")[2]
        raw = shelf.held(digest)
        if raw is None or not _CONDITIONS.isdisjoint(name for name, _ in scope["headers"]):
            return receive
        tag = entity_tag(digest).encode("ascii")
        await reply(send, raw, kind=GZIP, headers=((b"etag", tag), (b"accept-ranges", b"bytes")))
        return None

    @routes.get("/v1/bundles/{digest}", responses={**problems(404, 416), **WHOLE}, response_class=Response)
    @beside(whole)
    def get(
        digest: Digest,
        who: Caller,
        if_none_match: Annotated[str, Header(max_length=1024)] = "",
        range_: Annotated[str, Header(alias="Range", max_length=256)] = "",
        if_range: Annotated[str, Header(max_length=256)] = "",
    ) -> Response:
        """Return the bytes of a bundle, or from `Range` on: they never change."""
        raw, tag = shelf.get(digest), entity_tag(digest)
        headers = {"ETag": tag, "Accept-Ranges": "bytes"}
        if tag in [one.strip() for one in if_none_match.split(",")]:
            return Response(status_code=304, headers=headers)
        part = part_of(range_, len(raw)) if range_ and if_range in ("", tag) else None
        if part is None:
            return Response(raw, media_type=GZIP, headers=headers)
        start, end = part
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(raw)}"
        return Response(raw[start:end], 206, media_type=GZIP, headers=headers)

    return routes
