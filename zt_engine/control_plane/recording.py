"""A change of a device, told everywhere at once: the inventory, the audit, and what sidecars are sent."""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType
from typing import Any, Final, Protocol

import msgspec

from device_inventory.device import DeviceRecord
from device_inventory.inventory import Device, publish
from zt_engine.core.audit import AuditEvent
from zt_engine.ports.inventory import Transaction

CHANGED: Final = "device.changed"


class Recorder(Protocol):
    """Puts a device, records the change for the audit and announces it to the sidecars, all in one transaction."""

    def __call__(
        self, tx: Transaction, device: Device, *, before: Device | None, actor: str, action: str, now: int
    ) -> None:
        """Record the change from `before` (None: there was no such device) to `device`."""
        ...


class DeviceRecording:
    """The `Recorder`; `facts` are those that sidecars are told."""

    def __init__(self, facts: Collection[str]) -> None:
        self._facts = frozenset(facts)

    def __call__(
        self, tx: Transaction, device: Device, *, before: Device | None, actor: str, action: str, now: int
    ) -> None:
        """Record the change from `before` (None: there was no such device) to `device`."""
        tx.devices.put(device)
        tx.outbox.announce(CHANGED, encode_record(publish(device, names=self._facts, now=now)))
        tx.audit.record(
            AuditEvent(
                at=now,
                actor=actor,
                action=action,
                object=f"device:{device.device_id}",
                reason=device.reason if before is None or device.reason != before.reason else "",
                before=b"" if before is None else summary(before),
                after=summary(device),
            )
        )


def encode_record(record: DeviceRecord) -> bytes:
    """Return a record as `device_inventory.device_json` reads it."""
    return _encode(record)


def summary(device: Device) -> bytes:
    """Return what the audit keeps of a device: who holds it and by which keys, and no fact about it."""
    return _encode(
        {
            "version": device.version,
            "status": device.status,
            "ownership": device.ownership,
            "kind": device.kind,
            "owner": device.owner,
            "assigned": device.assigned,
            "sponsor": device.sponsor,
            "ceiling": device.ceiling,
            "ends_at": device.ends_at,
            "approved_by": device.approved_by,
            "replaces": device.replaces,
            "findings": device.findings,
            "keys": [
                {"x5t": key.x5t, "not_after": key.not_after, "protection": key.protection, "revoked_at": key.revoked_at}
                for key in device.keys
            ],
        }
    )


def _plain(value: object) -> Any:
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise NotImplementedError


_encode: Final = msgspec.json.Encoder(enc_hook=_plain).encode
