"""An invitation to enroll one device: for one person, once, for 72 hours. Its code alone opens nothing."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from device_inventory.device import DeviceRecordError, Ownership
from device_inventory.inventory import DeviceKind

InvitationState = Literal["open", "used", "withdrawn"]

LIFETIME: Final = 72 * 3600


class Invitation(Struct, frozen=True, kw_only=True):
    """Who may enroll what, until when. The code is known by its digest only."""

    tenant: str
    id: str
    code_digest: str
    """Hex SHA-256 of the code."""
    issuer: str
    subject: str
    """The identity provider and its `sub` of the one person who may use this."""
    assigned: str
    """The name that person goes by in records and policies."""
    ownership: Ownership
    kind: DeviceKind = "person"
    ceiling: int = 200
    """The highest label rank the device will be good for."""
    approval: bool = False
    """Whether somebody else has to approve the device before it counts."""
    sponsor: str = ""
    device_ends_at: int | None = None
    replaces: str = ""
    """The device whose re-enrollment this is."""
    invited_by: str
    inviter: tuple[str, ...] = ()
    """Every name that person goes by, so that under none of them he is the second one."""
    created_at: int
    not_after: int
    state: InvitationState = "open"
    enrollment: str = ""
    """The enrollment that was started with it."""


def admit(invitation: Invitation, *, issuer: str, subject: str, now: int) -> None:
    """Refuse whoever may not enroll with this: INVITE_FOREIGN, INVITE_WITHDRAWN, INVITE_USED, INVITE_EXPIRED.

    Whose it is comes first, so that a stolen code does not even tell what became of it.
    """
    if not subject or (issuer, subject) != (invitation.issuer, invitation.subject):
        raise _refuse("INVITE_FOREIGN", "the invitation is for somebody else", "subject")
    if invitation.state == "withdrawn":
        raise _refuse("INVITE_WITHDRAWN", "the invitation was withdrawn", "state")
    if invitation.state == "used":
        raise _refuse("INVITE_USED", "a device was enrolled with this invitation", "state")
    # An enrollment that was begun in time has its own end.
    if now >= invitation.not_after and not invitation.enrollment:
        raise _refuse("INVITE_EXPIRED", "the invitation is over", "not_after")


def begun(invitation: Invitation, *, enrollment: str) -> Invitation:
    """Return the invitation with the enrollment that was started with it; it stays open until a key is certified."""
    if invitation.state != "open" or invitation.enrollment not in ("", enrollment):
        raise _refuse("INVITE_USED", "an enrollment was started with this invitation", "enrollment")
    return replace(invitation, enrollment=enrollment)


def used(invitation: Invitation, *, enrollment: str) -> Invitation:
    """Return the invitation as it is once a key was certified: it opens nothing any more."""
    if invitation.state != "open" or invitation.enrollment != enrollment:
        raise _refuse("INVITE_USED", "a device was enrolled with this invitation", "state")
    return replace(invitation, state="used")


def withdrawn(invitation: Invitation) -> Invitation:
    """Return the invitation withdrawn; what was enrolled with it is revoked as a device, not as an invitation."""
    if invitation.state == "used":
        raise _refuse("INVITE_USED", "a device was enrolled with this invitation", "state")
    return replace(invitation, state="withdrawn")


def _refuse(code: str, message: str, field: str) -> DeviceRecordError:
    return DeviceRecordError(code, message, field=field)
