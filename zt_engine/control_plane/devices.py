"""What administrators do to devices: the domain's operation, who may and may not do it, and what goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from device_inventory.enrollment import TABLE, advance, after_approval
from device_inventory.inventory import Device
from device_inventory.operations import (
    approve,
    quarantine,
    recover,
    release,
    report_lost,
    retire,
    revoke,
    transfer,
)
from zt_engine.control_plane.access import Administrator, Permission
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrolling import actor_of
from zt_engine.control_plane.holders import end_sessions_on
from zt_engine.control_plane.ledger import Ledger, keep_enrollment
from zt_engine.core.errors import InputError
from zt_engine.ports.inventory import Transaction

Operation = Literal["approve", "quarantine", "release", "revoke", "lost", "recover", "retire", "transfer", "end"]

PERMISSION: Final[Mapping[Operation, Permission]] = MappingProxyType(
    {
        "approve": "devices.approve",
        "quarantine": "devices.quarantine",
        "release": "devices.release",
        "revoke": "devices.revoke",
        "lost": "devices.report_lost",
        "recover": "devices.release",
        "retire": "devices.retire",
        "transfer": "devices.transfer",
        "end": "devices.transfer",
    }
)
ACTION: Final[Mapping[Operation, str]] = MappingProxyType(
    {
        "approve": "device.approved",
        "quarantine": "device.quarantined",
        "release": "device.released",
        "revoke": "device.revoked",
        "lost": "device.lost",
        "recover": "device.recovered",
        "retire": "device.retired",
        "transfer": "device.transferred",
        "end": "device.end_changed",
    }
)

Hindrance = Literal["", "not_yours", "not_given", "not_invited"]
_HINDERED: Final[Mapping[Hindrance, tuple[str, str]]] = MappingProxyType(
    {
        "not_yours": ("APPROVER_IS_HOLDER", "somebody else than its holder has to approve a device"),
        "not_given": ("APPROVER_IS_GIVER", "somebody else than who gave it to its holder has to approve a device"),
        "not_invited": ("APPROVER_IS_INVITER", "somebody else than who invited its holder has to approve a device"),
    }
)


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, and why; `to` is who gets the device, `ends_at` when it is to stop counting."""

    operation: Operation
    reason: str
    to: str = ""
    ends_at: int | None = None


class Devices:
    """The devices of a control plane."""

    def __init__(self, plane: ControlPlane) -> None:
        self._home = plane.settings.home_issuer
        self._record = Ledger(plane.settings.facts)

    def change(self, tx: Transaction, device_id: str, wish: Wish, *, who: Administrator, now: int) -> Device:
        """Do one thing to one device, and return it as it is then; InputError DEVICE_NOT_FOUND, DEVICE_*, APPROV*."""
        before = tx.devices.get(device_id)
        if before is None:
            raise InputError("DEVICE_NOT_FOUND", f"there is no device `{device_id}`")
        if wish.operation == "approve":
            _check_second_person(tx, before, who.names)
        after = _done(before, wish, who=who, now=now)
        self._record(tx, after, before=before, actor=who.actor, action=ACTION[wish.operation], now=now)
        follow(tx, after, wish.operation, actor=who.actor, now=now)
        if after.status == "lost":
            why = f"the device {device_id} was lost"
            end_sessions_on(tx, after, home=self._home, reason=why, actor=who.actor, now=now)
        return after


def _done(before: Device, wish: Wish, *, who: Administrator, now: int) -> Device:
    reason = wish.reason
    match wish.operation:
        case "approve":
            return approve(before, by=who.name, also=who.names, now=now, reason=reason)
        case "quarantine":
            return quarantine(before, now=now, reason=reason)
        case "release":
            return release(before, now=now, reason=reason)
        case "revoke":
            return revoke(before, now=now, reason=reason)
        case "lost":
            return report_lost(before, now=now, reason=reason)
        case "recover":
            return recover(before, now=now, reason=reason)
        case "retire":
            return retire(before, now=now, reason=reason)
        case "transfer":
            return transfer(before, to=wish.to, by=who.names, now=now, reason=reason)
        case "end":
            return _ending(before, wish, now=now)


def _ending(before: Device, wish: Wish, *, now: int) -> Device:
    """Set when a device stops counting; what somebody answers for always has an end."""
    if before.status in ("revoked", "retired"):
        raise InputError("DEVICE_EVENT_REFUSED", f"a device that is `{before.status}` has ended already")
    if wish.ends_at is None and before.kind == "contractor":
        raise InputError("DEVICE_END", "a contractor's device has an end", where="ends_at")
    if wish.ends_at is not None and wish.ends_at <= now:
        raise InputError("DEVICE_END", "the end lies in the past; retire the device instead", where="ends_at")
    return replace(
        before, version=before.version + 1, changed_at=now, published="", ends_at=wish.ends_at, reason=wish.reason
    )


def hindrance(tx: Transaction, device: Device, names: frozenset[str]) -> Hindrance:
    """Return why somebody is no second person for a device, by every name they go by; empty when they are one.

    A device that one person alone can bring in needs no approval at all: neither who holds it, answers for it or
    enrolled it, whoever holds it since, nor who gave it to its holder or invited them.
    """
    enrollment = tx.enrollments.of_device(device.device_id)
    invitation = tx.invitations.get(enrollment.invitation) if enrollment is not None else None
    held = {device.owner, *device.assigned, device.sponsor}
    if enrollment is not None:
        held.add(actor_of(enrollment.issuer, enrollment.subject))
    if invitation is not None:
        held |= {invitation.assigned, invitation.sponsor}
    if names & (held - {""}):
        return "not_yours"
    if not names.isdisjoint(device.given_by):
        return "not_given"
    if invitation is not None and not names.isdisjoint((invitation.invited_by, *invitation.inviter)):
        return "not_invited"
    return ""


def _check_second_person(tx: Transaction, device: Device, names: frozenset[str]) -> None:
    """Refuse whoever is no second person: APPROVER_IS_HOLDER, APPROVER_IS_GIVER, APPROVER_IS_INVITER."""
    hindered = hindrance(tx, device, names)
    if hindered:
        raise InputError(*_HINDERED[hindered])


def follow(tx: Transaction, device: Device, operation: Operation, *, actor: str, now: int) -> None:
    """Have the enrollment the device came from end as the device does."""
    if operation not in ("approve", "revoke", "retire"):
        return
    enrollment = tx.enrollments.of_device(device.device_id)
    if enrollment is None:
        return
    if operation == "approve":
        after = after_approval(enrollment, now=now)
    else:
        open_ = (enrollment.state, "refuse") in TABLE
        after = advance(enrollment, "refuse", now=now) if open_ else enrollment
    keep_enrollment(tx, after, before=enrollment, actor=actor, now=now)


def listed(device: Device) -> dict[str, Any]:
    """Return a device as lists show it."""
    return {
        "id": device.device_id,
        "status": device.status,
        "ownership": device.ownership,
        "kind": device.kind,
        "owner": device.owner,
        "assigned": list(device.assigned),
        "name": device.name,
        "model": device.model,
        "ceiling": device.ceiling,
        "sponsor": device.sponsor,
        "ends_at": device.ends_at,
        "approval_pending": device.approval_required and not device.approved_by,
        "approved_by": device.approved_by,
        "report_received_at": device.report_received_at,
        "changed_at": device.changed_at,
        "reason": device.reason,
        "findings": list(device.findings),
        "version": device.version,
    }
