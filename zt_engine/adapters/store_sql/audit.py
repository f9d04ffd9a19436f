"""The audit events of a tenant. They can only be added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import insert, select

from zt_engine.adapters.store_sql.counters import take
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import audit
from zt_engine.adapters.store_sql.values import encode
from zt_engine.core.audit import AuditEvent

_decode: Final = msgspec.json.Decoder(AuditEvent).decode
_record: Final = insert(audit)
_mine: Final = select(audit.c.body).where(audit.c.tenant == THIS_TENANT)


class SqlAudit:
    """The audit events of a tenant."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        """Add an event; its `seq` is assigned here, at the end of the transaction."""
        if not self._session.writing:
            raise RuntimeError("a reading transaction changes nothing that could be recorded")
        self._waiting.append(event)

    def page(self, *, after: int, limit: int) -> Sequence[AuditEvent]:
        """Return events in order."""
        self.finish()
        query = _mine.where(audit.c.seq > after).order_by(audit.c.seq).limit(limit)
        return tuple(_decode(row.body) for row in self._session.rows(query))

    def of(self, object_: str, *, limit: int) -> Sequence[AuditEvent]:
        """Return the newest events about `kind:id`, newest first."""
        self.finish()
        query = _mine.where(audit.c.object == object_).order_by(audit.c.seq.desc()).limit(limit)
        return tuple(_decode(row.body) for row in self._session.rows(query))

    def finish(self) -> None:
        """Give what was recorded its place and write it: the counter makes transactions wait for each other."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        first = take(self._session, "audit", len(waiting))
        placed = [replace(event, seq=seq) for seq, event in enumerate(waiting, first)]
        self._session.insert(
            _record,
            *(
                {
                    "seq": event.seq,
                    "at": event.at,
                    "actor": event.actor,
                    "action": event.action,
                    "object": event.object,
                    "body": encode(event),
                }
                for event in placed
            ),
        )
