"""What a management server said becomes a source of one device, and of no other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from device_inventory.facts import CATALOGUE, confidence
from device_inventory.importers.rows import Gathered, ImportedDevice, ImportFault
from device_inventory.imports import match, take_import
from device_inventory.inventory import Device, publish
from device_inventory.operations import retire
from device_inventory.serial import serial_hash
from tests.unit.inventory_support import NOW, device, key, reported

SERIAL = serial_hash("SN1")


def row(values: Mapping[str, Any] | None = None, *, at: int = NOW, **changes: Any) -> ImportedDevice:
    gathered = Gathered(at)
    for name, value in ({"disk.encrypted": True} if values is None else values).items():
        gathered.observed(name, value)
    members: dict[str, Any] = {"source": "intune", "line": 2, "received_at": at, "facts": gathered.facts()}
    return ImportedDevice(**(members | changes))


def known(number: int = 1, **changes: Any) -> Device:
    return replace(device(key(number)), device_id=f"d-{number}", **changes)


def matched(found: Device | ImportFault) -> str:
    return found.code if isinstance(found, ImportFault) else found.device_id


def test_a_row_is_about_the_device_with_its_id_or_its_serial_number() -> None:
    first, second = known(1, serial_hash=SERIAL), known(2, serial_hash="b" * 64)

    assert matched(match(row(serial_hash=SERIAL), [first, second])) == "d-1"
    assert matched(match(row(device_id="d-2"), [first, second])) == "d-2"
    assert matched(match(row(device_id="d-9"), [first, second])) == "IMPORT_NO_DEVICE"


def test_an_owner_alone_does_not_say_which_device() -> None:
    private = known(1, ownership="byod")

    assert matched(match(row(owner="tanaka"), [private])) == "IMPORT_NO_DEVICE"


def test_a_serial_number_that_two_devices_share_says_nothing() -> None:
    twins = [known(1, serial_hash=SERIAL), known(2, serial_hash=SERIAL)]

    assert matched(match(row(serial_hash=SERIAL), twins)) == "IMPORT_AMBIGUOUS"
    assert matched(match(row(serial_hash=SERIAL), [retire(twins[0], now=NOW, reason="r"), twins[1]])) == "d-2"


def test_an_id_with_another_serial_number_is_a_contradiction() -> None:
    assert matched(match(row(device_id="d-1", serial_hash="b" * 64), [known(1, serial_hash=SERIAL)])) == (
        "IMPORT_AMBIGUOUS"
    )


def test_imported_facts_stand_beside_the_devices_own() -> None:
    own = reported(known(1), {"disk.encrypted": True}, at=NOW - 60).device

    taken = take_import(own, row(at=NOW - 30), now=NOW)

    fact = publish(taken.device, names=CATALOGUE, now=NOW).facts["disk.encrypted"]
    assert taken.changed
    assert (fact.method, fact.received_at) == ("mdm_server", NOW - 30)
    assert taken.device.report_received_at == NOW - 60
    assert taken.device.version == own.version + 1


def test_the_same_export_again_changes_nothing() -> None:
    taken = take_import(known(1), row(at=NOW - 30), now=NOW)

    again = take_import(taken.device, row(at=NOW - 30), now=NOW + 60)

    assert not again.changed
    assert again.device.version == taken.device.version


def test_an_older_export_changes_nothing() -> None:
    newer = take_import(known(1), row({"disk.encrypted": False}, at=NOW), now=NOW).device

    taken = take_import(newer, row(at=NOW - 1), now=NOW + 60)

    assert taken.refusal is not None
    assert taken.refusal.code == "IMPORT_OLDER"
    assert taken.device is newer


def test_a_server_that_looked_before_the_boot_says_nothing_of_it() -> None:
    own = reported(known(1), {"disk.encrypted": True}, at=NOW).device

    earlier = take_import(own, row({"boot.secure_boot": True}, at=NOW - 60), now=NOW + 60).device
    later = take_import(own, row({"boot.secure_boot": True}, at=NOW + 30), now=NOW + 60).device

    for imported, worth in ((earlier, 0), (later, 1000)):
        record = publish(imported, names=CATALOGUE, now=NOW + 60)
        fact = record.facts["boot.secure_boot"]
        assert confidence("boot.secure_boot", fact, boot_id=record.boot_id, now=NOW + 60) == worth


def test_a_clock_that_is_ahead_is_told() -> None:
    assert "CLOCK_SKEW" in take_import(known(1), row(ahead=True), now=NOW).device.findings


def test_a_serial_number_is_compared_and_not_kept() -> None:
    assert serial_hash(" pf3abcde ") == serial_hash("PF3ABCDE")
    assert serial_hash("PF3ABCDE") != serial_hash("PF3ABCDF")
    assert "pf3" not in serial_hash("PF3ABCDE")
    for nothing in ("", " ", "0", "None", "Default string", "To Be Filled By O.E.M."):
        assert serial_hash(nothing) == ""
