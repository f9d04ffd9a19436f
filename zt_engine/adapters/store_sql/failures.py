"""What the database says went wrong, as one of the engine's errors. Its own words stay in the chain of causes."""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from zt_engine.core.errors import ConfigError, Problem, UnavailableError, ZtError

LOCKED: Final = "STORE_LOCKED"
FULL: Final = "STORE_FULL"
DOWN: Final = "STORE_DOWN"
CONFLICT: Final = "STORE_CONFLICT"
FENCED: Final = "STORE_FENCED"

_WORDS: Final = {
    LOCKED: "the database did not get round to it in time",
    FULL: "the database has no space left",
    DOWN: "the database does not answer",
    CONFLICT: "something else changed the same at the same time",
    FENCED: "another sequencer has been elected",
}
# The low byte of SQLite's extended result codes.
_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_INTERRUPT: LOCKED,
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_CONSTRAINT: CONFLICT,
}
_POSTGRES: Final = {
    "55P03": LOCKED,  # lock_timeout
    "57014": LOCKED,  # statement_timeout
    "25P03": LOCKED,  # idle_in_transaction_session_timeout
    "53100": FULL,
    "40001": CONFLICT,  # serialization_failure
    "40P01": CONFLICT,  # deadlock_detected
}
_ABSENT: Final = "42P01"


def unavailable(code: str) -> UnavailableError:
    """The error with this code, in words that name no value."""
    return UnavailableError(code, _WORDS[code])


def schema_missing() -> ConfigError:
    """The database was never migrated."""
    return ConfigError((Problem(code="STORE_SCHEMA", message="the database has no tables of this program"),))


def failure(error: SQLAlchemyError) -> ZtError | None:
    """The engine's error for one of the database's, or None for a fault of the program."""
    if isinstance(error, PoolTimeout):
        return unavailable(LOCKED)
    if isinstance(error, StatementError) and isinstance(error.orig, ZtError):
        return error.orig  # a value that a column refused
    if not isinstance(error, DBAPIError):
        return None
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause)
    # psycopg says what it was in `sqlstate`; SQLAlchemy, which alone loads it, says of which kind.
    return _of_postgres(error, getattr(cause, "sqlstate", None))


def _of_sqlite(error: sqlite3.Error) -> ZtError | None:
    if "no such table" in str(error):
        return schema_missing()
    code = getattr(error, "sqlite_errorcode", None)
    if code is None or code & 0xFF in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE}:
        return None
    return unavailable(_SQLITE.get(code & 0xFF, DOWN))


def _of_postgres(error: DBAPIError, state: str | None) -> ZtError | None:
    if state == _ABSENT:
        return schema_missing()
    if state in _POSTGRES:
        return unavailable(_POSTGRES[state])
    if state is not None and state.startswith("23"):
        return unavailable(CONFLICT)
    return unavailable(DOWN) if isinstance(error, OperationalError | InterfaceError) else None
