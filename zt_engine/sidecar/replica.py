"""What the sidecar knows of devices, subjects and the situation: in memory, replaced record by record or as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from device_inventory.device import DeviceKey, DeviceRecord
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.situation import Situation

T = TypeVar("T")


class KeyIndex(msgspec.Struct, frozen=True):
    """Whose key is which. A key that two devices claim belongs to neither: one of them is a clone."""

    owners: Mapping[str, tuple[DeviceRecord, DeviceKey]] = {}
    doubled: frozenset[str] = frozenset()
    version: int = 0
    """Changes with the keys, not with what else their devices' records say."""


class Records(msgspec.Struct, frozen=True):
    """A complete set of records, ready to be taken up in one step."""

    devices: Mapping[str, DeviceRecord]
    subjects: Mapping[tuple[str, str], SubjectRecord]
    keys: KeyIndex


class Replica:
    """The records a decision may depend on. They never change: who holds one sees by identity that it is current."""

    def __init__(self) -> None:
        self.devices: Mapping[str, DeviceRecord] = {}
        self.subjects: Mapping[tuple[str, str], SubjectRecord] = {}
        self.situation: Situation | None = None
        self.loaded_at: float | None = None
        self.keys = KeyIndex()

    @property
    def ready(self) -> bool:
        """Whether a complete set has ever been loaded."""
        return self.loaded_at is not None and self.situation is not None

    def stage(self, devices: Iterable[DeviceRecord], subjects: Iterable[SubjectRecord]) -> Records:
        """Prepare a complete set; changes nothing, and may run in a thread as long as nothing else replaces records.

        INVARIANT: an unchanged record keeps its identity, and with it what was cached for it, unless one of its keys
        has become, or is no longer, another device's as well.
        """
        found = {record.device_id: _keep(self.devices.get(record.device_id), record) for record in devices}
        keys = _index(found.values(), self.keys)
        changed = keys.doubled ^ self.keys.doubled
        if changed:
            for record in list(found.values()):
                if any(thumbprint(key) in changed for key in record.keys):
                    found[record.device_id] = msgspec.structs.replace(record)
            keys = _index(found.values(), self.keys)
        people = {
            (record.issuer, record.id): _keep(self.subjects.get((record.issuer, record.id)), record)
            for record in subjects
        }
        return Records(found, people, keys)

    def adopt(self, records: Records, situation: Situation, *, now: float) -> None:
        """Take up what `stage` prepared."""
        self.devices, self.subjects, self.keys = records.devices, records.subjects, records.keys
        self.situation = situation
        self.loaded_at = now

    def replace(
        self, devices: Iterable[DeviceRecord], subjects: Iterable[SubjectRecord], situation: Situation, *, now: float
    ) -> None:
        """Take a complete set in one step."""
        self.adopt(self.stage(devices, subjects), situation, now=now)

    def device_of(self, thumbprint: str, *, now: float) -> tuple[DeviceRecord, DeviceKey] | None:
        """Return the device whose key this is, unless the key's time is over."""
        found = self.keys.owners.get(thumbprint)
        return found if found is not None and now < found[1].not_after else None


def thumbprint(key: DeviceKey) -> str:
    """Return what names a key: it has exactly one of the two."""
    return key.x5t or key.jkt or ""


def _keep(old: T | None, new: T) -> T:
    return old if old is not None and old == new else new


def _index(devices: Iterable[DeviceRecord], before: KeyIndex) -> KeyIndex:
    owners: dict[str, tuple[DeviceRecord, DeviceKey]] = {}
    doubled = set()
    for record in devices:
        for key in record.keys:
            name = thumbprint(key)
            if name in owners and owners[name][0].device_id != record.device_id:
                doubled.add(name)
            owners[name] = (record, key)
    for name in doubled:
        del owners[name]
    same = owners.keys() == before.owners.keys() and all(
        owners[name][1] == key for name, (_, key) in before.owners.items()
    )
    return KeyIndex(owners, frozenset(doubled), before.version if same else before.version + 1)
