"""What the sidecar knows of devices, subjects and the situation: in memory, and replaced as one value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from device_inventory.device import DeviceKey, DeviceRecord
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.session import SessionRecord
from zt_engine.core.situation import Situation
from zt_engine.sidecar.shared_facts import SharedFacts

REPORTED = frozenset({"attested", "signed_agent", "self_report"})
"""How facts come that a device's own report confirms."""
SubjectKey = tuple[str, str]
"""Issuer and id."""
Key = TypeVar("Key")
Record = TypeVar("Record")


class KeyIndex(msgspec.Struct, frozen=True):
    """Whose key is which. A key that two devices claim belongs to neither: one of them is a clone."""

    owners: Mapping[str, tuple[DeviceRecord, DeviceKey]] = {}
    doubled: Mapping[str, frozenset[str]] = {}
    """Keys that more than one device claims, and which devices those are."""
    version: int = 0
    """Changes with the keys, not with what else their devices' records say."""

    def claimants(self, name: str) -> frozenset[str]:
        """Return the ids of all devices that claim a key."""
        owner = self.owners.get(name)
        return self.doubled.get(name, frozenset()) if owner is None else frozenset((owner[0].device_id,))


class Changes(msgspec.Struct, frozen=True):
    """What became of records, by id; None: gone."""

    devices: Mapping[str, DeviceRecord | None] = {}
    subjects: Mapping[SubjectKey, SubjectRecord | None] = {}
    sessions: Mapping[str, SessionRecord | None] = {}


class Heard(msgspec.Struct, frozen=True, gc=False):
    """A report that changed nothing but ages: when it came, and which facts it confirmed."""

    received_at: int
    facts: tuple[str, ...] | None = None
    """None: all that came with the device's last report."""


class Records(msgspec.Struct, frozen=True):
    """A complete set of records. They never change: who holds one sees by identity that it is current.

    INVARIANT: an unchanged record keeps its identity, and with it what was cached for it, unless one of its keys has
    become, or is no longer, another device's as well.
    """

    devices: Mapping[str, DeviceRecord] = {}
    subjects: Mapping[SubjectKey, SubjectRecord] = {}
    keys: KeyIndex = KeyIndex()
    sessions: Mapping[str, SessionRecord] = {}

    def changed(self, changes: Changes) -> Records:
        """Return the set after some changes; costs a copy of the tables and work for what really is another record."""
        if changes.sessions:
            sessions = _with(self.sessions, _different(self.sessions, changes.sessions))
            return msgspec.structs.replace(self.changed(Changes(changes.devices, changes.subjects)), sessions=sessions)
        told = _different(self.devices, changes.devices)
        people = _different(self.subjects, changes.subjects)
        if not told:
            return msgspec.structs.replace(self, subjects=_with(self.subjects, people)) if people else self
        devices, keys = _with(self.devices, told), self.keys
        owners, doubled, moved = dict(keys.owners), dict(keys.doubled), False
        claims: dict[str, set[str]] = {name: set() for one in told for name in _keys(self.devices.get(one))}
        for one, record in told.items():
            for name in _keys(record):
                claims.setdefault(name, set()).add(one)
        again = dict(told)
        for name, claiming in claims.items():
            before = keys.claimants(name)
            now = before.difference(told) | claiming
            owners.pop(name, None)
            doubled.pop(name, None)
            if len(now) > 1:
                doubled[name] = now
            if (len(now) > 1) != (len(before) > 1):
                for one in now.difference(told):  # what was cached for it rests on a key that changed hands
                    again[one] = devices[one] = msgspec.structs.replace(devices[one])
            moved = moved or now != before
        for record in again.values():
            for name, key in _keys(record).items():
                if name not in doubled and record is not None:
                    moved = moved or keys.owners.get(name, (None, None))[1] != key
                    owners[name] = (record, key)
        index = KeyIndex(owners, doubled, keys.version + 1 if moved else keys.version)
        return Records(devices, _with(self.subjects, people) if people else self.subjects, index, self.sessions)

    def renewed(self, heard: Mapping[str, Heard]) -> Records:
        """Return the set after reports that changed nothing but ages: no key changes hands, no other record is touched.

        A report older than what is known brings nothing, and a device nobody knows stays unknown.
        """
        newer = {}
        for one, report in heard.items():
            record = self.devices.get(one)
            if record is not None:
                told = renewed(record, report)
                if told is not record:
                    newer[one] = told
        if not newer:
            return self
        owners = dict(self.keys.owners)
        for one, record in newer.items():
            before = self.devices[one]
            for key in record.keys:
                owner = owners.get(thumbprint(key))
                if owner is not None and owner[0] is before:
                    owners[thumbprint(key)] = (record, owner[1])
        keys = KeyIndex(owners, self.keys.doubled, self.keys.version)
        return Records({**self.devices, **newer}, self.subjects, keys, self.sessions)

    def becoming(
        self,
        devices: Iterable[DeviceRecord],
        subjects: Iterable[SubjectRecord],
        sessions: Iterable[SessionRecord] = (),
    ) -> Records:
        """Return the set that has exactly these records."""
        found = {record.device_id: record for record in devices}
        people = {(record.issuer, record.id): record for record in subjects}
        gone, left = self.devices.keys() - found.keys(), self.subjects.keys() - people.keys()
        known = {record.sid: record for record in sessions}
        over = self.sessions.keys() - known.keys()
        return self.changed(
            Changes(dict.fromkeys(gone) | found, dict.fromkeys(left) | people, dict.fromkeys(over) | known)
        )


class State(msgspec.Struct, frozen=True):
    """Everything the replica knows, as one value: whoever saw it current sees by identity whether it still is."""

    records: Records = Records()
    situation: Situation | None = None


class Replica:
    """The records a decision may depend on."""

    def __init__(self) -> None:
        self.state = State()
        self.loaded_at: float | None = None
        self.used: dict[str, float] = {}
        """When each session was last used here; no longer than the sessions themselves."""

    @property
    def devices(self) -> Mapping[str, DeviceRecord]:
        """Every device by its id."""
        return self.state.records.devices

    @property
    def subjects(self) -> Mapping[SubjectKey, SubjectRecord]:
        """Every subject by issuer and id."""
        return self.state.records.subjects

    @property
    def sessions(self) -> Mapping[str, SessionRecord]:
        """Every browser session by the digest of its handle."""
        return self.state.records.sessions

    @property
    def keys(self) -> KeyIndex:
        """Whose key is which."""
        return self.state.records.keys

    @property
    def situation(self) -> Situation | None:
        """The situation, None before the first."""
        return self.state.situation

    @situation.setter
    def situation(self, situation: Situation | None) -> None:
        self.state = State(self.state.records, situation)

    @property
    def ready(self) -> bool:
        """Whether a complete set has ever been loaded."""
        return self.loaded_at is not None and self.situation is not None

    def adopt(self, records: Records, situation: Situation, *, now: float) -> None:
        """Take up a complete set in one step."""
        self.state = State(records, situation)
        self.loaded_at = now

    def replace(
        self, devices: Iterable[DeviceRecord], subjects: Iterable[SubjectRecord], situation: Situation, *, now: float
    ) -> None:
        """Take up exactly these records."""
        self.adopt(self.state.records.becoming(devices, subjects), situation, now=now)

    def device_of(self, thumbprint: str, *, now: float) -> tuple[DeviceRecord, DeviceKey] | None:
        """Return the device whose key this is, unless the key's time is over."""
        found = self.state.records.keys.owners.get(thumbprint)
        return found if found is not None and now < found[1].not_after else None


def renewed(record: DeviceRecord, report: Heard) -> DeviceRecord:
    """Return a record with the ages a report gives it; itself when the report is no newer."""
    at = report.received_at
    if at <= record.report_received_at:
        return record
    facts = SharedFacts.of(record.facts)
    return DeviceRecord(
        tenant=record.tenant,
        device_id=record.device_id,
        version=record.version,
        status=record.status,
        ownership=record.ownership,
        assigned=record.assigned,
        keys=record.keys,
        boot_id=record.boot_id,
        report_received_at=at,
        facts=facts.renewed(report.facts, at, before=record.report_received_at, methods=REPORTED),
        ceiling=record.ceiling,
    )


def thumbprint(key: DeviceKey) -> str:
    """Return what names a key: it has exactly one of the two."""
    return key.x5t or key.jkt or ""


def _keys(record: DeviceRecord | None) -> dict[str, DeviceKey]:
    return {thumbprint(key): key for key in record.keys} if record is not None else {}


def _different(known: Mapping[Key, Record], changes: Mapping[Key, Record | None]) -> dict[Key, Record | None]:
    return {key: record for key, record in changes.items() if known.get(key) != record}


def _with(known: Mapping[Key, Record], changes: Mapping[Key, Record | None]) -> dict[Key, Record]:
    result = dict(known)
    for key, record in changes.items():
        if record is None:
            result.pop(key, None)
        else:
            result[key] = record
    return result
