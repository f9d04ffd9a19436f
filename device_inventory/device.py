"""The record of a device, its life cycle, and the one way to read a record from JSON.

Reading is strict: a record is written by a machine, so anything odd in it is a fault or an attack, and a record that
was half understood would be worse than none. The one exception are fact names this version does not know. They are
kept, have no confidence and are never scored: a newer inventory must not be able to make an older sidecar refuse the
very record that says `revoked`. `unknown_facts` names them, for whoever wrote the record by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

from device_inventory.facts import CATALOGUE, FactEnvelope, suggestion

DeviceStatus = Literal["invited", "enrolled", "active", "quarantined", "lost", "revoked", "retired"]
DeviceEvent = Literal["enroll", "activate", "quarantine", "release", "report_lost", "recover", "revoke", "retire"]
Ownership = Literal["corp", "byod", "shared"]

DEVICE_STATUSES: Final[tuple[DeviceStatus, ...]] = (
    "invited",
    "enrolled",
    "active",
    "quarantined",
    "lost",
    "revoked",
    "retired",
)
OWNERSHIPS: Final[tuple[Ownership, ...]] = ("corp", "byod", "shared")


class DeviceRecordError(ValueError):
    """A device record, or an event in a device's life, that is refused: a stable code, the field, and why."""

    def __init__(self, code: str, message: str, *, field: str = "") -> None:
        super().__init__(code, message, field)
        self.code = code
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.code}: {self.message}" if self.field else f"{self.code}: {self.message}"


class DeviceKey(Struct, frozen=True, kw_only=True, gc=False):
    """A key that proves to be this device until `not_after`: a certificate's or a JWK's SHA-256, exactly one."""

    x5t: str | None = None
    jkt: str | None = None
    not_after: int


class DeviceRecord(Struct, frozen=True, kw_only=True):
    """One device as the inventory last published it; `version` grows with every change of the record."""

    tenant: str
    device_id: str
    version: int
    status: DeviceStatus
    ownership: Ownership
    assigned: tuple[str, ...]
    keys: tuple[DeviceKey, ...]
    boot_id: str
    report_received_at: int
    facts: Mapping[str, FactEnvelope]
    ceiling: int | None = None
    """The highest label rank it was registered for, whatever its score; None: nobody said so."""


def unknown_facts(record: DeviceRecord) -> tuple[tuple[str, str], ...]:
    """The fact names of a record that the catalogue does not have, each with the name that was probably meant."""
    return tuple((name, suggestion(name)) for name in record.facts if name not in CATALOGUE)


# What is not in this table is refused. INVARIANT: nothing leads from `revoked` or `retired` back to a working status,
# so a key that was revoked never revives; a device that comes back is enrolled anew, with a new key.
LIFECYCLE: Final[Mapping[tuple[DeviceStatus, DeviceEvent], DeviceStatus]] = MappingProxyType(
    {
        ("invited", "enroll"): "enrolled",
        ("invited", "revoke"): "revoked",
        ("invited", "retire"): "retired",
        ("enrolled", "activate"): "active",
        ("enrolled", "quarantine"): "quarantined",
        ("enrolled", "report_lost"): "lost",
        ("enrolled", "revoke"): "revoked",
        ("enrolled", "retire"): "retired",
        ("active", "quarantine"): "quarantined",
        ("active", "report_lost"): "lost",
        ("active", "revoke"): "revoked",
        ("active", "retire"): "retired",
        ("quarantined", "release"): "active",
        ("quarantined", "report_lost"): "lost",
        ("quarantined", "revoke"): "revoked",
        ("quarantined", "retire"): "retired",
        # Found again is not yet trusted again: it was out of sight.
        ("lost", "recover"): "quarantined",
        ("lost", "revoke"): "revoked",
        ("lost", "retire"): "retired",
        ("revoked", "retire"): "retired",
    }
)


def next_status(status: DeviceStatus, event: DeviceEvent) -> DeviceStatus:
    """The status after `event`; DeviceRecordError (DEVICE_EVENT_REFUSED) for whatever the table does not allow."""
    try:
        return LIFECYCLE[(status, event)]
    except KeyError:
        raise DeviceRecordError(
            "DEVICE_EVENT_REFUSED", f"a device that is `{status}` cannot `{event}`", field="status"
        ) from None


# A SHA-256 in base64url without padding: 43 characters, the last of which carries four bits (RFC 8705 3.1, RFC 7638).
THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
