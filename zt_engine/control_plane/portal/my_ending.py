"""Reporting one's own device lost, from any other; and ending the registration of a device that is one's own property.

Both ask first, on a page of their own, and both may be sent twice: what is done already is done.
"""

from __future__ import annotations

from typing import Final

import structlog
from fastapi import APIRouter, Response

from device_inventory.device import DeviceStatus
from device_inventory.inventory import Device
from device_inventory.notice import RETENTION_DAYS
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.portal.answers import page_router, see_other
from zt_engine.control_plane.portal.my import Caller, MyDevices, path_of
from zt_engine.control_plane.routes import PathText

log = structlog.get_logger()

_IN_HANDS: Final[frozenset[DeviceStatus]] = frozenset({"enrolled", "active", "quarantined"})


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = page_router(plane)
    my = MyDevices(plane)

    @routes.get("/my/devices/{device_id}/lost")
    def ask_lost(device_id: PathText, who: Caller) -> Response:
        """Ask whether a device is lost; one that is out of service already shows where it stands."""
        found = my.device(who, device_id)
        if found.status not in _IN_HANDS:
            return see_other(path_of(found))
        return my.page("my_lost.html", who, my.words(who), device=found, path=path_of(found))

    @routes.post("/my/devices/{device_id}/lost")
    def lost(device_id: PathText, who: Caller) -> Response:
        """Report a device lost: nothing opens on it from its next request on."""
        found = my.device(who, device_id)
        status = my.ground.losing.by_person(who.issuer, who.subject, device_id, now=plane.clock.now(), session=who.sid)
        log.info("device.reported_lost", device=found.device_id, actor=who.actor, status=status)
        return see_other(path_of(found))

    @routes.get("/my/devices/{device_id}/end")
    def ask_end(device_id: PathText, who: Caller) -> Response:
        """Ask whether to end the registration of a device of one's own."""
        found = my.device(who, device_id)
        if not may_end(found):
            return see_other(path_of(found))
        return my.page("my_end.html", who, my.words(who), device=found, path=path_of(found), days=RETENTION_DAYS)

    @routes.post("/my/devices/{device_id}/end")
    def end(device_id: PathText, who: Caller) -> Response:
        """End it. Nothing on the device is touched."""
        found = my.device(who, device_id)
        if may_end(found):
            my.ground.losing.ended_by(who.issuer, who.subject, device_id, now=plane.clock.now(), session=who.sid)
            log.info("device.registration_ended", device=found.device_id, actor=who.actor)
        return see_other(path_of(found))

    return routes


def may_end(device: Device) -> bool:
    """Whether its holder may end its registration: what the organisation lent is the organisation's to take back."""
    return device.ownership == "byod" and device.status in _IN_HANDS
