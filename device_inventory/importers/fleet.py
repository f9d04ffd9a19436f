"""Fleet (osquery): hosts as the API returns them, with software and the Windows security centre where asked for.

`policies` and `issues` are verdicts on questions this engine does not know, so no fact is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from device_inventory.facts import FUTURE_TOLERANCE, FactValue
from device_inventory.importers.json_rows import json_rows
from device_inventory.importers.rows import (
    Gathered,
    ImportedDevice,
    ImportFault,
    Row,
    RowError,
    choice,
    devices_of,
    heard_at,
    identity,
    instant,
    member,
    objects,
    text,
)

SOURCE: Final = "fleet"
MAX_CVES: Final = 200

_YES_NO: Final[Mapping[str, FactValue]] = MappingProxyType({"true": True, "false": False})
_CENTRE: Final[Mapping[str, FactValue]] = MappingProxyType({"good": True, "poor": False})
_LINUX: Final = frozenset(
    {"linux", "ubuntu", "debian", "rhel", "centos", "fedora", "arch", "amzn", "opensuse-leap", "sles", "kali", "pop"}
)
_CVE: Final = re.compile(r"CVE-\d{4}-\d{4,19}")


def fleet_json(chunks: Iterable[bytes], *, now: int) -> Iterator[ImportedDevice | ImportFault]:
    """Devices of one answer of the API, or of several concatenated into one list."""
    return devices_of(json_rows(chunks, member="hosts"), partial(_device, now=now))


def _device(row: Row, line: int, *, now: int) -> ImportedDevice:
    # `seen_time` is a sign of life; what is known of the host is as old as its last full refresh.
    heard = instant(row.get("detail_updated_at"), "detail_updated_at")
    gathered = Gathered(heard_at(heard, now=now))
    platform = text(row.get("platform"), "platform").lower()
    gathered.observed("os.family", _family(platform))
    gathered.observed("os.id", platform if platform in _LINUX - {"linux"} else None)
    # No row unless osquery ran as root: null is not collected, never "not encrypted".
    encrypted = choice(row.get("disk_encryption_enabled"), _YES_NO, "disk_encryption_enabled")
    gathered.observed("disk.encrypted", encrypted)
    enrollment = text(member(row, "mdm.enrollment_status"), "mdm.enrollment_status").lower()
    gathered.observed("mdm.enrolled", None if not enrollment else enrollment.startswith("on"))
    _software(row, gathered)
    _security_centre(row, gathered)
    return ImportedDevice(
        source=SOURCE,
        line=line,
        received_at=heard_at(heard, now=now),
        facts=gathered.facts(),
        mdm_id=text(row.get("uuid"), "uuid"),
        owner=next((text(user.get("email"), "email") for user in objects(row.get("device_mapping"))), ""),
        name=text(row.get("computer_name") or row.get("hostname"), "computer_name"),
        model=text(row.get("hardware_model"), "hardware_model"),
        ahead=heard > now + FUTURE_TOLERANCE,
        **identity(row.get("hardware_serial")),
    )


def _family(platform: str) -> str | None:
    if platform in ("darwin", "macos"):
        return "macos"
    if platform in ("windows", "ios", "ipados", "chrome"):
        return {"ipados": "ios", "chrome": "chromeos"}.get(platform, platform)
    return "linux" if platform in _LINUX else None


def _software(row: Row, gathered: Gathered) -> None:
    """What is known to be exploited of the installed software. Without a list of software nothing is known."""
    if not isinstance(row.get("software"), list):
        return
    exploited: set[str] = set()
    highest: float = 0
    for package in objects(row["software"]):
        for flaw in objects(package.get("vulnerabilities")):
            name = text(flaw.get("cve"), "cve")
            if not _CVE.fullmatch(name):
                raise RowError("IMPORT_VALUE", "`cve` is no name of a vulnerability")
            if flaw.get("cisa_known_exploit") is True:
                exploited.add(name)
            score = flaw.get("cvss_score")
            if isinstance(score, int | float) and not isinstance(score, bool):
                if not 0 <= score <= 10:
                    raise RowError("IMPORT_VALUE", "`cvss_score` must be from 0 to 10")
                highest = max(highest, score)
    gathered.observed("vuln.kev_open", sorted(exploited)[:MAX_CVES])
    gathered.observed("vuln.max_cvss_open", highest)


def _security_centre(row: Row, gathered: Gathered) -> None:
    """`windows_security_center` of a host's additional queries: snoozed, unmonitored and error say nothing."""
    centre = next(objects(member(row, "additional.windows_security_center")), None)
    if centre is not None:
        gathered.observed("firewall.enabled", choice(centre.get("firewall"), _CENTRE, "firewall"))
        gathered.observed("av.realtime", choice(centre.get("antivirus"), _CENTRE, "antivirus"))
