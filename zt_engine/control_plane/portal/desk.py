"""The pages of whoever works at the desk: finding devices, and doing to them what their role may do.

Each button belongs to an operation of the API, and is there for whoever has that operation's permission.
"""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query, Response

from device_inventory.device import DEVICE_STATUSES, DeviceRecordError
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.devices import ACTION, PERMISSION, Operation
from zt_engine.control_plane.paging import After
from zt_engine.control_plane.portal.answers import Form, page_router, see_other
from zt_engine.control_plane.portal.desk_acting import DeskActing
from zt_engine.control_plane.portal.desk_enrollments import enrollment_routes
from zt_engine.control_plane.portal.desk_forms import FormFault, once_of, reason_of, seen_of
from zt_engine.control_plane.portal.desk_invitations import invitation_routes
from zt_engine.control_plane.portal.desk_pages import DeskPages
from zt_engine.control_plane.portal.desk_reading import BUTTONS, DeskReading, Shown
from zt_engine.control_plane.portal.visitor import Visitor, officer
from zt_engine.control_plane.routes import PathText, Sought
from zt_engine.core.errors import InputError, UnavailableError, ZtError
from zt_engine.ports.inventory import DeviceFilter

Reader = Annotated[Visitor, Depends(officer("devices.read"))]
Asked = Annotated[str, Query(max_length=64)]

FIRST: Final = frozenset(
    {"RECORD_CHANGED", "DEVICE_EVENT_REFUSED", "APPROVAL_NOT_PENDING", "IDEMPOTENCY_MISMATCH", "STORE_CONFLICT"}
)
"""What is refused when somebody else, or the same form sent before, has changed the device meanwhile."""


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = page_router(plane)
    reading, acting, pages = DeskReading(plane), DeskActing(plane), DeskPages(plane)
    _finding(routes, reading, pages)
    enrollment_routes(plane, routes, pages)
    invitation_routes(plane, routes, reading, acting, pages)
    for operation in BUTTONS:
        _operation(routes, operation, reading, acting, pages)
    return routes


def _finding(routes: APIRouter, reading: DeskReading, pages: DeskPages) -> None:
    @routes.get("/desk")
    def devices(who: Reader, q: Sought = "", status: Asked = "", after: After = "") -> Response:
        """Search for devices."""
        chosen = next((one for one in DEVICE_STATUSES if one == status), None)
        found = reading.search(DeviceFilter(status=chosen, text=q.strip()), after=after)
        kept = {"q": q, "status": chosen or ""}
        return pages.show(
            "devices",
            who,
            tab="devices",
            found=found.items,
            q=q,
            chosen=chosen or "",
            statuses=DEVICE_STATUSES,
            after=after,
            first=f"/desk?{urlencode(kept)}",
            next=f"/desk?{urlencode(kept | {'after': found.next})}" if found.next else "",
        )

    @routes.get("/desk/waiting")
    def waiting(who: Reader, after: After = "") -> Response:
        """List who waits for a second person."""
        found = reading.waiting(after=after)
        return pages.show(
            "waiting",
            who,
            tab="waiting",
            found=found.items,
            moved=() if after else reading.moved().items,
            after=after,
            first="/desk/waiting",
            next=f"/desk/waiting?{urlencode({'after': found.next})}" if found.next else "",
        )

    @routes.get("/desk/devices/{device_id}")
    def device(who: Reader, device_id: PathText, done: Asked = "") -> Response:
        """Show everything about a device."""
        shown = reading.device(device_id, who)
        return pages.show("device", who, tab="devices", shown=shown, done=_done(shown, who, done))


def _done(shown: Shown, who: Visitor, done: str) -> str:
    """Return the operation to confirm: only what they did themselves and nothing has followed, whatever a link says."""
    operation = next((one for one in BUTTONS if one == done), None)
    if operation is None or not shown.events:
        return ""
    last = shown.events[0]
    return operation if (last.actor, last.action) == (who.actor, ACTION[operation]) else ""


def _operation(
    routes: APIRouter, operation: Operation, reading: DeskReading, acting: DeskActing, pages: DeskPages
) -> None:
    allowed = Depends(officer(PERMISSION[operation]))
    path = f"/desk/devices/{{device_id}}/{operation}"

    def ask(device_id: PathText, who: Visitor = allowed) -> Response:
        shown = reading.device(device_id, who)
        if operation not in shown.buttons:
            return see_other(_path(device_id))
        return _asked(shown, who)

    def act(device_id: PathText, form: Form, who: Visitor = allowed) -> Response:
        key, seen = once_of(form), seen_of(form)
        try:
            acting.operate(who, device_id, operation, reason=reason_of(form), seen=seen, key=key)
        except FormFault:
            return _asked(reading.device(device_id, who), who, said=form.get("reason", ""), seen=form["seen"])
        except (InputError, UnavailableError, DeviceRecordError) as error:
            return _not_done(device_id, who, error, seen.seq)
        return see_other(f"{_path(device_id)}?done={operation}")

    def _asked(shown: Shown, who: Visitor, *, said: str = "", seen: str = "") -> Response:
        wrong = bool(seen)
        return pages.show(
            "confirm",
            who,
            tab="devices",
            status=422 if wrong else 200,
            operation=operation,
            shown=shown,
            action=f"{_path(shown.device.device_id)}/{operation}",
            back=_path(shown.device.device_id),
            seen=seen or shown.seen,
            said=said,
            wrong=wrong,
        )

    def _not_done(device_id: str, who: Visitor, error: ZtError | DeviceRecordError, seq: int) -> Response:
        happened = reading.since(f"device:{device_id}", seq) if error.code in FIRST else ()
        if not happened:
            return pages.refused(who, error, back=_path(device_id), tab="devices")
        return pages.changed(who, happened, thing="device", code=error.code, back=_path(device_id), tab="devices")

    routes.add_api_route(path, ask, methods=["GET"], name=f"desk_ask_{operation}")
    routes.add_api_route(path, act, methods=["POST"], name=f"desk_{operation}")


def _path(device_id: str) -> str:
    return f"/desk/devices/{quote(device_id, safe='')}"
