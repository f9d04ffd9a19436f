"""What the desk shows: devices, who waits, who is invited, and whom the directory knows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec

from device_inventory.asset_ledger import LedgerMatch, compare
from device_inventory.device import LIFECYCLE, DeviceEvent
from device_inventory.enrollment import Enrollment
from device_inventory.facts import FactEnvelope
from device_inventory.inventory import Device, FactChange, live_keys
from device_inventory.invitation import Invitation
from zt_engine.control_plane.access import PERMISSIONS
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.devices import PERMISSION, Hindrance, Operation, hindrance
from zt_engine.control_plane.portal.visitor import Visitor
from zt_engine.control_plane.reads import reads_of
from zt_engine.core.audit import AuditEvent
from zt_engine.core.errors import InputError
from zt_engine.core.identity import SubjectRecord
from zt_engine.ports.inventory import DeviceFilter, EnrollmentFilter, Transaction

PAGE: Final = 25
EVENTS: Final = 50
CHANGES: Final = 30
SCANNED: Final = 2_000
"""How many records a page looks through for those it shows; the next page goes on behind them."""
_STEP: Final = 500
BUTTONS: Final[Mapping[Operation, DeviceEvent | None]] = MappingProxyType(
    {
        "approve": None,
        "release": "release",
        "quarantine": "quarantine",
        "lost": "report_lost",
        "recover": "recover",
        "revoke": "revoke",
        "retire": "retire",
    }
)
"""What is done to a device at the desk, in the order of its buttons, and the event of its life that is."""
GRAVE: Final[frozenset[Operation]] = frozenset({"revoke", "retire"})
"""What nobody takes back."""
_WAITING: Final = EnrollmentFilter(states=("waiting",))
ItemT = TypeVar("ItemT")


class Listing(msgspec.Struct, frozen=True):
    """One page of a list, and where the next one begins; empty at the end."""

    items: Sequence[object]
    next: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One word of one source about one fact."""

    fact: str
    source: str
    envelope: FactEnvelope


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A device that waits for a second person."""

    device: Device
    ledger: LedgerMatch
    since: int
    inviter: str = ""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the page of a device shows. `seen` is what its buttons are about."""

    device: Device
    buttons: tuple[Operation, ...]
    hindrance: Hindrance
    ledger: LedgerMatch
    told: tuple[Told, ...]
    history: tuple[FactChange, ...]
    events: tuple[AuditEvent, ...]
    keys: int
    enrollment: str
    """Where it came from; empty where that is not known."""
    seen: str


def pending(device: Device) -> bool:
    """Whether a device waits for a second person."""
    waits = device.approval_required and not device.approved_by
    return waits and device.status in ("enrolled", "quarantined")


def possible(device: Device, operation: Operation) -> bool:
    """Whether the present state of a device allows an operation; what is not is no button."""
    event = BUTTONS[operation]
    if event is None:
        return pending(device)
    if operation == "release" and pending(device):
        return False
    return (device.status, event) in LIFECYCLE


def standing(device: Device) -> str:
    """Return what tells whether a device is another one than whoever decides about it has seen.

    A report that changes none of this is no reason to ask again.
    """
    of = (
        device.status,
        device.owner,
        device.assigned,
        device.ownership,
        device.kind,
        device.ceiling,
        device.sponsor,
        device.ends_at,
        device.approval_required,
        device.approved_by,
        device.serial_hash,
        device.model,
    )
    return hashlib.sha256(msgspec.json.encode(of)).hexdigest()[:32]


class DeskReading:
    """Reads for the pages of the desk."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def search(self, wanted: DeviceFilter, *, after: str) -> Listing:
        """Return a page of devices."""
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            found = tx.devices.page(wanted, after=after, limit=PAGE + 1)
        return Listing(found[:PAGE], found[PAGE - 1].device_id if len(found) > PAGE else "")

    def device(self, device_id: str, who: Visitor) -> Shown:
        """Return everything about a device, and note for its holder who looked; DEVICE_NOT_FOUND."""
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            device = tx.devices.get(device_id)
            if device is None:
                raise InputError("DEVICE_NOT_FOUND", "there is no such device")
            events = tuple(tx.audit.of(f"device:{device_id}", limit=EVENTS))
            ledger = _match(tx, device)
            hindered = hindrance(tx, device, who.names) if pending(device) else ""
            enrollment = tx.enrollments.of_device(device_id)
        reads_of(self._plane).note(device_id, actor=who.actor)
        may = PERMISSIONS[who.role] if who.role is not None else frozenset()
        return Shown(
            device=device,
            buttons=tuple(
                operation
                for operation in BUTTONS
                if PERMISSION[operation] in may
                and possible(device, operation)
                and not (operation == "approve" and hindered)
            ),
            hindrance=hindered if PERMISSION["approve"] in may else "",
            ledger=ledger,
            told=_told(device),
            history=tuple(reversed(device.history[-CHANGES:])),
            events=events,
            keys=len(live_keys(device, now=self._plane.now())),
            enrollment="" if enrollment is None else enrollment.id,
            seen=f"{events[0].seq if events else 0}.{standing(device)}",
        )

    def waiting(self, *, after: str) -> Listing:
        """Return devices that have reported and wait for their approval."""
        with self._plane.store.reading(self._plane.settings.tenant) as tx:

            def held(enrollment: Enrollment) -> Waiting | None:
                device = tx.devices.get(enrollment.device_id) if enrollment.device_id else None
                if device is None or not pending(device):
                    return None
                invitation = tx.invitations.get(enrollment.invitation)
                return Waiting(
                    device=device,
                    ledger=_match(tx, device),
                    since=enrollment.changed_at,
                    inviter="" if invitation is None else invitation.invited_by,
                )

            return gather(
                lambda after, limit: tx.enrollments.page(_WAITING, after=after, limit=limit),
                held,
                key=lambda one: one.id,
                after=after,
            )

    def moved(self) -> Listing:
        """Return the first devices that changed hands and wait for their approval anew."""
        wanted = DeviceFilter(status="quarantined")
        with self._plane.store.reading(self._plane.settings.tenant) as tx:

            def held(device: Device) -> Waiting | None:
                if not pending(device):
                    return None
                return Waiting(device=device, ledger=_match(tx, device), since=device.changed_at)

            return gather(
                lambda after, limit: tx.devices.page(wanted, after=after, limit=limit),
                held,
                key=lambda one: one.device_id,
                after="",
            )

    def invitations(self, *, after: str, closed: bool) -> Listing:
        """Return invitations with their states: those that are open, or all."""
        now = self._plane.now()
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            return gather(
                lambda after, limit: tx.invitations.page(after=after, limit=limit),
                lambda one: (
                    (one, state_of(one, now=now)) if closed or state_of(one, now=now) in ("open", "begun") else None
                ),
                key=lambda one: one.id,
                after=after,
            )

    def invitation(self, invitation_id: str) -> tuple[Invitation, str]:
        """Return an invitation and its state; INVITE_NOT_FOUND."""
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            found = tx.invitations.get(invitation_id)
        if found is None:
            raise InputError("INVITE_NOT_FOUND", "there is no such invitation")
        return found, state_of(found, now=self._plane.now())

    def people(self, issuer: str, begins: str) -> tuple[Sequence[SubjectRecord], bool]:
        """Return whom the directory knows whose id begins like this, and whether there are more."""
        if not begins or not issuer:
            return (), False
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            exactly = tx.situation.subject(issuer, begins)
            behind = tx.situation.subjects(after=(issuer, begins), limit=PAGE + 1)
        found = [one for one in behind if one.issuer == issuer and one.id.startswith(begins) and one.type == "user"]
        if exactly is not None and exactly.type == "user":
            found.insert(0, exactly)
        return found[:PAGE], len(found) > PAGE

    def since(self, object_: str, seq: int) -> Sequence[AuditEvent]:
        """Return what happened to something after an event, newest first."""
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            return [event for event in tx.audit.of(object_, limit=EVENTS) if event.seq > seq]

    def registered(self, invitation_id: str) -> Sequence[AuditEvent]:
        """Return what came of an invitation, newest first."""
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            held = tx.invitations.get(invitation_id)
            return () if held is None else tx.audit.of(f"enrollment:{held.enrollment}", limit=EVENTS)


def state_of(invitation: Invitation, *, now: int) -> str:
    """Return the state of an invitation as people see it."""
    if invitation.state != "open":
        return invitation.state
    if invitation.enrollment:
        return "begun"
    return "expired" if invitation.not_after <= now else "open"


def gather(
    page: Callable[[str, int], Sequence[ItemT]],
    held: Callable[[ItemT], object | None],
    *,
    key: Callable[[ItemT], str],
    after: str,
) -> Listing:
    """Return a page of what is shown of a longer list; it may hold fewer where much was looked through."""
    shown: list[object] = []
    for _ in range(SCANNED // _STEP):
        batch = page(after, _STEP)
        for one in batch:
            found = held(one)
            if found is not None and len(shown) == PAGE:
                return Listing(shown, after)
            after = key(one)
            if found is not None:
                shown.append(found)
        if len(batch) < _STEP:
            return Listing(shown)
    return Listing(shown, after)


def _match(tx: Transaction, device: Device) -> LedgerMatch:
    return compare(
        device,
        tx.assets.of_serial(device.serial_hash),
        same_serial=tx.devices.of_serial(device.serial_hash),
    )


def _told(device: Device) -> tuple[Told, ...]:
    found = [
        Told(fact=name, source=held.source, envelope=envelope)
        for held in device.sources.values()
        for name, envelope in held.facts.items()
    ]
    return tuple(sorted(found, key=lambda one: (one.fact, one.source)))
