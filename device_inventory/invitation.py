"""An invitation to enroll one device: for one person, once, for 72 hours. Its code alone opens nothing."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from device_inventory.device import Ownership
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
    created_at: int
    not_after: int
    state: InvitationState = "open"
    enrollment: str = ""
    """The enrollment that was started with it."""
