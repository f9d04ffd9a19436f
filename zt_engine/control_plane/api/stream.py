"""`GET /v1/stream`, `/v1/watermark` and `/v1/snapshot`: what sidecars follow. Everything in it is signed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from zt_engine.control_plane.access import CALLER
from zt_engine.control_plane.api.sidecars import sidecar_caller
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.lanes import begin, beside, numbers
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.sink import sink_of
from zt_engine.control_plane.stream import Origin
from zt_engine.core.errors import UnavailableError
from zt_engine.ports.inventory import SidecarRecord

Caller = Annotated[SidecarRecord, Depends(sidecar_caller)]
Seq = Annotated[int, Query(ge=0, le=2**53)]
LINES = "application/jose"
EVENTS = "text/event-stream"
UNBUFFERED = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
"""A proxy in between passes each message on at once."""


def origin_of(plane: ControlPlane) -> Origin:
    """Return the stream of this process; UnavailableError STREAM_NOT_READY where there is none."""
    origin = plane.extras.get("stream")
    if not isinstance(origin, Origin):
        raise UnavailableError("STREAM_NOT_READY", "this control plane serves no stream")
    return origin


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["stream"])

    async def straight(scope: Scope, receive: Receive, send: Send) -> Receive | None:
        asked, sink = numbers(scope, "cursor", "least"), sink_of(scope)
        if asked is None or sink is None:
            return receive
        origin, who = origin_of(plane), scope[CALLER].id
        origin.admit(who)
        listener = origin.hub.attach(who)
        try:
            await begin(
                send, kind=f"{EVENTS}; charset=utf-8", headers=[(n.encode(), v.encode()) for n, v in UNBUFFERED.items()]
            )
            async for data in origin.backlog(listener, cursor=asked["cursor"], least=asked["least"]):
                await send({"type": "http.response.body", "body": data, "more_body": True})
            listener.direct(sink)
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            origin.leave(listener)
        return None

    @routes.get("/v1/stream", responses=problems(), response_class=Response)
    @beside(straight)
    async def stream(who: Caller, cursor: Seq = 0, least: Seq = 0) -> Response:
        """Everything that changes, for ever, as Server-Sent Events; a snapshot first when the cursor is 0 or too old.

        `least` is what a snapshot must have come to: a sidecar never goes back.
        """
        origin = origin_of(plane)
        origin.admit(who.id)
        messages = origin.messages(who.id, cursor=cursor, least=least)
        return StreamingResponse(messages, media_type=EVENTS, headers=UNBUFFERED)

    @routes.get("/v1/watermark", responses=problems(), response_class=Response)
    async def watermark(who: Caller) -> Response:
        """Return the newest watermark, signed."""
        newest = origin_of(plane).hub.watermark
        if not newest:
            raise UnavailableError("STREAM_NOT_READY", "no sequencer has been heard of yet")
        return Response(newest, media_type=LINES)

    @routes.get("/v1/snapshot", responses=problems(), response_class=Response)
    async def snapshot(who: Caller, least: Seq = 0) -> Response:
        """Return everything that is true now, in signed parts, one a line."""
        origin = origin_of(plane)
        origin.admit(who.id)

        async def lines() -> AsyncIterator[bytes]:
            async for part in origin.parts(least):
                yield part + b"\n"

        return StreamingResponse(lines(), media_type=LINES, headers=UNBUFFERED)

    return routes
