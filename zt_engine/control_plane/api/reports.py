"""`POST /v1/reports`: evidence, signed by the device. Nothing else says who sent it, and nothing else has to."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from zt_engine.control_plane.api.enroll import listed, spoken
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrollment import room
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.remedies import items
from zt_engine.core.errors import InputError

MEDIA_TYPE: Final = "application/jwt"
DEVICE_HOSTS: Final = "device_hosts"
"""Where in the extras of a control plane the hosts are that agents may make their devices known to."""
_BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": {"type": "string", "maxLength": 262_144}}}}
}


def router(plane: ControlPlane) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["devices"])
    ground = room(plane)

    @routes.post("/v1/reports", responses=problems(409, 415), openapi_extra=_BODY)
    async def report(request: Request) -> dict[str, Any]:
        """Take in a report, and say what still keeps the device from which label."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != MEDIA_TYPE:
            raise InputError("REQUEST_MEDIA_TYPE", f"the body is no `{MEDIA_TYPE}`")
        evidence = await request.body()
        received = await run_in_threadpool(ground.reporting.receive, evidence, now=plane.clock.now())
        told = items(received.unmet, findings=received.findings, codes=ground.codes, language=spoken(plane, request))
        return {
            "accepted": True,
            "seq": received.seq,
            "status": received.status,
            "items": listed(told),
            "next_report_in": received.next_report_in,
            "full": received.full,
            "proof_hosts": list(plane.extras.get(DEVICE_HOSTS, ())),
        }

    return routes
