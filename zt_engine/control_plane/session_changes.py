"""What happens to sessions within a transaction: they end, or give way, and sidecars are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from zt_engine.control_plane.enrolling import actor_of
from zt_engine.control_plane.ledger import write_down
from zt_engine.ports.inventory import InventoryStore, Transaction
from zt_engine.ports.sessions import HeldSession

EVENT: Final = "session.changed"
FADE_SECONDS: Final = 60
"""How long a session that was replaced still counts: a page has requests under way with the old cookie."""


class Tenancy(Protocol):
    """Whose sessions they are."""

    @property
    def tenant(self) -> str:
        """Its name."""
        ...


class Ground(Protocol):
    """What sessions stand on: a control plane, or a file of one machine."""

    @property
    def store(self) -> InventoryStore:
        """Where they are kept."""
        ...

    @property
    def settings(self) -> Tenancy:
        """Whose they are."""
        ...


def ended(tx: Transaction, found: Sequence[HeldSession], *, reason: str, actor: str, now: int) -> None:
    """End sessions, in a transaction of somebody who has more to do."""
    for held in found:
        forget(tx, held)
        record = held.record
        write_down(
            tx,
            actor=actor,
            action="session.ended",
            object_=f"session:{record.sid[:12]}",
            reason=reason,
            before={"subject": f"{record.issuer}|{record.subject}", "host": record.host},
            now=now,
        )


def give_way(tx: Transaction, held: HeldSession, *, to: str, now: int) -> None:
    """Let a session end soon whose browser has a newer one: nobody has its cookie any more."""
    record = held.record
    if record.until > now + FADE_SECONDS:
        record = replace(record, version=record.version + 1, until=now + FADE_SECONDS)
        tx.outbox.announce(EVENT, msgspec.json.encode(record))
    tx.sessions.put(replace(held, record=record, refresh="", hint="", replaced=True))
    write_down(
        tx,
        actor=actor_of(record.issuer, record.subject),
        action="session.replaced",
        object_=f"session:{record.sid[:12]}",
        after={"by": f"session:{to[:12]}"},
        now=now,
    )


def forget(tx: Transaction, held: HeldSession) -> None:
    """Remove a session and tell sidecars."""
    tx.sessions.remove(held.record.sid)
    tx.outbox.announce(EVENT, msgspec.json.encode({"sid": held.record.sid, "ended": True}))
