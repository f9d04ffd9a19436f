"""`grpc.health.v1.Health/Check`: whether decisions can be made, for a proxy that asks before it sends anybody."""

from __future__ import annotations

from zt_engine.sidecar.grpc.wire import number

METHOD = b"/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = 1, 2


def response(*, ready: bool) -> bytes:
    """Write a HealthCheckResponse; every service we have is as ready as the sidecar."""
    return number(1, SERVING if ready else NOT_SERVING)
