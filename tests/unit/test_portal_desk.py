"""The desk: who sees which button, what a button does, and that a page never does what the API would refuse."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from device_inventory.device import DEVICE_STATUSES, DeviceRecordError
from device_inventory.serial import serial_hash
from tests.control_support import NOW, ROLES, TENANT, Control, a_device, held_key
from tests.desk_support import (
    REASON,
    SERIAL,
    an_office,
    emptied,
    hidden,
    invitation,
    invite,
    ledger,
    operate,
    person,
    wait,
    walk,
)
from tests.portal_support import ISSUER, PortalOffice
from zt_engine.control_plane.access import PERMISSIONS, Administrator
from zt_engine.control_plane.devices import PERMISSION, Operation, Wish, _done
from zt_engine.control_plane.portal.desk_acting import DeskActing
from zt_engine.control_plane.portal.desk_forms import Seen
from zt_engine.control_plane.portal.desk_reading import BUTTONS, possible, standing
from zt_engine.control_plane.portal.visitor import Visitor, csrf_of
from zt_engine.core.errors import InputError
from zt_engine.core.session import COOKIE

STATES = {
    "approve": "new-1",
    "quarantine": "active-1",
    "release": "quarantined-1",
    "lost": "active-1",
    "recover": "lost-1",
    "revoke": "active-1",
    "retire": "active-1",
}
"""A device for each operation."""


@pytest.fixture(scope="module")
def shared() -> Iterator[PortalOffice]:
    with an_office() as one:
        yield one


@pytest.fixture
def office(shared: PortalOffice) -> PortalOffice:
    return emptied(shared)


def stock(control: Control) -> None:
    """A device in each state, and an invitation that is open."""
    wait(control)
    for status in ("active", "quarantined", "lost"):
        control.put(a_device(f"{status}-1", status=status))
    invite(control, invitation("inv-open"))


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


def test_whoever_approves_sees_what_the_ledger_says_and_it_is_done_once(office: PortalOffice) -> None:
    wait(office.control)
    ledger(office.control, "ThinkPad X13")
    approver = person(office, "approver")

    approver.get("/desk/waiting")
    assert "Serial number and model agree" in approver.text
    approver.get("/desk/devices/new-1")
    assert "田中 太郎" in approver.text
    operate(approver, "new-1", "approve")

    assert "The device is approved." in approver.text
    device = office.control.device("new-1")
    assert (device.status, device.approved_by) == ("active", "approver-person")
    approver.get("/desk/waiting")
    assert "No device waits for approval." in approver.text


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("ThinkPad X13", "Serial number and model agree"),
        ("ThinkPad T14", "the model differs"),
        ("", "there is no model to compare"),
        (None, "Not in the ledger"),
    ],
)
def test_the_waiting_list_says_how_a_device_stands_to_the_ledger(
    office: PortalOffice, model: str | None, said: str
) -> None:
    wait(office.control)
    if model is not None:
        ledger(office.control, model)
    approver = person(office, "approver")

    for page in ("/desk/waiting", "/desk/devices/new-1", "/desk/devices/new-1/approve"):
        approver.get(page)
        assert said in approver.text


def test_a_ledger_that_was_imported_before_the_device_came_is_what_its_approver_sees(office: PortalOffice) -> None:
    table = (
        "Device ID,Device name,Serial number,Last check-in,OS,OS version,Compliance,Encrypted,Model\r\n"
        "id-9,PC9,SN-9,2026-09-21 14:00:00,Windows,10.0,Compliant,True,ＴＨＩＮＫＰＡＤ  X13\r\n"
    )
    sent = {"content_type": "text/csv", "who": "approver"}
    office.control.call("POST", "/v1/imports/intune", table.encode("utf-8-sig"), **sent)
    wait(office.control, serial_hash=serial_hash("sn-9"), model="ThinkPad X13")
    approver = person(office, "approver")

    approver.get("/desk/waiting")
    assert "Serial number and model agree" in approver.text
    approver.get("/desk/devices/new-1")
    assert "PC9" in approver.text


def test_another_device_with_the_same_serial_number_is_named_before_anybody_approves(office: PortalOffice) -> None:
    office.control.put(a_device("older", serial_hash=SERIAL))
    wait(office.control)
    approver = person(office, "approver")

    for page in ("/desk/waiting", "/desk/devices/new-1", "/desk/devices/new-1/approve"):
        approver.get(page)
        assert "Other devices report the same serial number." in approver.text


@pytest.mark.parametrize(
    ("device", "said", "code"),
    [
        ({"owner": "me", "assigned": ("me",)}, "You hold this device", "APPROVER_IS_HOLDER"),
        ({"owner": "x", "assigned": ("x", "me")}, "You hold this device", "APPROVER_IS_HOLDER"),
        ({"sponsor": "me"}, "You hold this device or answer for it", "APPROVER_IS_HOLDER"),
        ({"given_by": ("me",)}, "You gave it to its holder", "APPROVER_IS_GIVER"),
        ({"invited_by": f"person:{ISSUER}|me"}, "You invited its holder", "APPROVER_IS_INVITER"),
    ],
)
def test_nobody_is_offered_the_approval_of_their_own_device_and_forging_it_is_refused(
    office: PortalOffice, device: dict[str, Any], said: str, code: str
) -> None:
    wait(office.control, **device)
    me, other = person(office, "approver", subject="me"), person(office, "approver")
    path = "/desk/devices/new-1/approve"
    other.get(path)
    seen = hidden(other)

    me.get("/desk/devices/new-1")
    assert said in me.text
    assert path not in me.page
    me.get("/desk/devices/new-1/quarantine")
    answer = me.post(path, seen | {"csrf": me.csrf, "reason": REASON})

    assert (answer.status_code, code in me.text, "Nothing was changed." in me.text) == (403, True, True)
    assert office.control.device("new-1").approved_by == ""


def test_whoever_enrolled_a_device_is_not_offered_its_approval_once_somebody_else_holds_it(
    office: PortalOffice,
) -> None:
    wait(office.control, owner="suzuki", assigned=("suzuki",))
    enroller = person(office, "approver", subject="tanaka")

    enroller.get("/desk/devices/new-1")

    assert "You hold this device" in enroller.text
    assert "/desk/devices/new-1/approve" not in enroller.page


def test_what_cannot_be_done_to_a_device_in_its_state_is_no_button(office: PortalOffice) -> None:
    office.control.put(a_device("over-1", status="retired"))
    owner = person(office, "owner")

    owner.get("/desk/devices/over-1")
    assert "Your role has nothing to do here." in owner.text
    answer = owner.once("GET", "/desk/devices/over-1/quarantine")

    assert (answer.status_code, answer.headers["location"]) == (303, "/desk/devices/over-1")


def test_a_device_that_changed_hands_is_approved_before_it_is_released(office: PortalOffice) -> None:
    office.control.put(a_device("given-1", status="quarantined", approval_required=True, owner="suzuki"))
    approver = person(office, "approver")

    approver.get("/desk/waiting")
    assert "Waiting with a new holder" in approver.text
    approver.get("/desk/devices/given-1")
    assert "/desk/devices/given-1/release" not in approver.page
    operate(approver, "given-1", "approve")
    operate(approver, "given-1", "release")

    assert office.control.device("given-1").status == "active"


# -- two at once, and twice


def test_whoever_comes_second_is_told_what_happened_and_changes_nothing(office: PortalOffice) -> None:
    office.control.put(a_device())
    first, second = person(office, "security"), person(office, "helpdesk")
    path = "/desk/devices/laptop-1/lost"
    second.get(path)
    form = hidden(second) | {"reason": "left on a train"}
    operate(first, "laptop-1", "revoke", "it is stolen")
    before = office.control.device("laptop-1")

    answer = second.post(path, form)

    assert answer.status_code == 409
    assert "Somebody else was first" in second.text
    assert "Revoked by security-person Reason it is stolen" in second.text
    assert office.control.device("laptop-1") == before


def test_a_device_that_became_another_one_is_looked_at_again_even_where_the_button_would_still_work(
    office: PortalOffice,
) -> None:
    wait(office.control)
    approver = person(office, "approver")
    path = "/desk/devices/new-1/approve"
    approver.get(path)
    form = hidden(approver) | {"reason": REASON}
    changed = replace(office.control.device("new-1"), model="Another", version=9)
    with office.control.store.writing(TENANT) as tx:
        tx.devices.put(changed)

    answer = approver.post(path, form)

    assert (answer.status_code, "RECORD_CHANGED" in approver.text) == (409, True)
    assert office.control.device("new-1") == changed


def test_a_report_between_looking_and_pressing_is_no_reason_to_ask_again(office: PortalOffice) -> None:
    office.control.put(a_device())
    helpdesk = person(office, "helpdesk")
    path = "/desk/devices/laptop-1/quarantine"
    helpdesk.get(path)
    form = hidden(helpdesk) | {"reason": REASON}
    with office.control.store.writing(TENANT) as tx:
        tx.devices.put(replace(a_device(), report_received_at=NOW, report_seq=7, version=2))

    helpdesk.post(path, form)

    assert office.control.device("laptop-1").status == "quarantined"


def test_a_form_that_is_sent_twice_is_done_once_and_answered_the_same(office: PortalOffice) -> None:
    office.control.put(a_device())
    helpdesk = person(office, "helpdesk")
    path = "/desk/devices/laptop-1/quarantine"
    helpdesk.get(path)
    form = hidden(helpdesk) | {"reason": REASON}

    answers = [helpdesk.send(path, form) for _ in range(3)]

    assert {(answer.status_code, answer.headers["location"]) for answer in answers} == {
        (303, "/desk/devices/laptop-1?done=quarantine")
    }
    assert [event.reason for event in office.control.audit()].count(REASON) == 1
    again = helpdesk.send(path, form | {"reason": "another reason"})
    assert (again.status_code, "IDEMPOTENCY_MISMATCH" in again.text) == (409, True)
    assert "What you did before has changed this" in helpdesk.text


def test_of_many_who_approve_at_the_same_moment_one_does_and_the_others_are_told(office: PortalOffice) -> None:
    wait(office.control)
    plane, acting = office.control.plane, DeskActing(office.control.plane)
    seen = Seen(0, standing(office.control.device("new-1")))

    def approve(number: int) -> str:
        who = Visitor(
            issuer=ISSUER, subject=f"a{number}", name=f"a{number}", acr="", amr=(), auth_time=None, role="approver",
            names=frozenset({f"a{number}"}), csrf="", language="en", sid="s",
        )  # fmt: skip
        try:
            acting.operate(who, "new-1", "approve", reason=REASON, seen=seen, key=f"key-of-approver-{number}")
        except InputError as error:
            return error.code
        return "approved"

    with ThreadPoolExecutor(8) as pool:
        came = sorted(pool.map(approve, range(8)))

    assert came == ["RECORD_CHANGED"] * 7 + ["approved"]
    with plane.store.reading(TENANT) as tx:
        events = tx.audit.of("device:new-1", limit=100)
    assert [event.action for event in events].count("device.approved") == 1


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


@pytest.mark.parametrize("reason", ["", "   \r\n ", "x" * 1001])
def test_a_reason_is_asked_for_again_and_what_was_written_is_kept(office: PortalOffice, reason: str) -> None:
    office.control.put(a_device())
    helpdesk = person(office, "helpdesk")

    answer = operate(helpdesk, "laptop-1", "quarantine", reason)

    assert (answer.status_code, "Write a reason" in helpdesk.text) == (422, True)
    assert reason.strip() in helpdesk.page
    assert office.control.device("laptop-1").status == "active"
    helpdesk.post(helpdesk.path, hidden(helpdesk) | {"reason": REASON})
    assert office.control.device("laptop-1").status == "quarantined"


@pytest.mark.parametrize("broken", [{"once": "short"}, {"once": ""}, {"seen": ""}, {"seen": "1.x"}])
def test_a_form_that_was_not_made_here_is_refused(office: PortalOffice, broken: dict[str, str]) -> None:
    office.control.put(a_device())
    helpdesk = person(office, "helpdesk")
    path = "/desk/devices/laptop-1/quarantine"
    helpdesk.get(path)

    answer = helpdesk.send(path, hidden(helpdesk) | {"reason": REASON} | broken)

    assert (answer.status_code, office.control.device("laptop-1")) == (422, a_device())
