"""The threat level: one person raises it, two lower it.

A lowering is signed by two approvers over this very change (tenant, from which level to which) and an end, and is used
once. Where fewer than two approvers are known, nobody could sign: then one person lowers it, and the audit says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from zt_engine.control_plane.context import ControlPlane
from zt_engine.core.approval import Approval
from zt_engine.core.errors import InputError
from zt_engine.ports.inventory import Transaction

KIND: Final = "threat_level"
LONGEST: Final = 86_400
"""Nobody signs today what is to be lowered next week."""


class Lowering(msgspec.Struct, frozen=True, kw_only=True):
    """That the level is to go down, as people sign it."""

    tenant: str
    previous: int
    threat_level: int
    expires_at: int


def level_of(tx: Transaction) -> int:
    """Return the level in force; calm when nobody has said anything."""
    held = tx.situation.all(KIND).get("")
    return 0 if held is None else int(msgspec.json.decode(held)["threat_level"])


def lowered_by(
    plane: ControlPlane, tx: Transaction, lowering: Lowering, approvals: Sequence[Approval], *, now: int
) -> tuple[str, ...]:
    """Return who approved that the level goes down; none where nobody could.

    InputError LOWERING_USED for one that was used, THREAT_LEVEL_LOWERING for another change or one that is over, and
    APPROVAL_*.
    """
    record = msgspec.to_builtins(lowering)
    if approvals:
        used = hashlib.sha256(msgspec.json.encode(record, order="sorted")).hexdigest()
        # What is refused below has used nothing: it is undone with the rest.
        if not tx.nonces.first_use(used, purpose=KIND, expires_at=lowering.expires_at, now=now):
            raise InputError("LOWERING_USED", "this was signed for one lowering, and used", where="approvals")
    if lowering.previous != level_of(tx) or lowering.threat_level >= lowering.previous:
        raise InputError("THREAT_LEVEL_LOWERING", f"the level in force is {level_of(tx)}", where="previous")
    if not now < lowering.expires_at <= now + LONGEST:
        message = "what was signed is over, or good for longer than a day"
        raise InputError("THREAT_LEVEL_LOWERING", message, where="expires_at")
    return plane.records.lowering(record, approvals)
