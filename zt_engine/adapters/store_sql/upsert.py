"""`INSERT ... ON CONFLICT`, which both databases have and SQLAlchemy spells twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.dml import Insert, ReturningInsert

_INSERT: Final[Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}

Excluded = ReadOnlyColumnCollection[str, Any]
"""The row that was to be inserted."""


class Upsert:
    """Insert a row, or replace the one with the same primary key where `when` holds; all columns unless `setting`."""

    def __init__(
        self,
        table: Table,
        *,
        when: Callable[[Excluded], ColumnElement[bool]] | None = None,
        setting: Callable[[Excluded], dict[str, ColumnElement[Any]]] | None = None,
        returning: ColumnElement[Any] | None = None,
    ) -> None:
        keys = [column.name for column in table.primary_key]
        self._of: dict[str, Insert | ReturningInsert[Any]] = {}
        for dialect, insert in _INSERT.items():
            statement = insert(table)
            excluded = statement.excluded
            values = (
                setting(excluded)
                if setting is not None
                else {column.name: excluded[column.name] for column in table.c if column.name not in keys}
            )
            upsert = (
                statement.on_conflict_do_update(
                    index_elements=keys, set_=values, where=None if when is None else when(excluded)
                )
                if values
                else statement.on_conflict_do_nothing(index_elements=keys)
            )
            # The count of an insert is thrown away unless it is asked for.
            counted = upsert.execution_options(preserve_rowcount=True)
            self._of[dialect] = counted if returning is None else counted.returning(returning)

    def of(self, dialect: str) -> Insert | ReturningInsert[Any]:
        """The statement in a database's own words."""
        return self._of[dialect]
