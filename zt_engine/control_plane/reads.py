"""That somebody looked at a device's record stands in the audit, for the person it is about to see.

Looking again within the hour adds nothing: the page that is reloaded is one look.
"""

from __future__ import annotations

import threading
from typing import Final

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.ledger import write_down
from zt_engine.control_plane.nonces import digest
from zt_engine.core.audit import AuditEvent
from zt_engine.ports.inventory import Transaction

ACTION: Final = "device.read"
HOUR: Final = 3600
REMEMBERED: Final = 10_000
_PART: Final = "reads"


class Reads:
    """Notes who looked. For use by many threads."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._lock = threading.Lock()
        self._hour = -1
        self._noted: set[tuple[str, str]] = set()

    def note(self, device_id: str, *, actor: str) -> None:
        """Write down that `actor` sees a device's record now, once an hour."""
        now = self._plane.now()
        hour = now // HOUR
        with self._lock:
            if hour != self._hour or len(self._noted) >= REMEMBERED:
                self._hour, self._noted = hour, set()
            if (actor, device_id) in self._noted:
                return
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            # Another process may have noted it already.
            name = digest(f"{actor}|{device_id}|{hour}")
            if tx.nonces.first_use(name, purpose=ACTION, expires_at=(hour + 1) * HOUR, now=now):
                write_down(tx, actor=actor, action=ACTION, object_=about(device_id), now=now)
        with self._lock:
            self._noted.add((actor, device_id))


def reads_of(plane: ControlPlane) -> Reads:
    """Return what notes it for this control plane."""
    found = plane.extras.get(_PART)
    if not isinstance(found, Reads):
        found = plane.extras.setdefault(_PART, Reads(plane))
    assert isinstance(found, Reads)
    return found


def readers(tx: Transaction, device_id: str, *, limit: int) -> list[AuditEvent]:
    """Return who looked at a device's record, newest first."""
    return list(tx.audit.of(about(device_id), limit=limit))


def about(device_id: str) -> str:
    """Name the record as audit events do: apart from the device, whose own events looks must not crowd out."""
    return f"device-record:{device_id}"
