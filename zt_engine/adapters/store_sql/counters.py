"""Gap-free numbers of a tenant. Whoever takes one holds the counter until the commit, so it takes it last."""

from __future__ import annotations

from typing import Final, Literal

from sqlalchemy import bindparam, select

from zt_engine.adapters.store_sql.columns import Name
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import counters
from zt_engine.adapters.store_sql.upsert import Upsert

Counter = Literal["audit", "changes", "releases"]

_take: Final = Upsert(counters, setting=lambda row: {"value": counters.c.value + row.value}, returning=counters.c.value)
_last: Final = select(counters.c.value).where(
    counters.c.tenant == THIS_TENANT, counters.c.name == bindparam("name", type_=Name())
)


def take(session: Session, counter: Counter, count: int) -> int:
    """Take the next `count` numbers and return the first. They go back when the transaction is undone."""
    last: int = session.upserted(_take, name=counter, value=count).value
    return last - count + 1


def last_taken(session: Session, counter: Counter) -> int:
    """Return the last number that was taken, 0 if none."""
    row = session.first(_last, name=counter)
    return 0 if row is None else int(row.value)
