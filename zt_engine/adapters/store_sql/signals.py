"""Where the rules about signals stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import bindparam, delete, select

from zt_engine.adapters.store_sql.columns import Name, Number
from zt_engine.adapters.store_sql.failures import CONFLICT
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import signals
from zt_engine.adapters.store_sql.upsert import Upsert
from zt_engine.adapters.store_sql.values import encode
from zt_engine.core.signals import Held

_decode: Final = msgspec.json.Decoder(Held).decode

_get: Final = select(signals.c.body).where(
    signals.c.tenant == THIS_TENANT, signals.c.id == bindparam("id", type_=Name())
)
# Of two that hear of somebody for the first time, one has to try again and finds what the other one heard.
_put: Final = Upsert(signals, when=lambda row: signals.c.version < row.version)
_remove: Final = delete(signals).where(
    signals.c.tenant == THIS_TENANT, signals.c.id == bindparam("this_id", type_=Name())
)
_due: Final = (
    select(signals.c.id)
    .where(signals.c.tenant == THIS_TENANT, signals.c.due <= bindparam("moment", type_=Number()))
    .order_by(signals.c.due, signals.c.id)
)


class SqlSignals:
    """The signals of a tenant, by what came of them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, id_: str) -> Held | None:
        """Return where one stands, locked for the rest of a writing transaction."""
        row = self._session.locked(_get, id=id_)
        return None if row is None else _decode(row.body)

    def put(self, held: Held) -> None:
        """Insert or replace; STORE_CONFLICT when its version did not grow."""
        if not self._session.upsert(_put, id=held.id, version=held.version, due=held.due, body=encode(held)):
            raise self._session.refuse(CONFLICT)

    def remove(self, id_: str) -> None:
        """Forget one."""
        self._session.change(_remove, this_id=id_)

    def due(self, *, now: int, limit: int) -> Sequence[str]:
        """Return the ids of those that have to be looked at by now, the longest overdue first."""
        return tuple(row.id for row in self._session.rows(_due.limit(limit), moment=now))
