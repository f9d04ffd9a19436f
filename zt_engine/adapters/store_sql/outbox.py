"""What sidecars are to be told: events that wait for their place, and devices that were heard of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import insert

from zt_engine.adapters.store_sql.session import Session
from zt_engine.adapters.store_sql.tables import outbox, seen
from zt_engine.adapters.store_sql.upsert import Upsert

_announce: Final = insert(outbox)
_seen: Final = Upsert(seen, when=lambda row: seen.c.received_at <= row.received_at)


class SqlOutbox:
    """The outbox of a tenant."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: list[dict[str, object]] = []
        self.announced = False

    def announce(self, type_: str, data: bytes) -> None:
        """Have an event sequenced and sent after the commit. `data` is JSON."""
        if not self._session.writing:
            raise RuntimeError("a reading transaction announces nothing")
        self._waiting.append({"type": type_, "data": data})
        self.announced = True

    def seen(self, device_id: str, *, received_at: int, facts: Sequence[str]) -> None:
        """Have a report that changed nothing told with the next batch of `device.seen`.

        `facts` are those it confirmed, and no others grow younger. An older report never replaces a newer one.
        """
        self._session.upsert(
            _seen, device_id=device_id, received_at=received_at, facts=msgspec.json.encode(sorted(facts))
        )

    def finish(self) -> None:
        """Write what was announced, last of all.

        INVARIANT: by then this transaction holds the lock of whatever it changed, so of two changes of one thing the
        later one has the later row, and sidecars hear of them in that order.
        """
        waiting, self._waiting = self._waiting, []
        self._session.insert(_announce, *waiting)
