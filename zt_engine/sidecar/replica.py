"""What the sidecar knows of devices, subjects and the situation: in memory, replaced record by record or as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from device_inventory.device import DeviceKey, DeviceRecord
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.situation import Situation

T = TypeVar("T")


class Replica:
    """The records a decision may depend on. Records are immutable: who holds one can see by identity that it is current."""

    def __init__(self) -> None:
        self.devices: dict[str, DeviceRecord] = {}
        self.subjects: dict[tuple[str, str], SubjectRecord] = {}
        self.situation: Situation | None = None
        self.loaded_at: float | None = None
        self._keys: dict[str, tuple[DeviceRecord, DeviceKey]] = {}

    @property
    def ready(self) -> bool:
        """Whether a complete set has ever been loaded."""
        return self.loaded_at is not None and self.situation is not None

    def replace(
        self, devices: Iterable[DeviceRecord], subjects: Iterable[SubjectRecord], situation: Situation, *, now: float
    ) -> None:
        """Take a complete set in one step; an unchanged record keeps its identity, and with it what was cached for it."""
        new_devices = {record.device_id: _keep(self.devices.get(record.device_id), record) for record in devices}
        new_subjects = {
            (record.issuer, record.id): _keep(self.subjects.get((record.issuer, record.id)), record)
            for record in subjects
        }
        self._keys = _by_key(new_devices)
        self.devices, self.subjects = new_devices, new_subjects
        self.situation = situation
        self.loaded_at = now

    def put_device(self, record: DeviceRecord) -> None:
        """Take one changed device."""
        old = self.devices.get(record.device_id)
        if old is not None:
            for key in old.keys:
                self._keys.pop(key.x5t or key.jkt or "", None)
        self.devices[record.device_id] = record
        for key in record.keys:
            thumbprint = key.x5t or key.jkt or ""
            if thumbprint in self._keys:
                self._keys = _by_key(self.devices)
                return
            self._keys[thumbprint] = (record, key)

    def put_subject(self, record: SubjectRecord) -> None:
        """Take one changed subject."""
        self.subjects[(record.issuer, record.id)] = record

    def device_of(self, thumbprint: str, *, now: float) -> tuple[DeviceRecord, DeviceKey] | None:
        """Return the device whose key this is, unless the key's time is over."""
        found = self._keys.get(thumbprint)
        return found if found is not None and now < found[1].not_after else None


def _keep(old: T | None, new: T) -> T:
    return old if old is not None and old == new else new


def _by_key(devices: Mapping[str, DeviceRecord]) -> dict[str, tuple[DeviceRecord, DeviceKey]]:
    """Index devices by key. A key that two devices claim belongs to neither: one of them is a clone."""
    found: dict[str, tuple[DeviceRecord, DeviceKey]] = {}
    claimed_twice = set()
    for record in devices.values():
        for key in record.keys:
            thumbprint = key.x5t or key.jkt or ""
            if thumbprint in found and found[thumbprint][0].device_id != record.device_id:
                claimed_twice.add(thumbprint)
            found[thumbprint] = (record, key)
    for thumbprint in claimed_twice:
        del found[thumbprint]
    return found
