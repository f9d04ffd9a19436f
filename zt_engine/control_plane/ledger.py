"""The one way a change gets into the inventory: stored, audited with before and after, announced, in one transaction.

INVARIANT: what ends a device is announced as a revocation first and as its record second. A revocation may be sent
ahead of its turn, and the record that follows says for good what the revocation says for a while.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from device_inventory.device import DeviceStatus
from device_inventory.enrollment import Enrollment
from device_inventory.inventory import Device, HeldKey, publish
from zt_engine.core.audit import AuditEvent
from zt_engine.ports.inventory import Transaction

ENDED: Final[frozenset[DeviceStatus]] = frozenset({"lost", "revoked", "retired"})
_encode: Final = msgspec.json.Encoder(enc_hook=dict).encode
"""The only values it does not know are read-only mappings."""
BRIDGE: Final = 600
"""How long a revocation stands in for a record that is on its way. It cannot be taken back, and a device that was lost
may be found: its record is what keeps it out."""


class Ledger:
    """Writes changes down. `facts` are those sidecars are told of a device."""

    def __init__(self, facts: Collection[str]) -> None:
        self._facts = facts

    def __call__(
        self,
        tx: Transaction,
        device: Device,
        *,
        before: Device | None,
        actor: str,
        action: str,
        now: int,
    ) -> None:
        """Record the change from `before` (None: there was no such device) to `device`; nothing when they are one."""
        if device == before:
            return
        tx.devices.put(device)
        for kind, key, until in _revocations(before, device, now=now):
            revoke(tx, kind, key, until)
        tx.outbox.announce("device.changed", _encode(publish(device, names=self._facts, now=now)))
        write_down(
            tx,
            actor=actor,
            action=action,
            object_=f"device:{device.device_id}",
            reason=device.reason if before is None or device.reason != before.reason else "",
            before=None if before is None else summary(before),
            after=summary(device),
            now=now,
        )


def revoke(tx: Transaction, kind: str, key: str, until: int | None) -> None:
    """Hold a revocation for sidecars that come later, and tell the others."""
    body = msgspec.json.encode({"kind": kind, "key": key, "until": until})
    # One that ends sooner does not take the place of one that ends later.
    name = hashlib.sha256(f"{kind}\n{until}\n{key}".encode()).hexdigest()
    tx.situation.put("revocation", name, body)
    tx.outbox.announce("revocation.added", body)


def keep_enrollment(tx: Transaction, after: Enrollment, *, before: Enrollment, actor: str, now: int) -> None:
    """Put an enrollment that is in another state than before; nothing when it is not."""
    if after == before:
        return
    tx.enrollments.put(after)
    write_down(
        tx,
        actor=actor,
        action=f"enrollment.{after.state}",
        object_=f"enrollment:{after.id}",
        before={"state": before.state},
        after={"state": after.state, "device": after.device_id},
        now=now,
    )


def write_down(
    tx: Transaction,
    *,
    actor: str,
    action: str,
    object_: str,
    now: int,
    reason: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add an audit event; None where there was or is nothing."""
    tx.audit.record(
        AuditEvent(
            at=now,
            actor=actor,
            action=action,
            object=object_,
            reason=reason,
            before=b"" if before is None else msgspec.json.encode(before),
            after=b"" if after is None else msgspec.json.encode(after),
        )
    )


def summary(device: Device) -> dict[str, Any]:
    """Return what of a device an audit event holds: its standing, its people and its keys, and nothing it reported."""
    return {
        "version": device.version,
        "status": device.status,
        "ownership": device.ownership,
        "kind": device.kind,
        "owner": device.owner,
        "assigned": device.assigned,
        "sponsor": device.sponsor,
        "ends_at": device.ends_at,
        "ceiling": device.ceiling,
        "approval_required": device.approval_required,
        "approved_by": device.approved_by,
        "replaces": device.replaces,
        "findings": device.findings,
        "keys": [{"x5t": key.x5t, "not_after": key.not_after, "revoked_at": key.revoked_at} for key in device.keys],
    }


def _revocations(before: Device | None, device: Device, *, now: int) -> list[tuple[str, str, int | None]]:
    """Return what is revoked by a change: the device that ended, and every key that was revoked with it or without."""
    was_live = {key.x5t for key in before.keys if key.revoked_at is None} if before is not None else set()
    dropped = [key for key in device.keys if key.revoked_at is not None and key.x5t in was_live and key.not_after > now]
    found: list[tuple[str, str, int | None]] = []
    if device.status in ENDED and (before is None or before.status != device.status):
        lasting = device.status != "lost"
        until = max([now + BRIDGE, *(key.not_after for key in dropped if lasting)])
        found.append(("device", device.device_id, until))
    for key in dropped:
        found += [("cert", key.x5t, key.not_after), ("cert", _named(key), key.not_after)]
    return found


def _named(key: HeldKey) -> str:
    """A certificate by its issuer and number: whoever respells the CA's signature changes its thumbprint, not these."""
    return f"{key.issuer}|{key.serial}"
