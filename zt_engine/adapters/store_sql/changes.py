"""The order of all changes of a tenant. Only the sequencer writes here, and no writer waits for it.

A transaction writes its events to `outbox` in whatever order it likes, and they appear there when it commits. The
sequencer moves what it sees to `changes` under the next numbers, so nothing can be overtaken: a number is given to
what has been committed, not to what may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select

from zt_engine.adapters.store_sql.columns import Number
from zt_engine.adapters.store_sql.counters import last_taken, take
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import changes, outbox, seen
from zt_engine.ports.inventory import SequencedEvent

_waiting: Final = (
    select(outbox.c.id, outbox.c.type, outbox.c.data).where(outbox.c.tenant == THIS_TENANT).order_by(outbox.c.id)
)
_insert: Final = insert(changes)
_announce: Final = insert(outbox)
_heard: Final = (
    delete(seen).where(seen.c.tenant == THIS_TENANT).returning(seen.c.device_id, seen.c.received_at, seen.c.facts)
)
_first: Final = select(func.min(changes.c.seq).label("seq")).where(changes.c.tenant == THIS_TENANT)
_events: Final = (
    select(changes.c.seq, changes.c.type, changes.c.data)
    .where(changes.c.tenant == THIS_TENANT, changes.c.seq > bindparam("after", type_=Number()))
    .order_by(changes.c.seq)
)
_forget: Final = delete(changes).where(
    changes.c.tenant == THIS_TENANT, changes.c.seq < bindparam("this_before", type_=Number())
)


def place(session: Session, *, limit: int) -> Sequence[SequencedEvent]:
    """Move up to `limit` events of the outbox to their places, in a transaction that holds the fence."""
    rows = session.rows(_waiting.limit(limit))
    if not rows:
        return ()
    first = take(session, "changes", len(rows))
    placed = tuple(SequencedEvent(seq=seq, type=row.type, data=row.data) for seq, row in enumerate(rows, first))
    session.insert(_insert, *({"seq": event.seq, "type": event.type, "data": event.data} for event in placed))
    # Rows between them may have been committed meanwhile: only what was read is removed.
    session.change(delete(outbox).where(outbox.c.tenant == THIS_TENANT, outbox.c.id.in_([row.id for row in rows])))
    return placed


def gather(session: Session, *, now: int) -> bool:
    """Put the devices that were heard of into the outbox as one event."""
    heard = session.taken(_heard)
    if not heard:
        return False
    devices: dict[str, object] = {}
    for row in sorted(heard, key=lambda row: row.device_id):
        # INVARIANT: also an empty list is told. Without one, all that came before would count as confirmed.
        devices[row.device_id] = [row.received_at, msgspec.json.decode(row.facts)]
    data = msgspec.json.encode({"at": now, "devices": devices})
    session.insert(_announce, {"type": "device.seen", "data": data})
    return True


def events(session: Session, *, after: int, limit: int) -> Sequence[SequencedEvent]:
    """Return events above `after`, in order."""
    return tuple(
        SequencedEvent(seq=row.seq, type=row.type, data=row.data)
        for row in session.rows(_events.limit(limit), after=after)
    )


def span(session: Session) -> tuple[int, int]:
    """Return the first and the last `seq` there is; (last + 1, last) when all were dropped."""
    last = last_taken(session, "changes")
    row = session.first(_first)
    return (last + 1 if row is None or row.seq is None else int(row.seq), last)


def forget(session: Session, *, before: int) -> None:
    """Drop events below a `seq`."""
    session.change(_forget, this_before=before)
