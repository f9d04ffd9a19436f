"""What the inventory holds of a device, and what of it sidecars are told.

A device's facts come from several sources: its agent, the root helper beside it, a management server's export. Each
source's word is kept apart, with the method its channel earns; what is published is their appraisal, and never more
than the device has earned so far. Everything is a value: a change makes a new `Device`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from device_inventory.appraisal import Evidence, reconcile
from device_inventory.device import DeviceKey, DeviceRecord, DeviceStatus, Ownership
from device_inventory.facts import CATALOGUE, DAY, FactEnvelope, FactStatus, FactValue, Method

DeviceKind = Literal["person", "shared", "robot", "contractor"]
KeyProtection = Literal["attested_hw", "hw", "os_keystore", "file"]

KEY_FACT: Final = "device.key_protection"
OWNERSHIP_FACT: Final = "device.ownership"

# The sources a device speaks through itself. A management server's export goes by its own name.
AGENT: Final = "agent"
HELPER: Final = "helper"
QUOTE: Final = "quote"
OWN_SOURCES: Final = frozenset({AGENT, HELPER, QUOTE})

REPORTS_NEEDED: Final = 2
"""So many consistent reports, far enough apart, before a device's own word counts for more than a self-report."""
VOUCHED_FOR: Final = 7 * DAY
"""How long the last word of a helper or a management server vouches that somebody looks after the device."""
FLAPPING: Final = 4
"""So many changes of one value within a day, and nobody vouches for it any more."""


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


class FactChange(Struct, frozen=True, kw_only=True, gc=False):
    """What a source began to say of a fact, and when: the history that tells a repair from a toggle."""

    fact: str
    source: str
    at: int
    status: FactStatus
    value: FactValue


class Stream(Struct, frozen=True, kw_only=True, gc=False):
    """The reports of one boot. A machine has one boot at a time, so two that take turns are two machines."""

    boot_id: str
    since: int
    seq: int
    """The last sequence number that was accepted from it; 0 for none."""
    refused: tuple[int, ...] = ()
    """When a report that went back followed one that was accepted: the newest few."""
    behind: bool = False
    """Whether its last report was refused."""


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
    approval_required: bool = False
    """Whether somebody else has to approve it before it counts."""
    approved_by: str = ""
    given_by: tuple[str, ...] = ()
    """Every name of whoever last gave it to somebody else: no second person for the approval that follows."""
    helper_key: Mapping[str, str] | None = None
    """The root helper's public key as a JWK, registered at enrollment."""
    keys: tuple[HeldKey, ...] = ()
    boot_id: str = ""
    report_seq: int = 0
    report_received_at: int = 0
    first_report_at: int = 0
    """The first of the consistent reports that are counted."""
    consistent_reports: int = 0
    sources: Mapping[str, SourceFacts] = MappingProxyType({})
    history: tuple[FactChange, ...] = ()
    """Oldest first, and bounded."""
    streams: tuple[Stream, ...] = ()
    """The boots heard of, the last one last, and bounded."""
    findings: tuple[str, ...] = ()
    """Codes of what is odd about it: SOURCE_CONFLICT, DEVICE_CLONED, CLOCK_SKEW..."""
    published: str = ""
    """Digest of the facts sidecars were last told by a report; empty when they were told by anything else."""
    replaces: str = ""
    """The device this one is the re-enrollment of."""
    created_at: int = 0
    changed_at: int = 0
    reason: str = ""
    """What the last change of status was given as its reason."""


def publish(device: Device, *, names: Iterable[str], now: int) -> DeviceRecord:
    """Return the record sidecars get: of the facts only `names`, where sources differ the worse value.

    Revoked and expired keys are left out, and no key outlives the device's own end.
    """
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
            for key in live_keys(device, now=now)
        ),
        boot_id=device.boot_id,
        report_received_at=device.report_received_at,
        facts=standing(device, names=names, now=now),
        ceiling=device.ceiling,
    )


def standing(device: Device, *, names: Iterable[str], now: int) -> Mapping[str, FactEnvelope]:
    """What is held true of each fact in `names` that anybody said anything about."""
    facts = {}
    for name in names:
        fact = reconcile(said(device, name, now=now), boot_id=device.boot_id, now=now)[0]
        if fact is not None:
            facts[name] = fact
    return MappingProxyType(facts)


def live_keys(device: Device, *, now: int) -> tuple[HeldKey, ...]:
    """The keys that prove to be this device now; none once its own end has come."""
    if device.ends_at is not None and device.ends_at <= now:
        return ()
    return tuple(key for key in device.keys if key.revoked_at is None and key.not_after > now)


def said(device: Device, name: str, *, now: int) -> tuple[Evidence, ...]:
    """What each source says about one fact, by the method it has earned.

    Two facts are the inventory's own, and no report can say anything about them: how the key is kept, and whose the
    device is.
    """
    if name == KEY_FACT:
        return _key_evidence(device, now=now)
    if name == OWNERSHIP_FACT:
        fact = FactEnvelope(status="observed", value=device.ownership, method="declared", received_at=device.created_at)
        return (Evidence(fact=name, envelope=fact, source="inventory"),)
    return tuple(
        Evidence(fact=name, envelope=_earned(device, name, held, now=now), source=held.source)
        for held in device.sources.values()
        if name in held.facts
    )


def proven(device: Device) -> bool:
    """Whether the device's own word counts by its channel: it was heard often enough without contradicting itself."""
    return device.consistent_reports >= REPORTS_NEEDED


def vouched(device: Device, *, now: int) -> bool:
    """Whether anybody but an ordinary user's agent has lately spoken for the device."""
    return any(_vouches(device, held) for held in device.sources.values() if now - held.received_at < VOUCHED_FOR)


def _vouches(device: Device, held: SourceFacts) -> bool:
    if held.source in OWN_SOURCES:
        return held.source != AGENT and proven(device)
    # What was only worked out from the agent's own word (its list of software) vouches for nothing.
    return any(fact.method == "mdm_server" for fact in held.facts.values())


def flapping(device: Device, name: str, source: str, *, now: int) -> bool:
    """Whether one source changed its mind about a fact too often within a day."""
    values = [
        change.value
        for change in device.history
        if change.fact == name and change.source == source and change.status == "observed" and now - change.at < DAY
    ]
    return sum(before != after for before, after in pairwise(values)) >= FLAPPING


def facts_digest(facts: Mapping[str, FactEnvelope], boot_id: str) -> str:
    """What tells whether a sidecar would have to be told: values, methods and status, not freshness."""
    said_of = [(name, fact.status, fact.value, fact.method, fact.boot_id) for name, fact in sorted(facts.items())]
    return hashlib.sha256(json.dumps([boot_id, said_of], separators=(",", ":")).encode()).hexdigest()


def _earned(device: Device, name: str, held: SourceFacts, *, now: int) -> FactEnvelope:
    fact = held.facts[name]
    if held.source not in OWN_SOURCES:
        return fact
    method: Method = fact.method
    if not proven(device) and method != "declared":
        # A helper that was installed a minute ago has proven nothing yet, and C2 is beyond any self-report.
        method = "self_report"
    if flapping(device, name, held.source, now=now):
        method = "declared"
    return fact if method == fact.method else replace(fact, method=method)


def _key_evidence(device: Device, *, now: int) -> tuple[Evidence, ...]:
    # Any of the live keys may be the one a connection is made with, so the worst of them is the device's. The report
    # that the key signed is what shows it alive, so the fact is as old as the report.
    keys = live_keys(device, now=now)
    if not keys or not device.report_received_at:
        return ()
    worst = max((key.protection for key in keys), key=CATALOGUE[KEY_FACT].choices.index)
    # An attested key says nothing about who edits the facts it signs. While nobody else vouches for the device it
    # counts like the rest of the self-report: otherwise key and forged facts together would open C2.
    attested = worst == "attested_hw" and vouched(device, now=now)
    fact = FactEnvelope(
        status="observed",
        value=worst,
        method="attested" if attested else "self_report",
        received_at=device.report_received_at,
    )
    return (Evidence(fact=KEY_FACT, envelope=fact, source="inventory"),)
