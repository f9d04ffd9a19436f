"""Microsoft Intune: managed devices as Graph returns them (`value` of objects) or as the portal exports them (CSV).

The portal writes its times in UTC without saying so. `complianceState` is the answer to the ministry's own compliance
policy and is told as `mdm.compliant`; that nobody assigned a policy counts as compliant there, so it proves little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from device_inventory.facts import FUTURE_TOLERANCE, FactValue
from device_inventory.importers.csv_rows import csv_rows
from device_inventory.importers.json_rows import json_rows
from device_inventory.importers.rows import (
    Gathered,
    ImportedDevice,
    ImportFault,
    Row,
    choice,
    devices_of,
    heard_at,
    identity,
    instant,
    member,
    text,
)

SOURCE: Final = "intune"

# Graph's name -> the portal's column.
_COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "id": "Device ID",
        "deviceName": "Device name",
        "serialNumber": "Serial number",
        "lastSyncDateTime": "Last check-in",
        "operatingSystem": "OS",
        "osVersion": "OS version",
        "complianceState": "Compliance",
        "isEncrypted": "Encrypted",
        "jailBroken": "JailBroken",
        "model": "Model",
        "userPrincipalName": "Primary user UPN",
    }
)
_REQUIRED: Final = ("Serial number", "Last check-in")
_YES_NO: Final[Mapping[str, FactValue]] = MappingProxyType({"true": True, "false": False, "yes": True, "no": False})
_COMPLIANT: Final[Mapping[str, FactValue]] = MappingProxyType(
    {
        "compliant": True,
        "noncompliant": False,
        "not compliant": False,
        "ingraceperiod": False,
        "in grace period": False,
        "conflict": False,
        # Judged by another product, or not yet: nobody here knows.
        "configmanager": None,
        "not evaluated": None,
    }
)
_FAMILY: Final[Mapping[str, FactValue]] = MappingProxyType(
    {
        "windows": "windows",
        "macos": "macos",
        "linux": "linux",
        "linux (ubuntu)": "linux",
        "linux (redhat enterprise linux)": "linux",
        "ios": "ios",
        "ios/ipados": "ios",
        "ipados": "ios",
        "android": "android",
        "android (aosp)": "android",
        "android (fully managed)": "android",
        "android (work profile)": "android",
        "androidforwork": "android",
        "androidenterprise": "android",
        "chromeos": "chromeos",
    }
)
_SECURE_BOOT: Final[Mapping[str, FactValue]] = MappingProxyType({"enabled": True, "disabled": False})


def intune_json(chunks: Iterable[bytes], *, now: int) -> Iterator[ImportedDevice | ImportFault]:
    """Devices of a Graph answer, or of several concatenated into one list."""
    return _read(json_rows(chunks, member="value"), now=now, columns={})


def intune_csv(chunks: Iterable[bytes], *, now: int) -> Iterator[ImportedDevice | ImportFault]:
    """Devices of an export from the portal."""
    return _read(csv_rows(chunks, required=_REQUIRED), now=now, columns=_COLUMNS)


def _read(
    rows: Iterable[tuple[int, Row] | ImportFault], *, now: int, columns: Mapping[str, str]
) -> Iterator[ImportedDevice | ImportFault]:
    def read(row: Row, line: int) -> ImportedDevice:
        return _device({name: row.get(columns.get(name, name)) for name in (*_COLUMNS, _HEALTH)}, line, now=now)

    return devices_of(rows, read)


_HEALTH: Final = "deviceHealthAttestationState"


def _device(row: Row, line: int, *, now: int) -> ImportedDevice:
    heard = instant(row["lastSyncDateTime"], "lastSyncDateTime", offset=timedelta())
    gathered = Gathered(heard_at(heard, now=now))
    gathered.observed("mdm.enrolled", True)
    gathered.observed("mdm.vendor", SOURCE)
    gathered.observed("mdm.compliant", choice(row["complianceState"], _COMPLIANT, "complianceState"))
    gathered.observed("disk.encrypted", choice(row["isEncrypted"], _YES_NO, "isEncrypted"))
    gathered.observed("integrity.rooted", choice(row["jailBroken"], _YES_NO, "jailBroken"))
    gathered.observed("os.family", choice(row["operatingSystem"], _FAMILY, "operatingSystem"))
    gathered.observed("os.version", text(row["osVersion"], "osVersion") or None)
    if row[_HEALTH] is not None:
        # Measured at boot and by the server; the other members are verdicts or repeat these.
        boot = choice(member(row, f"{_HEALTH}.secureBoot"), _SECURE_BOOT, "secureBoot")
        gathered.observed("boot.secure_boot", boot)
    return ImportedDevice(
        source=SOURCE,
        line=line,
        received_at=heard_at(heard, now=now),
        facts=gathered.facts(),
        mdm_id=text(row["id"], "id"),
        owner=text(row["userPrincipalName"], "userPrincipalName"),
        name=text(row["deviceName"], "deviceName"),
        model=text(row["model"], "model"),
        ahead=heard > now + FUTURE_TOLERANCE,
        **identity(row["serialNumber"]),
    )
