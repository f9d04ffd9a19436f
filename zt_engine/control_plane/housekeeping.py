"""What time alone brings about: enrollments that took too long, devices whose end has come, what nobody needs any more.

Run about once a minute by the control plane that puts changes in order. Every turn does a bounded piece of work, so a
large inventory is gone through in many turns; nothing hangs on it, since what is over opens nothing meanwhile either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from device_inventory.device import DeviceStatus
from device_inventory.enrollment import Enrollment, EnrollmentState, broken_off, expired
from device_inventory.fleet import FleetEvent
from device_inventory.inventory import Device
from device_inventory.operations import forgotten, retire
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.fleet import FleetWatching
from zt_engine.control_plane.ledger import Ledger, keep_enrollment
from zt_engine.control_plane.sessions import Sessions
from zt_engine.control_plane.signals import Signals
from zt_engine.control_plane.situation import Declarations, forget_ended
from zt_engine.ports.inventory import DeviceFilter, EnrollmentFilter, Transaction

PAGE: Final = 500
REVOCATIONS_EVERY: Final = 3600
REVOCATIONS_KEPT: Final = 86_400
"""How long after its end a revocation is still held: sidecars take the watermark's time for its end, not ours."""
OVERLAYS_KEPT: Final = 30 * 86_400
"""How long after its end an overlay is still shown; the audit has it for good."""
_TIMED: Final[tuple[EnrollmentState, ...]] = ("identified", "consented", "certified")
_HELD: Final[frozenset[DeviceStatus]] = frozenset({"enrolled", "active", "quarantined", "lost"})
_ACTOR: Final = "system"


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What one turn did."""

    pruned: int = 0
    expired: int = 0
    retired: int = 0
    forgotten: int = 0
    signals: int = 0
    fleet: FleetEvent = "none"


class Housekeeping:
    """Keeps the inventory of one control plane in order; it remembers how far it is, and nothing else."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._record = Ledger(plane.settings.facts)
        self._fleet = FleetWatching(plane)
        self._signals = Signals(plane)
        self._declarations = Declarations(plane)
        self._place = ""
        self._revocations_due = 0

    def turn(self, *, now: int) -> Turn:
        """Do a piece of what is due. Raises UnavailableError like every use of the store."""
        try:
            fleet = self._fleet.look(now=now)  # first: an alarm waits for nothing
        finally:
            signals = self._signals.keep(now=now)  # whatever fails: what is not renewed ends
        pruned = self._plane.store.prune(now)
        sessions = self._plane.extras.get("sessions")
        if isinstance(sessions, Sessions):
            pruned += sessions.sweep(now=now)
        over = self._expire(now)
        retired, forgot = self._devices(now)
        if now >= self._revocations_due:
            with self._plane.store.writing(self._plane.settings.tenant) as tx:
                pruned += forget_ended(tx, before=now - REVOCATIONS_KEPT)
                pruned += self._declarations.remove_ended(
                    tx, before=now - OVERLAYS_KEPT, actor=_ACTOR, now=now, limit=PAGE
                )
            self._revocations_due = now + REVOCATIONS_EVERY
        return Turn(pruned=pruned, expired=over, retired=retired, forgotten=forgot, signals=signals, fleet=fleet)

    def _expire(self, now: int) -> int:
        """End enrollments that took too long; a key that was certified on the way is revoked with them."""
        tenant = self._plane.settings.tenant
        with self._plane.store.reading(tenant) as tx:
            late = [one.id for state in _TIMED for one in _enrollments(tx, state) if expired(one, now=now)]
        for id_ in late:
            with self._plane.store.writing(tenant) as tx:
                held = tx.enrollments.get(id_)
                if held is None or held.state not in _TIMED or not expired(held, now=now):
                    continue
                before = tx.devices.get(held.device_id) if held.device_id else None
                enrollment, device = broken_off(held, before, "expire", now=now)
                keep_enrollment(tx, enrollment, before=held, actor=_ACTOR, now=now)
                if before is not None and device is not None:
                    self._record(tx, device, before=before, actor=_ACTOR, action="device.revoked", now=now)
        return len(late)

    def _devices(self, now: int) -> tuple[int, int]:
        tenant = self._plane.settings.tenant
        with self._plane.store.reading(tenant) as tx:
            page = tx.devices.page(DeviceFilter(), after=self._place, limit=PAGE)
        self._place = page[-1].device_id if len(page) == PAGE else ""
        retired = forgot = 0
        for seen in page:
            if _kept(seen, now=now) is seen:
                continue
            with self._plane.store.writing(tenant) as tx:
                before = tx.devices.get(seen.device_id)
                after = _kept(before, now=now) if before is not None else None
                if before is None or after is None or after is before:
                    continue
                ended = after.status != before.status
                action = "device.retired" if ended else "device.forgotten"
                self._record(tx, after, before=before, actor=_ACTOR, action=action, now=now)
                retired += ended
                forgot += not ended
        return retired, forgot


def _enrollments(tx: Transaction, state: EnrollmentState) -> Iterator[Enrollment]:
    wanted = EnrollmentFilter(states=(state,))
    after = ""
    while page := tx.enrollments.page(wanted, after=after, limit=PAGE):
        yield from page
        after = page[-1].id


def _kept(device: Device, *, now: int) -> Device:
    """Return a device as it is to be kept; the same one when nothing is due."""
    if device.ends_at is not None and device.ends_at <= now and device.status in _HELD:
        return retire(device, now=now, reason="its end has come")
    return forgotten(device, now=now)
