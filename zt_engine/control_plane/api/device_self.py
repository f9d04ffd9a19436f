"""What a device asks for itself: a nonce, its next certificate, what is held of it; and the word that one is lost."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from device_inventory.facts import FactEnvelope
from device_inventory.inventory import Device, live_keys, publish
from zt_engine.control_plane.access import DeviceCaller
from zt_engine.control_plane.api.enroll import KeyBody, SignInBody, issued, listed, spoken
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.device_auth import device_caller, renewing_device
from zt_engine.control_plane.enrollment import EnrollmentRoom, room
from zt_engine.control_plane.nonces import LIFETIME
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.remedies import items
from zt_engine.control_plane.routes import strict_router

Caller = Annotated[DeviceCaller, Depends(device_caller)]
LateCaller = Annotated[DeviceCaller, Depends(renewing_device)]

_CHANGES: Final = 50


class LostBody(SignInBody):
    """The sign-in of a device's owner, and which one is lost; without that, the devices there are."""

    device_id: Annotated[str, Field(max_length=128)] = ""


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = strict_router("devices")
    ground = room(plane)
    _working(plane, routes, ground)
    _lost(plane, routes, ground)
    return routes


def _working(plane: ControlPlane, routes: APIRouter, ground: EnrollmentRoom) -> None:
    @routes.post("/v1/devices/nonce", responses=problems())
    def nonce(who: LateCaller) -> dict[str, Any]:
        """Get what the next report, or the proof of a renewal, has to hold."""
        return {"nonce": ground.reporting.nonce(who.device.device_id, now=plane.clock.now()), "expires_in": LIFETIME}

    @routes.post("/v1/devices/self/renew", responses=problems(409))
    def renew(body: KeyBody, who: LateCaller) -> dict[str, Any]:
        """Get the next certificate, for the same key or a new one."""
        certified = ground.renewing.renew(who.device.device_id, who.key.x5t, body.wanted(), now=plane.clock.now())
        return issued(certified)

    @routes.get("/v1/devices/self", responses=problems())
    def standing(who: Caller, request: Request) -> dict[str, Any]:
        """Return everything that is held about the device, the label it is good for now, and what it still lacks."""
        now = plane.now()
        unmet = ground.reporting.unmet(who.device, now=now)
        return held_of(plane, who.device, now=now) | {
            "good_for": ground.reporting.good_for(who.device, now=now),
            "items": listed(items(unmet, codes=ground.codes, language=spoken(plane, request))),
        }


def _lost(plane: ControlPlane, routes: APIRouter, ground: EnrollmentRoom) -> None:
    @routes.post("/v1/devices/self/lost", responses=problems(409))
    def lost(who: LateCaller) -> dict[str, Any]:
        """Say that this very device is lost. Only the help desk takes that back."""
        status = ground.losing.by_itself(who.device.device_id, now=plane.clock.now())
        return {"device_id": who.device.device_id, "status": status}

    @routes.post("/v1/lost", responses=problems(409))
    def lost_by_owner(body: LostBody) -> dict[str, Any]:
        """Say from any other device that one of mine is lost, or see which there are."""
        sign_in, now = body.sign_in(), plane.clock.now()
        if body.device_id:
            return {"device_id": body.device_id, "status": ground.losing.by_owner(sign_in, body.device_id, now=now)}
        found = ground.losing.of_owner(sign_in, now=now)
        return {
            "devices": [
                {"device_id": one.device_id, "name": one.name, "model": one.model, "status": one.status}
                for one in found
            ]
        }


def held_of(plane: ControlPlane, device: Device, *, now: int) -> dict[str, Any]:
    """Return all that is held about a device, for whoever it is about: with the age of each word and who said it."""
    record = publish(device, names=plane.settings.facts, now=now)
    return {
        "device_id": device.device_id,
        "status": device.status,
        "reason": device.reason,
        "ownership": device.ownership,
        "kind": device.kind,
        "owner": device.owner,
        "assigned": list(device.assigned),
        "name": device.name,
        "model": device.model,
        "serial_hash": device.serial_hash,
        "sponsor": device.sponsor,
        "given_by": list(device.given_by),
        "ceiling": device.ceiling,
        "ends_at": device.ends_at,
        "approval_required": device.approval_required,
        "approved_by": device.approved_by,
        "helper_key": None if device.helper_key is None else dict(device.helper_key),
        "replaces": device.replaces,
        "created_at": device.created_at,
        "changed_at": device.changed_at,
        "report_received_at": device.report_received_at,
        "report_seq": device.report_seq,
        "first_report_at": device.first_report_at,
        "consistent_reports": device.consistent_reports,
        "boot_id": device.boot_id,
        "findings": list(device.findings),
        "keys": [
            {"x5t": key.x5t, "not_after": key.not_after, "protection": key.protection}
            for key in live_keys(device, now=now)
        ],
        "facts": {name: _fact(fact, now) for name, fact in record.facts.items()},
        "sources": {
            source: {
                "received_at": said.received_at,
                "version": said.version,
                "facts": {name: _fact(fact, now) for name, fact in said.facts.items()},
            }
            for source, said in device.sources.items()
        },
        "history": [
            {
                "fact": change.fact,
                "source": change.source,
                "at": change.at,
                "status": change.status,
                "value": change.value,
            }
            for change in device.history[-_CHANGES:]
        ],
    }


def _fact(fact: FactEnvelope, now: int) -> dict[str, Any]:
    return {
        "status": fact.status,
        "value": fact.value,
        "method": fact.method,
        "received_at": fact.received_at,
        "age": max(0, now - fact.received_at),
    }
