"""Jamf Pro: `computers-inventory` with the sections general, hardware, operating system, security and encryption.

Jamf knows the difference between off and not collected, and so do the facts made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from device_inventory.facts import FUTURE_TOLERANCE, FactStatus, FactValue
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

SOURCE: Final = "jamf"

_ON_OFF: Final[Mapping[str, FactValue]] = MappingProxyType(
    {"enabled": True, "disabled": False, "true": True, "false": False}
)
# Any volume that is not encrypted is a place where papers lie in the clear.
_FILE_VAULT: Final[Mapping[str, FactValue]] = MappingProxyType(
    {
        "all_encrypted": True,
        "boot_encrypted": False,
        "some_encrypted": False,
        "not_encrypted": False,
        "encrypted": True,
        "encrypting": False,
        "decrypting": False,
        "decrypted": False,
        "unencrypted": False,
        "ineligible": None,
        "optimizing": True,
        "restart_needed": False,
    }
)
# `MEDIUM` starts any system that was ever signed.
_BOOT: Final[Mapping[str, FactValue]] = MappingProxyType(
    {
        "full": True,
        "full_security": True,
        "medium": False,
        "medium_security": False,
        "no": False,
        "no_security": False,
    }
)
_UNSUPPORTED: Final = frozenset({"not_supported", "not_available"})


def jamf_json(chunks: Iterable[bytes], *, now: int) -> Iterator[ImportedDevice | ImportFault]:
    """Devices of one answer of the API, or of several concatenated into one list."""
    return devices_of(json_rows(chunks, member="results"), partial(_device, now=now))


def _device(row: Row, line: int, *, now: int) -> ImportedDevice:
    heard = instant(
        member(row, "general.lastContactTime") or member(row, "general.reportDate"), "general.lastContactTime"
    )
    reported = instant(member(row, "general.reportDate"), "general.reportDate")
    # The facts are of the last inventory report; that the computer called in since makes them no newer.
    at = heard_at(min(heard, reported), now=now)
    gathered = Gathered(at)
    managed = choice(member(row, "general.remoteManagement.managed"), _ON_OFF, "general.remoteManagement.managed")
    gathered.observed("mdm.enrolled", managed)
    gathered.observed("mdm.vendor", SOURCE)
    gathered.observed("os.family", "macos")
    for fact, path in (("os.version", "operatingSystem.version"), ("os.build", "operatingSystem.build")):
        gathered.observed(fact, text(member(row, path), path) or None)
    for fact, path, words in _FACTS:
        value = member(row, path)
        if isinstance(value, str) and value.lower() in _UNSUPPORTED:
            gathered.missing(fact, _unsupported(fact))
        else:
            gathered.observed(fact, choice(value, words, path))
    return ImportedDevice(
        source=SOURCE,
        line=line,
        received_at=at,
        facts=gathered.facts(),
        mdm_id=text(member(row, "udid"), "udid") or text(member(row, "id"), "id"),
        owner=text(member(row, "userAndLocation.username"), "userAndLocation.username"),
        name=text(member(row, "general.name"), "general.name"),
        model=text(member(row, "hardware.model"), "hardware.model"),
        ahead=max(heard, reported) > now + FUTURE_TOLERANCE,
        **identity(member(row, "hardware.serialNumber")),
    )


_FACTS: Final = (
    ("disk.encrypted", "operatingSystem.fileVault2Status", _FILE_VAULT),
    ("mac.enforcing", "security.sipStatus", _ON_OFF),
    ("firewall.enabled", "security.firewallEnabled", _ON_OFF),
    ("boot.secure_boot", "security.secureBootLevel", _BOOT),
)


def _unsupported(fact: str) -> FactStatus:
    # `NOT_AVAILABLE` of a setting every Mac has means that it was not read.
    return "not_supported" if fact == "boot.secure_boot" else "not_collected"
