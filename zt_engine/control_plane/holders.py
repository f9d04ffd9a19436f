"""The sessions of whoever holds a device, when it is lost or given up: whatever may be open on it is closed.

A session that is bound to no device may be in that one's browser; a cookie does not say where it is. So it ends,
wherever it is, and its person signs in again. The one by which they say so stays: it is in their hands.
"""

from __future__ import annotations

from device_inventory.inventory import Device
from zt_engine.control_plane.session_changes import ended
from zt_engine.core.issuer import FOREIGN, is_foreign_name
from zt_engine.ports.inventory import Transaction
from zt_engine.ports.sessions import HeldSession


def person_named(name: str, *, home: str) -> tuple[str, str]:
    """Return issuer and subject of a name that records of devices know somebody by (`core.issuer.subject_name`)."""
    if not is_foreign_name(name):
        return home, name
    issuer, _, subject = name.partition(FOREIGN)
    return issuer, subject


def end_sessions_on(
    tx: Transaction, device: Device, *, home: str, reason: str, actor: str, now: int, keep: str = ""
) -> int:
    """End every session that may be open on a device, but the one with the id `keep`; return how many."""
    found: list[HeldSession] = []
    for name in dict.fromkeys((device.owner, *device.assigned)):
        if name:
            issuer, subject = person_named(name, home=home)
            # Of those who share it nothing is known to be open on it but what is bound to it.
            there = {device.device_id, ""} if name == device.owner else {device.device_id}
            found += [
                held
                for held in tx.sessions.of_person(issuer, subject)
                if held.record.device_id in there and held.record.sid != keep
            ]
    ended(tx, found, reason=reason, actor=actor, now=now)
    return len(found)
