"""A device that is enrolled shows that its TPM's attestation key lives beside its endorsement key.

While it enrolls there is a route for this already. A device needs it later when its attestation key is a new one, or
when the control plane makes its tokens with another secret. Nothing is stored here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import Field

from zt_engine.control_plane.access import DeviceCaller
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.device_auth import renewing_device
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.routes import Model, strict_router
from zt_engine.ports.attestation import AttestationChallenger

Encoded = Annotated[str, Field(min_length=1, max_length=16_384, pattern=r"^[A-Za-z0-9_-]+$")]


class EndorsementKey(Model):
    """The endorsement key: its public area, and the maker's certificate where the TPM has one."""

    public: Encoded
    certificate: Encoded | None = None


class AttestationKey(Model):
    """The attestation key: its public area."""

    public: Encoded


class ChallengeBody(Model):
    """Two keys of which a TPM is to show that it holds both."""

    format: Literal["tpm2.0"]
    ek: EndorsementKey
    ak: AttestationKey


def attestation_room(challenger: AttestationChallenger) -> Callable[[ControlPlane], APIRouter]:
    """Return the room of attestation for `ControlPlane.rooms`."""

    def router(plane: ControlPlane) -> APIRouter:
        routes = strict_router("attestation")

        @routes.post("/v1/devices/self/attestation", responses=problems())
        def working(body: ChallengeBody, who: Annotated[DeviceCaller, Depends(renewing_device)]) -> dict[str, str]:
            """Get a credential for a device whose attestation key is a new one."""
            return dict(challenger.challenge(body.model_dump(exclude_none=True), now=plane.clock.now()))

        return routes

    return router
