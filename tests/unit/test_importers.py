"""Importers: a wrong row is one fault and the rest loads; what a vendor does not know is neither good nor bad."""

from __future__ import annotations

import codecs
import json
from typing import Any

import pytest

from device_inventory.importers.fleet import fleet_json
from device_inventory.importers.intune import intune_csv, intune_json
from device_inventory.importers.jamf import jamf_json
from device_inventory.serial import serial_hash
from tests.unit.importers_support import (
    CSV,
    FLEET,
    INTUNE,
    JAMF,
    NOW,
    SEEN_AT,
    codes,
    csv_line,
    listed,
    one,
    pieces,
    values,
)


def test_an_intune_device_is_read_with_the_servers_own_time() -> None:
    found = one(intune_json(listed([INTUNE]), now=NOW))

    assert found.received_at == SEEN_AT
    assert {fact.received_at for fact in found.facts.values()} == {SEEN_AT}
    assert {fact.method for fact in found.facts.values()} == {"mdm_server"}
    assert found.serial_hash == serial_hash("pf3abcde")
    assert (found.mdm_id, found.owner, found.name, found.model) == (
        "0f1b-22",
        "tanaka@mofa.example",
        "MOFA-0042",
        "ThinkPad X1",
    )
    assert values(found) == {
        "mdm.enrolled": True,
        "mdm.vendor": "intune",
        "mdm.compliant": True,
        "disk.encrypted": True,
        "integrity.rooted": "not_collected",
        "os.family": "windows",
        "os.version": "10.0.26100.4652",
        "boot.secure_boot": True,
    }


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("compliant", True),
        ("noncompliant", False),
        ("inGracePeriod", False),
        ("conflict", False),
        ("error", "not_collected"),
        ("unknown", "not_collected"),
        ("configManager", "not_collected"),
        (None, "not_collected"),
    ],
)
def test_what_intune_does_not_know_is_not_collected(state: Any, told: Any) -> None:
    found = one(intune_json(listed([INTUNE | {"complianceState": state}]), now=NOW))

    assert values(found)["mdm.compliant"] == told


def test_a_jamf_computer_is_as_old_as_its_inventory_and_not_as_its_last_call() -> None:
    found = one(jamf_json(listed([JAMF], "results"), now=NOW))

    assert found.received_at == SEEN_AT
    assert values(found) == {
        "mdm.enrolled": True,
        "mdm.vendor": "jamf",
        "os.family": "macos",
        "os.version": "15.6",
        "os.build": "24G84",
        "disk.encrypted": True,
        "mac.enforcing": True,
        "firewall.enabled": True,
        "boot.secure_boot": True,
    }


@pytest.mark.parametrize(
    ("member", "word", "fact", "told"),
    [
        ("security.sipStatus", "NOT_COLLECTED", "mac.enforcing", "not_collected"),
        ("security.sipStatus", "NOT_AVAILABLE", "mac.enforcing", "not_collected"),
        ("security.sipStatus", "DISABLED", "mac.enforcing", False),
        ("security.secureBootLevel", "NOT_SUPPORTED", "boot.secure_boot", "not_supported"),
        ("security.secureBootLevel", "UNKNOWN", "boot.secure_boot", "not_collected"),
        ("security.secureBootLevel", "MEDIUM", "boot.secure_boot", False),
        ("security.secureBootLevel", "NO", "boot.secure_boot", False),
        ("security.firewallEnabled", None, "firewall.enabled", "not_collected"),
        ("operatingSystem.fileVault2Status", "BOOT_ENCRYPTED", "disk.encrypted", False),
        ("operatingSystem.fileVault2Status", "NOT_APPLICABLE", "disk.encrypted", "not_collected"),
    ],
)
def test_jamf_knows_off_from_not_collected(member: str, word: Any, fact: str, told: Any) -> None:
    section, name = member.split(".")
    row = JAMF | {section: JAMF[section] | {name: word}}  # type: ignore[operator]

    assert values(one(jamf_json(listed([row], "results"), now=NOW)))[fact] == told


def test_a_fleet_host_is_read_without_its_verdicts() -> None:
    found = one(fleet_json(listed([FLEET], "hosts"), now=NOW))

    assert found.received_at == SEEN_AT
    assert values(found) == {
        "os.family": "linux",
        "os.id": "ubuntu",
        "disk.encrypted": "not_collected",
        "mdm.enrolled": True,
        "vuln.kev_open": ("CVE-2026-0001",),
        "vuln.max_cvss_open": 9.8,
    }


def test_without_a_list_of_software_nothing_is_known_of_its_flaws() -> None:
    found = one(fleet_json(listed([{**FLEET, "software": None}], "hosts"), now=NOW))

    assert "vuln.kev_open" not in found.facts


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("Good", True),
        ("Poor", False),
        ("Snoozed", "not_collected"),
        ("Not Monitored", "not_collected"),
        ("Error", "not_collected"),
    ],
)
def test_a_security_centre_that_looks_away_says_nothing(word: str, told: Any) -> None:
    centre = {"windows_security_center": [{"firewall": word, "antivirus": word}]}
    row = FLEET | {"platform": "windows", "additional": centre}

    facts = values(one(fleet_json(listed([row], "hosts"), now=NOW)))

    assert (facts["firewall.enabled"], facts["av.realtime"]) == (told, told)


@pytest.mark.parametrize("vendor_flag", ["healthy", "isManaged", "riskScore", "partnerReportedThreatState"])
def test_a_vendors_verdict_is_no_fact(vendor_flag: str) -> None:
    plain = one(intune_json(listed([INTUNE]), now=NOW))

    assert one(intune_json(listed([INTUNE | {vendor_flag: True}]), now=NOW)).facts == plain.facts


def test_a_server_whose_clock_is_ahead_makes_nothing_newer_than_now() -> None:
    found = one(intune_json(listed([INTUNE | {"lastSyncDateTime": "2030-01-01T00:00:00Z"}]), now=NOW))

    assert found.received_at == NOW
    assert found.ahead


def test_the_portals_export_is_read_with_its_times_in_utc() -> None:
    found = one(intune_csv(pieces((CSV + csv_line()).encode("utf-8-sig")), now=NOW))

    assert found.received_at == SEEN_AT
    assert found.line == 2
    assert values(found)["disk.encrypted"] is True


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"seen": "yesterday"}, "IMPORT_TIME"),
        ({"seen": "0001-01-01 00:00:00"}, "IMPORT_TIME"),
        ({"seen": "2026-02-30 00:00:00"}, "IMPORT_TIME"),
        ({"seen": ""}, "IMPORT_TIME"),
        ({"serial": ""}, "IMPORT_NO_IDENTITY"),
        ({"serial": "To be filled by O.E.M."}, "IMPORT_NO_IDENTITY"),
        ({"encrypted": "ja"}, "IMPORT_VALUE"),
        ({"os": "PlayStation"}, "IMPORT_VALUE"),
        ({"version": "x" * 300}, "IMPORT_VALUE"),
        ({"model": "a\x07b"}, "IMPORT_VALUE"),
        ({"upn": "a,b"}, "IMPORT_ROW"),
        ({"name": '"a"b'}, "IMPORT_SYNTAX"),
    ],
)
def test_a_wrong_row_is_reported_and_the_rest_loads(changes: dict[str, str], code: str) -> None:
    text = CSV + csv_line(serial="SN0") + csv_line(**changes) + csv_line(serial="SN2")

    items = list(intune_csv(pieces(text.encode()), now=NOW))

    assert codes(items) == ["loaded", code, "loaded"]
    assert items[1].line == 3
    assert items[2].line == 4


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"lastSyncDateTime": 5}, "IMPORT_TIME"),
        ({"lastSyncDateTime": None}, "IMPORT_TIME"),
        ({"lastSyncDateTime": "0001-01-01T00:00:00Z"}, "IMPORT_TIME"),
        ({"serialNumber": None}, "IMPORT_NO_IDENTITY"),
        ({"serialNumber": ["SN"]}, "IMPORT_VALUE"),
        ({"isEncrypted": 2}, "IMPORT_VALUE"),
        ({"complianceState": "great"}, "IMPORT_VALUE"),
    ],
)
def test_a_wrong_entry_is_reported_and_the_rest_loads(changes: dict[str, Any], code: str) -> None:
    rows = [INTUNE, INTUNE | changes, INTUNE]

    items = list(intune_json(listed(rows), now=NOW))

    assert codes(items) == ["loaded", code, "loaded"]
    assert items[1].line == 2


def test_a_line_in_another_encoding_is_one_fault() -> None:
    raw = CSV.encode() + csv_line().encode() + csv_line(name="端末").encode("cp932") + csv_line().encode()

    assert codes(intune_csv(pieces(raw, 7), now=NOW)) == ["loaded", "IMPORT_ENCODING", "loaded"]


def test_utf_16_is_told_by_its_mark() -> None:
    raw = codecs.BOM_UTF16_LE + (CSV + csv_line(name="端末")).encode("utf-16-le")

    assert one(intune_csv(pieces(raw, 5), now=NOW)).name == "端末"


def test_broken_utf_16_ends_the_import() -> None:
    raw = codecs.BOM_UTF16_LE + (CSV + csv_line()).encode("utf-16-le")

    assert codes(intune_csv([raw, b"\x00\xdc" * 80], now=NOW)) == ["loaded", "IMPORT_ENCODING"]
    assert codes(intune_csv(pieces(raw + b"\x00", 64), now=NOW)) == ["loaded", "IMPORT_ENCODING"]


def test_an_entry_in_another_encoding_is_one_fault() -> None:
    good = json.dumps(INTUNE).encode()
    bad = json.dumps(INTUNE | {"deviceName": "端末"}, ensure_ascii=False).encode("euc-jp")

    assert codes(intune_json(pieces(b"[" + b",".join([good, bad, good]) + b"]"), now=NOW)) == [
        "loaded",
        "IMPORT_ENCODING",
        "loaded",
    ]
