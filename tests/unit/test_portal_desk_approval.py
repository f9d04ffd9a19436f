"""Approving at the desk: what an approver is shown beside a device, who is not asked, and that it is done once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from device_inventory.serial import serial_hash
from tests.control_support import TENANT, a_device
from tests.desk_support import (
    REASON,
    SERIAL,
    hidden,
    ledger,
    operate,
    person,
    wait,
)
from tests.desk_support import office as office
from tests.desk_support import shared as shared
from tests.portal_support import ISSUER, PortalOffice
from zt_engine.control_plane.portal.desk_acting import DeskActing
from zt_engine.control_plane.portal.desk_forms import Seen
from zt_engine.control_plane.portal.desk_reading import standing
from zt_engine.control_plane.portal.visitor import Visitor
from zt_engine.core.errors import InputError


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
