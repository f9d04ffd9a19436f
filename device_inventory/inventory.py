"""What the inventory holds of a device, and what of it sidecars are told.

A device's facts come from several sources: its agent, the root helper beside it, a management server's export. Each
source's word is kept apart, with the method its channel earns; what is published is their appraisal. Everything is a
value: a change makes a new `Device`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

from device_inventory.appraisal import Evidence, reconcile
from device_inventory.device import DeviceKey, DeviceRecord, DeviceStatus, Ownership
from device_inventory.facts import FactEnvelope

DeviceKind = Literal["person", "shared", "robot", "contractor"]
KeyProtection = Literal["attested_hw", "hw", "os_keystore", "file"]

KEY_FACT: Final = "device.key_protection"


class HeldKey(Struct, frozen=True, kw_only=True):
    """A key the device was ever certified for. A revoked one stays here, so that it never comes back."""

    x5t: str
    """base64url SHA-256 of the certificate."""
    spki: str
    """base64url SHA-256 of the public key's SubjectPublicKeyInfo: what tells that two certificates hold one key."""
    jkt: str
    """RFC 7638 thumbprint of the public key."""
    jwk: Mapping[str, str]
    """The public key (RFC 7517): what its signatures are checked with."""
    issuer: str
    serial: str
    """Lower-case hex, as in a revocation of kind `cert`."""
    not_before: int
    not_after: int
    protection: KeyProtection
    revoked_at: int | None = None


class SourceFacts(Struct, frozen=True, kw_only=True):
    """What one source says: its facts as they were received, and the last time it said anything."""

    source: str
    received_at: int
    facts: Mapping[str, FactEnvelope] = MappingProxyType({})
    version: str = ""


class Device(Struct, frozen=True, kw_only=True):
    """Everything the inventory knows of one device. `version` grows with every change of the published record."""

    tenant: str
    device_id: str
    version: int
    status: DeviceStatus
    ownership: Ownership
    kind: DeviceKind = "person"
    owner: str = ""
    """The subject it was enrolled for, by the name subjects go by in `assigned`; empty while nobody holds it."""
    assigned: tuple[str, ...] = ()
    name: str = ""
    model: str = ""
    serial_hash: str = ""
    sponsor: str = ""
    """Who answers for a contractor's device."""
    ends_at: int | None = None
    """When a contractor's or loaned device stops counting, in epoch seconds."""
    ceiling: int = 1000
    """The highest label rank it was registered for."""
    approved_by: str = ""
    helper_key: Mapping[str, str] | None = None
    """The root helper's public key as a JWK, registered at enrollment."""
    keys: tuple[HeldKey, ...] = ()
    boot_id: str = ""
    report_seq: int = 0
    report_received_at: int = 0
    first_report_at: int = 0
    consistent_reports: int = 0
    sources: Mapping[str, SourceFacts] = MappingProxyType({})
    findings: tuple[str, ...] = ()
    """Codes of what is odd about it: SOURCE_CONFLICT, DEVICE_CLONED, CLOCK_SKEW..."""
    replaces: str = ""
    """The device this one is the re-enrollment of."""
    created_at: int = 0
    changed_at: int = 0
    reason: str = ""
    """What the last change of status was given as its reason."""


def publish(device: Device, *, names: Iterable[str], now: int) -> DeviceRecord:
    """Return the record sidecars get: of the facts only `names`, where sources differ the worse value.

    Revoked keys are left out, and no key outlives the device's own end.
    """
    standing = {name: reconcile(said(device, name), boot_id=device.boot_id, now=now)[0] for name in names}
    end = device.ends_at
    return DeviceRecord(
        tenant=device.tenant,
        device_id=device.device_id,
        version=device.version,
        status=device.status,
        ownership=device.ownership,
        assigned=device.assigned,
        keys=tuple(
            DeviceKey(x5t=key.x5t, not_after=key.not_after if end is None else min(key.not_after, end))
            for key in device.keys
            if key.revoked_at is None
        ),
        boot_id=device.boot_id,
        report_received_at=device.report_received_at,
        facts=MappingProxyType({name: fact for name, fact in standing.items() if fact is not None}),
    )


def said(device: Device, name: str) -> tuple[Evidence, ...]:
    """What each source says about one fact."""
    return tuple(
        Evidence(fact=name, envelope=held.facts[name], source=held.source)
        for held in device.sources.values()
        if name in held.facts
    )
