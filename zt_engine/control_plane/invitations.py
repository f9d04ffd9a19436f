"""Invitations: who may enroll what. Made for one person, told once, withdrawn as long as nothing came of them."""

from __future__ import annotations

import base64
import secrets
import uuid
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from device_inventory.device import Ownership
from device_inventory.inventory import DeviceKind
from device_inventory.invitation import Invitation, withdrawn
from device_inventory.operations import BYOD_CEILING
from zt_engine.control_plane.access import Administrator
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.ledger import write_down
from zt_engine.control_plane.nonces import digest
from zt_engine.core.errors import InputError
from zt_engine.core.issuer import subject_name
from zt_engine.ports.inventory import Transaction

_CODE_BYTES: Final = 16


def new_code() -> str:
    """Return a code of 128 random bits: 26 letters and digits to type, which no program takes for an option."""
    return base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode("ascii").rstrip("=").lower()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation as it is asked for."""

    subject: str
    issuer: str = ""
    ownership: Ownership
    kind: DeviceKind = "person"
    ceiling: int = 200
    approval: bool = False
    sponsor: str = ""
    ends_at: int | None = None
    replaces: str = ""


class Invitations:
    """The invitations of a control plane."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def invite(self, tx: Transaction, wanted: Wanted, *, who: Administrator, now: int) -> tuple[Invitation, str]:
        """Return a new invitation and its code; InputError INVITE_TERMS, DEVICE_NOT_FOUND."""
        settings = self._plane.settings
        issuer = wanted.issuer or settings.enrolling.issuer or settings.home_issuer
        if not issuer:
            raise InputError("INVITE_TERMS", "name the issuer the person signs in at", where="issuer")
        assigned = subject_name(issuer, wanted.subject, home=settings.home_issuer or issuer)
        _check_terms(wanted, now=now)
        if wanted.replaces:
            _check_replaced(tx, wanted, assigned)
        code = new_code()
        invitation = Invitation(
            tenant=settings.tenant,
            id=str(uuid.uuid4()),
            code_digest=digest(code),
            issuer=issuer,
            subject=wanted.subject,
            assigned=assigned,
            ownership=wanted.ownership,
            kind=wanted.kind,
            ceiling=wanted.ceiling,
            # Whoever invites himself, or for secret papers, does not do so alone.
            approval=wanted.approval or wanted.ceiling > settings.approval_above or assigned in who.names,
            sponsor=wanted.sponsor,
            device_ends_at=wanted.ends_at,
            replaces=wanted.replaces,
            invited_by=who.actor,
            inviter=tuple(sorted(who.names)),
            created_at=now,
            not_after=now + settings.invitation_seconds,
        )
        tx.invitations.put(invitation)
        _write_down(tx, invitation, before=None, actor=who.actor, action="invitation.made", now=now)
        return invitation, code

    def withdraw(self, tx: Transaction, invitation_id: str, *, actor: str, reason: str, now: int) -> Invitation:
        """Withdraw an invitation; InputError INVITE_NOT_FOUND, DeviceRecordError INVITE_USED."""
        before = tx.invitations.get(invitation_id)
        if before is None:
            raise InputError("INVITE_NOT_FOUND", "there is no such invitation")
        after = withdrawn(before)
        if after != before:
            tx.invitations.put(after)
            _write_down(tx, after, before=before, actor=actor, action="invitation.withdrawn", now=now, reason=reason)
        return after

    def link(self, code: str) -> str:
        """Return what a person opens or hands to the agent. The code stands behind the `#`: no server is sent it."""
        pin = self._plane.extras.get("ca_sha256", "")
        told = {"code": code} | ({"ca": pin} if pin else {})
        return f"{self._plane.settings.url}/enroll#{urlencode(told)}"


def _check_terms(wanted: Wanted, *, now: int) -> None:
    def refuse(message: str, where: str) -> InputError:
        return InputError("INVITE_TERMS", message, where=where)

    if (wanted.kind == "shared") != (wanted.ownership == "shared"):
        raise refuse("a shared device is owned as `shared`, and no other is", "ownership")
    if wanted.ownership == "byod" and wanted.kind not in ("person", "contractor"):
        raise refuse("a device of one's own belongs to a person", "kind")
    if wanted.ownership == "byod" and wanted.ceiling > BYOD_CEILING:
        raise refuse(f"a device of one's own is good up to rank {BYOD_CEILING}", "ceiling")
    if wanted.kind == "contractor" and (not wanted.sponsor or wanted.ends_at is None):
        raise refuse("a contractor's device has a sponsor and an end", "sponsor" if not wanted.sponsor else "ends_at")
    if wanted.ends_at is not None and wanted.ends_at <= now:
        raise refuse("the end lies in the past", "ends_at")
    if wanted.sponsor and wanted.sponsor == wanted.subject:
        raise refuse("nobody answers for themselves", "sponsor")


def _check_replaced(tx: Transaction, wanted: Wanted, assigned: str) -> None:
    device = tx.devices.get(wanted.replaces)
    if device is None:
        raise InputError("DEVICE_NOT_FOUND", "there is no device that could be replaced", where="replaces")
    if device.owner not in ("", assigned) or device.ownership != wanted.ownership:
        raise InputError("INVITE_TERMS", "the device to replace is somebody else's", where="replaces")


def shown(invitation: Invitation, *, now: int) -> dict[str, Any]:
    """Return an invitation as administrators see it: without anything of its code."""
    over = invitation.state == "open" and not invitation.enrollment and invitation.not_after <= now
    return {
        "id": invitation.id,
        "state": "expired" if over else invitation.state,
        "issuer": invitation.issuer,
        "subject": invitation.subject,
        "assigned": invitation.assigned,
        "ownership": invitation.ownership,
        "kind": invitation.kind,
        "ceiling": invitation.ceiling,
        "approval": invitation.approval,
        "sponsor": invitation.sponsor,
        "not_after_device": invitation.device_ends_at,
        "replaces": invitation.replaces or None,
        "invited_by": invitation.invited_by,
        "created_at": invitation.created_at,
        "not_after": invitation.not_after,
        "enrollment": invitation.enrollment or None,
    }


def _write_down(
    tx: Transaction,
    invitation: Invitation,
    *,
    before: Invitation | None,
    actor: str,
    action: str,
    now: int,
    reason: str = "",
) -> None:
    write_down(
        tx,
        actor=actor,
        action=action,
        object_=f"invitation:{invitation.id}",
        reason=reason,
        before=None if before is None else shown(before, now=now),
        after=shown(invitation, now=now),
        now=now,
    )
