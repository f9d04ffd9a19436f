"""One transaction of one tenant: the only way to the database for everything that is a tenant's.

INVARIANT: every statement is given the tenant here, by the transaction and never by its caller: `this_tenant` where it
selects, `tenant` where it inserts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.dml import Delete, Insert, ReturningDelete, ReturningInsert, Update
from sqlalchemy.sql.selectable import Select

from zt_engine.adapters.store_sql.columns import Name
from zt_engine.adapters.store_sql.failures import failure, unavailable
from zt_engine.adapters.store_sql.upsert import Upsert
from zt_engine.core.errors import UnavailableError, ZtError

THIS_TENANT: Final = bindparam("this_tenant", type_=Name())
"""What every statement compares `tenant` with."""


class Session:
    """After any error it can only be undone: a database may have undone it by itself, whatever the caller believes."""

    def __init__(self, connection: Connection, *, tenant: str, writing: bool) -> None:
        self.tenant = tenant
        self.writing = writing
        self.broken: ZtError | None = None
        self._connection = connection
        self._dialect = connection.dialect.name

    def rows(self, statement: Select[Any], **values: object) -> Sequence[Row[Any]]:
        """Return what a query finds."""
        return self._execute(statement, values)[0]

    def first(self, statement: Select[Any], **values: object) -> Row[Any] | None:
        """Return the one row a query finds."""
        found = self.rows(statement, **values)
        return found[0] if found else None

    def locked(self, statement: Select[Any], **values: object) -> Row[Any] | None:
        """Return the one row a query finds, for this transaction alone if it writes."""
        found = self.locked_rows(statement, **values)
        return found[0] if found else None

    def locked_rows(self, statement: Select[Any], **values: object) -> Sequence[Row[Any]]:
        """Return the rows a query finds, for this transaction alone if it writes.

        SQLite has one writer at a time, so there the whole database is. INVARIANT: a query for several rows has them in
        the order of their ids, or two transactions could wait for each other.
        """
        return self.rows(statement.with_for_update() if self.writing else statement, **values)

    def change(self, statement: Update | Delete, **values: object) -> int:
        """Update or delete; return how many rows there were."""
        self._may_write()
        return self._execute(statement, values)[1]

    def taken(self, statement: ReturningDelete[Any], **values: object) -> Sequence[Row[Any]]:
        """Delete, and return what was deleted."""
        self._may_write()
        return self._execute(statement, values)[0]

    def insert(self, statement: Insert, *rows: dict[str, object]) -> None:
        """Insert rows."""
        self._may_write()
        if rows:
            self._execute(statement, [row | {"tenant": self.tenant} for row in rows])

    def upsert(self, upsert: Upsert, **values: object) -> bool:
        """Insert or replace one row; whether that was allowed."""
        self._may_write()
        return self._execute(upsert.of(self._dialect), [values | {"tenant": self.tenant}])[1] > 0

    def upsert_all(self, upsert: Upsert, rows: Sequence[dict[str, object]]) -> None:
        """Insert or replace rows."""
        self._may_write()
        if rows:
            self._execute(upsert.of(self._dialect), [row | {"tenant": self.tenant} for row in rows])

    def upserted(self, upsert: Upsert, **values: object) -> Row[Any]:
        """Insert or replace one row, and return what it returns."""
        self._may_write()
        return self._execute(upsert.of(self._dialect), [values | {"tenant": self.tenant}])[0][0]

    def refuse(self, code: str) -> UnavailableError:
        """Return an error to raise; what was written so far will not stay."""
        error = unavailable(code)
        self.broken = error
        return error

    def _may_write(self) -> None:
        if not self.writing:
            raise RuntimeError("a reading transaction does not write")

    def _execute(
        self,
        statement: Select[Any] | Insert | ReturningInsert[Any] | Update | Delete | ReturningDelete[Any],
        values: dict[str, object] | list[dict[str, object]],
    ) -> tuple[Sequence[Row[Any]], int]:
        if self.broken is not None:
            raise self.broken
        parameters: Any = values | {"this_tenant": self.tenant} if isinstance(values, dict) else values
        if isinstance(parameters, list) and len(parameters) == 1:
            parameters = parameters[0]
        try:
            result = self._connection.execute(statement, parameters)
            return (result.all() if result.returns_rows else (), result.rowcount)
        except SQLAlchemyError as error:
            self.broken = failure(error)
            if self.broken is None:
                raise
            raise self.broken from error
