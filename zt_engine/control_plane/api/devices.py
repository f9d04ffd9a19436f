"""Devices, for administrators: lists, everything that is held of one, and what is done to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from device_inventory.device import DeviceStatus, Ownership
from device_inventory.inventory import Device
from zt_engine.control_plane.access import Administrator, administrator
from zt_engine.control_plane.api.audit import shown
from zt_engine.control_plane.api.device_self import held_of
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.devices import PERMISSION, Devices, Operation, Wish, listed
from zt_engine.control_plane.idempotency import Answer, Writing, once
from zt_engine.control_plane.paging import After, Limit, page
from zt_engine.control_plane.problem import problems
from zt_engine.control_plane.reads import reads_of
from zt_engine.control_plane.routes import Instant, Model, PathText, Reason, Sought, strict_router
from zt_engine.core.errors import InputError
from zt_engine.ports.inventory import DeviceFilter

log = structlog.get_logger()

Reader = Annotated[Administrator, Depends(administrator("devices.read"))]
Giver = Annotated[Administrator, Depends(administrator("devices.transfer"))]
EVENTS = 50
SUMMARY: dict[Operation, str] = {
    "approve": "Approve a device as a second person.",
    "quarantine": "Take a device out of service to look at it.",
    "release": "Put a quarantined device back into service.",
    "revoke": "End a device's registration and revoke its keys for good.",
    "lost": "Mark a device lost: its next request is denied.",
    "recover": "Note that a lost device was found; it is quarantined.",
    "retire": "Take a device out of the inventory's care for good.",
}


class ReasonBody(Model):
    """Why something is done."""

    reason: Reason


class TransferBody(ReasonBody):
    """Who gets the device."""

    to: Annotated[Sought, Field(min_length=1)]


class EndBody(ReasonBody):
    """When the device stops counting; null: not at all."""

    ends_at: Instant | None


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = strict_router("devices")
    _reading(plane, routes)
    operations: tuple[Operation, ...] = ("approve", "quarantine", "release", "revoke", "lost", "recover", "retire")
    for operation in operations:
        _operation(plane, routes, operation)
    _giving(plane, routes)
    return routes


def _reading(plane: ControlPlane, routes: APIRouter) -> None:
    @routes.get("/v1/devices", responses=problems())
    def devices(  # noqa: PLR0917 -- called by name
        who: Reader,
        status: Annotated[DeviceStatus | None, Query()] = None,
        ownership: Annotated[Ownership | None, Query()] = None,
        owner: Annotated[Sought, Query()] = "",
        q: Annotated[Sought, Query(description="Part of id, name, model or owner.")] = "",
        after: After = "",
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """List devices in the order of their ids."""
        wanted = DeviceFilter(status=status, ownership=ownership, owner=owner, text=q)
        with plane.store.reading(plane.settings.tenant) as tx:
            found = tx.devices.page(wanted, after=after, limit=limit + 1)
        return page(found, limit, key=lambda device: device.device_id, show=listed)

    @routes.get("/v1/devices/{device_id}", responses=problems(404))
    def device(who: Reader, device_id: PathText) -> dict[str, Any]:
        """Return everything that is held of a device: each source's word with its age, keys, history, changes."""
        with plane.store.reading(plane.settings.tenant) as tx:
            found = tx.devices.get(device_id)
            if found is None:
                raise InputError("DEVICE_NOT_FOUND", "there is no such device")
            events = tx.audit.of(f"device:{device_id}", limit=EVENTS)
            enrollment = tx.enrollments.of_device(device_id)
        reads_of(plane).note(found.device_id, actor=who.actor)
        return everything(plane, found) | {
            "enrollment": None if enrollment is None else {"id": enrollment.id, "state": enrollment.state},
            "events": [shown(event) for event in events],
        }


def everything(plane: ControlPlane, device: Device) -> dict[str, Any]:
    """Return all that is held of a device."""
    return (
        held_of(plane, device, now=plane.now())
        | listed(device)
        | {
            "approval_required": device.approval_required,
            "keys": [
                {
                    "x5t": key.x5t,
                    "serial": key.serial,
                    "issuer": key.issuer,
                    "not_before": key.not_before,
                    "not_after": key.not_after,
                    "protection": key.protection,
                    "revoked_at": key.revoked_at,
                }
                for key in device.keys
            ],
        }
    )


def _operation(plane: ControlPlane, routes: APIRouter, operation: Operation) -> None:
    change = _changing(plane)
    allowed = Depends(administrator(PERMISSION[operation]))

    def done(device_id: PathText, body: ReasonBody, write: Writing, who: Administrator = allowed) -> Response:
        answer = change(device_id, Wish(operation=operation, reason=body.reason), who, write)
        log.info("device.operated", operation=operation, device=device_id, actor=who.actor)
        return answer

    routes.add_api_route(
        f"/v1/devices/{{device_id}}/{operation}",
        done,
        methods=["POST"],
        name=f"{operation}_device",
        summary=SUMMARY[operation],
        responses=problems(404, 409),
    )


def _giving(plane: ControlPlane, routes: APIRouter) -> None:
    change = _changing(plane)

    @routes.post("/v1/devices/{device_id}/transfer", responses=problems(404, 409))
    def transfer(device_id: PathText, body: TransferBody, who: Giver, write: Writing) -> Response:
        """Give a device to somebody else; it is quarantined until it was looked at."""
        return change(device_id, Wish(operation="transfer", reason=body.reason, to=body.to), who, write)

    @routes.post("/v1/devices/{device_id}/end", responses=problems(404, 409))
    def end(device_id: PathText, body: EndBody, who: Giver, write: Writing) -> Response:
        """Set when a contractor's or lent device stops counting."""
        return change(device_id, Wish(operation="end", reason=body.reason, ends_at=body.ends_at), who, write)


def _changing(plane: ControlPlane) -> Callable[[str, Wish, Administrator, Writing], Response]:
    use = Devices(plane)

    def change(device_id: str, wish: Wish, who: Administrator, write: Writing) -> Response:
        return once(
            plane,
            write,
            lambda tx: Answer(body=listed(use.change(tx, device_id, wish, who=who, now=plane.now()))),
        )

    return change
