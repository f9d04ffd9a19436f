"""The signature by which a person approves a record."""

from __future__ import annotations

from msgspec import Struct


class Approval(Struct, frozen=True, forbid_unknown_fields=True):
    """One signature as a record carries it; base64url without padding."""

    key_id: str
    signature: str
