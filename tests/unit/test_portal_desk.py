"""The desk: who sees which button, what a button does, and that a page never does what the API would refuse."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from device_inventory.device import DEVICE_STATUSES, DeviceRecordError
from tests.control_support import NOW, ROLES, TENANT, Control, a_device, held_key
from tests.desk_support import (
    REASON,
    STATES,
    hidden,
    operate,
    person,
    stock,
    wait,
    walk,
)
from tests.desk_support import office as office
from tests.desk_support import shared as shared
from tests.portal_support import ISSUER, PortalOffice
from zt_engine.control_plane.access import PERMISSIONS, Administrator
from zt_engine.control_plane.devices import PERMISSION, Operation, Wish, _done
from zt_engine.control_plane.portal.desk_reading import BUTTONS, possible
from zt_engine.control_plane.portal.visitor import csrf_of
from zt_engine.core.session import COOKIE


def routes(office: PortalOffice) -> set[str]:
    """Every path of the desk that something is posted to."""
    posted = [route for route in office.control.app.routes if "POST" in getattr(route, "methods", ())]
    return {path for path in (str(getattr(route, "path", "")) for route in posted) if path.startswith("/desk")}


def needed(path: str) -> str:
    """The permission of the operation a form posts to: that of its JSON route."""
    return PERMISSION.get(path.rpartition("/")[2], "invitations.write")


def everything(control: Control) -> Any:
    """What a refused button must not have changed."""
    devices = [control.device(name) for name in sorted({*STATES.values()})]
    with control.store.reading(TENANT) as tx:
        return devices, tx.invitations.page(after="", limit=100), tx.audit.page(after=0, limit=1000)


# -- who may


@pytest.mark.parametrize("role", ROLES)
def test_a_role_meets_the_buttons_of_its_permissions_and_no_others(office: PortalOffice, role: str) -> None:
    stock(office.control)

    actions = set(walk(person(office, role)))

    offered = {action.rpartition("/")[2] for action in actions}
    permitted = {name for name in BUTTONS if PERMISSION[name] in PERMISSIONS[role]}
    inviting = {"invite", "withdraw"} if "invitations.write" in PERMISSIONS[role] else set()
    assert offered == permitted | inviting
    assert all(needed(action) in PERMISSIONS[role] for action in actions)


@pytest.mark.parametrize("role", ROLES)
def test_a_forged_post_is_refused_whatever_was_shown(office: PortalOffice, role: str) -> None:
    stock(office.control)
    browser = person(office, role)
    csrf = csrf_of(browser.cookies[COOKIE.decode()].encode())
    before = everything(office.control)
    form = {"csrf": csrf, "once": "o" * 32, "seen": "0." + "0" * 32, "reason": REASON, "subject": "x"}
    form |= {"ownership": "corp", "ceiling": "200"}
    lacking = [path for path in routes(office) if needed(path) not in PERMISSIONS[role]]

    answers = {}
    for path in lacking:
        operation = path.rpartition("/")[2]
        real = path.replace("{device_id}", STATES.get(operation, "")).replace("{invitation_id}", "inv-open")
        answers[path] = browser.send(real, form)

    assert {answer.status_code for answer in answers.values()} <= {403}
    assert all("AUTH_FORBIDDEN" in answer.text for answer in answers.values())
    assert everything(office.control) == before
    assert (role == "owner") == (not lacking) or role == "security"


def test_every_form_of_the_desk_is_a_call_of_the_api_that_is_described(office: PortalOffice) -> None:
    operations = {f"/desk/devices/{{device_id}}/{name}" for name in BUTTONS}

    assert routes(office) == operations | {"/desk/invite", "/desk/invitations/{invitation_id}/withdraw"}
    described = {
        str(getattr(route, "path", ""))
        for route in office.control.app.routes
        if getattr(route, "include_in_schema", False) and "POST" in getattr(route, "methods", ())
    }
    assert {f"/v1/devices/{{device_id}}/{name}" for name in BUTTONS} <= described
    assert {"/v1/invitations", "/v1/invitations/{invitation}/withdraw"} <= described


def test_the_desk_is_for_people_with_a_role_and_whoever_is_nobody_signs_in_first(office: PortalOffice) -> None:
    stranger = office.browser()
    assert stranger.once("GET", "/desk").headers["location"].startswith("/.zt/login?to=")

    without = office.browser("suzuki")
    pages = ["/desk", "/desk/waiting", "/desk/invitations", "/desk/invite", "/desk/devices/x", "/desk/devices/x/lost"]
    answers = [without.get(path) for path in pages]

    assert {answer.status_code for answer in answers} == {403}
    assert all("AUTH_FORBIDDEN" in answer.text for answer in answers)


def test_a_form_of_another_session_or_another_site_does_nothing(office: PortalOffice) -> None:
    stock(office.control)
    security, other = person(office, "security"), person(office, "owner")
    path = "/desk/devices/active-1/revoke"
    security.get(path)
    form = hidden(security) | {"reason": REASON}
    before = everything(office.control)

    answers = [
        security.send(path, form | {"csrf": ""}),
        other.send(path, form),
        security.send(path, form, origin="https://evil.example", sec_fetch_site="cross-site"),
        security.send(path, form, cookie=""),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403, 403]
    assert everything(office.control) == before


# -- what a button does


@pytest.mark.parametrize("operation", sorted(BUTTONS))
def test_a_button_does_what_its_json_route_does(office: PortalOffice, operation: str) -> None:
    stock(office.control)
    if operation == "approve":
        wait(office.control, "twin-1", serial_hash="6" * 64)
    else:
        office.control.put(replace(office.control.device(STATES[operation]), device_id="twin-1", keys=(held_key("t"),)))

    answer = operate(person(office, "owner"), STATES[operation], operation)
    api = office.control.call("POST", f"/v1/devices/twin-1/{operation}", {"reason": REASON}, who="owner")

    assert (answer.status_code, api.status_code) == (200, 200)
    ours, theirs = office.control.device(STATES[operation]), office.control.device("twin-1")
    assert (ours.status, ours.reason, ours.version) == (theirs.status, theirs.reason, theirs.version)
    events = [event for event in office.control.audit() if event.reason == REASON]
    assert [(event.actor, event.action) for event in events] == [
        (f"person:{ISSUER}|owner-person", events[1].action), ("admin:owner", events[1].action),
    ]  # fmt: skip


def test_what_cannot_be_done_to_a_device_in_its_state_is_no_button(office: PortalOffice) -> None:
    office.control.put(a_device("over-1", status="retired"))
    owner = person(office, "owner")

    owner.get("/desk/devices/over-1")
    assert "Your role has nothing to do here." in owner.text
    answer = owner.once("GET", "/desk/devices/over-1/quarantine")

    assert (answer.status_code, answer.headers["location"]) == (303, "/desk/devices/over-1")


@pytest.mark.parametrize("operation", sorted(BUTTONS))
def test_a_button_is_there_exactly_when_its_operation_is_possible(operation: Operation) -> None:
    refused = {"DEVICE_EVENT_REFUSED", "APPROVAL_NOT_PENDING", "APPROVAL_PENDING"}
    differing = []
    for status, required, by in product(DEVICE_STATUSES, (False, True), ("", "somebody")):
        device = a_device(status=status, approval_required=required, approved_by=by)
        wish = Wish(operation=operation, reason=REASON)
        who = Administrator(name="x", actor="admin:x", role="owner", names=frozenset({"x"}))
        try:
            _done(device, wish, who=who, now=NOW)
            done = True
        except DeviceRecordError as error:
            assert error.code in refused
            done = False
        if done != possible(device, operation):
            differing.append((status, required, by))

    assert differing == []


def test_a_link_cannot_claim_that_something_was_done(office: PortalOffice) -> None:
    office.control.put(a_device())
    helpdesk, viewer = person(office, "helpdesk"), person(office, "viewer")

    helpdesk.get("/desk/devices/laptop-1?done=quarantine")
    assert "on record" not in helpdesk.text
    operate(helpdesk, "laptop-1", "quarantine")
    assert "on record" in helpdesk.text
    viewer.get("/desk/devices/laptop-1?done=quarantine")
    assert "on record" not in viewer.text
