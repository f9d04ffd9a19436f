"""Exports of device managers as they are sent, and readers of what importers make of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from device_inventory.importers.rows import ImportedDevice, ImportFault

NOW = 1_790_000_000
SEEN = "2026-09-21T12:00:00Z"  # a while before NOW
SEEN_AT = 1_789_992_000

INTUNE = {
    "id": "0f1b-22",
    "deviceName": "MOFA-0042",
    "serialNumber": "PF3ABCDE",
    "lastSyncDateTime": SEEN,
    "operatingSystem": "Windows",
    "osVersion": "10.0.26100.4652",
    "complianceState": "compliant",
    "isEncrypted": True,
    "jailBroken": "Unknown",
    "model": "ThinkPad X1",
    "userPrincipalName": "tanaka@mofa.example",
    "deviceHealthAttestationState": {"secureBoot": "Enabled", "healthAttestationSupportedStatus": "healthy"},
    "partnerReportedThreatState": "secured",
}
JAMF = {
    "id": "7",
    "udid": "AA-BB",
    "general": {
        "name": "mofa-mac-7",
        "lastContactTime": "2026-09-21T12:30:00.000Z",
        "reportDate": "2026-09-21T12:00:00.123Z",
        "remoteManagement": {"managed": True},
    },
    "hardware": {"serialNumber": "C02XYZ", "model": "MacBook Pro"},
    "operatingSystem": {"version": "15.6", "build": "24G84", "fileVault2Status": "ALL_ENCRYPTED"},
    "security": {"sipStatus": "ENABLED", "firewallEnabled": True, "secureBootLevel": "FULL_SECURITY"},
    "userAndLocation": {"username": "sato"},
}
FLEET = {
    "id": 3,
    "uuid": "4C4C-1",
    "computer_name": "lin-3",
    "hardware_serial": "SN-0003",
    "hardware_model": "XPS 13",
    "platform": "ubuntu",
    "os_version": "Ubuntu 24.04.1 LTS",
    "detail_updated_at": SEEN,
    "seen_time": "2026-09-21T13:00:00Z",
    "disk_encryption_enabled": None,
    "mdm": {"enrollment_status": "On (manual)", "name": "Fleet"},
    "issues": {"failing_policies_count": 3, "total_issues_count": 3},
    "policies": [{"name": "Healthy?", "response": "pass"}],
    "software": [
        {
            "name": "openssl",
            "vulnerabilities": [
                {"cve": "CVE-2026-0001", "cvss_score": 9.8, "cisa_known_exploit": True},
                {"cve": "CVE-2026-0002", "cvss_score": 5.0, "cisa_known_exploit": False},
            ],
        },
        {"name": "bash", "vulnerabilities": None},
    ],
}


def pieces(raw: bytes, size: int = 64) -> Iterator[bytes]:
    for begin in range(0, len(raw), size):
        yield raw[begin : begin + size]


def listed(rows: Iterable[Any], member: str = "value") -> Iterator[bytes]:
    return pieces(json.dumps({"@odata.context": "x", member: list(rows)}, ensure_ascii=False).encode())


def one(items: Iterable[ImportedDevice | ImportFault]) -> ImportedDevice:
    found = list(items)
    assert len(found) == 1
    assert isinstance(found[0], ImportedDevice), found
    return found[0]


def values(found: ImportedDevice) -> dict[str, Any]:
    return {name: fact.value if fact.status == "observed" else fact.status for name, fact in found.facts.items()}


def codes(items: Iterable[Any]) -> list[str]:
    return [item.code if isinstance(item, ImportFault) else "loaded" for item in items]


CSV = (
    "Device ID,Device name,Serial number,Last check-in,OS,OS version,Compliance,Encrypted,JailBroken,Model,"
    "Primary user UPN\r\n"
)


def csv_line(**changes: str) -> str:
    cells = {
        "id": "1",
        "name": "PC-1",
        "serial": "SN1",
        "seen": "2026-09-21 12:00:00.0000000",
        "os": "Windows",
        "version": "10.0",
        "compliance": "Compliant",
        "encrypted": "True",
        "jail": "Unknown",
        "model": "X1",
        "upn": "tanaka@mofa.example",
    } | changes
    return ",".join(cells.values()) + "\r\n"
