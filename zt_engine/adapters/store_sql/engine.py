"""One database: how it is opened, and how a transaction begins, ends and waits for its turn.

SQLite (one machine): write-ahead log, every commit on the disk before it is acknowledged, one writer at a time, who
begins by locking. In memory there is one connection, so one transaction at a time. PostgreSQL (many): READ COMMITTED,
with row locks where something is read to be changed.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from zt_engine.adapters.owned_files import UnownedError, examine, look
from zt_engine.adapters.store_sql.failures import LOCKED, failure, unavailable
from zt_engine.core.errors import ConfigError, Problem

WAIT: Final = 5.0
"""Seconds to wait for a lock or a connection."""
AGAIN: Final = 0.01
"""Seconds between two attempts where SQLite itself does not wait."""

_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
)
# A client that vanished must not keep its locks, nor a sequencer's host its office, until TCP notices in two hours.
_POSTGRES: Final = {
    "idle_in_transaction_session_timeout": 60_000,
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
}


class Turn:
    """The turn of one writer among the threads of a process: fairer than SQLite's own waiting, which polls."""

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self._lock = threading.Lock()
        self._holder: int | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the turn; STORE_LOCKED when it does not come."""
        if self._holder == threading.get_ident():
            raise RuntimeError("a transaction was begun within another one")
        if not self._lock.acquire(timeout=self._wait):
            raise unavailable(LOCKED)
        self._holder = threading.get_ident()
        try:
            yield
        finally:
            self._holder = None
            self._lock.release()


class Database:
    """Connections and transactions. `path` is the file of a SQLite database, None for any other."""

    def __init__(self, engine: Engine, *, path: Path | None, wait: float) -> None:
        self.engine = engine
        self.path = path
        self.dialect = engine.dialect.name
        self.in_memory = self.dialect == "sqlite" and path is None
        self._turn = Turn(wait)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that commits at the end of the block, or is undone."""
        if self.dialect == "sqlite":
            with self._turn.taken(), self._transaction("BEGIN IMMEDIATE") as connection:
                yield connection
        else:
            with self._transaction(None) as connection:
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that sees one moment, and is undone."""
        if self.in_memory:
            with self._turn.taken(), self._transaction("BEGIN", keep=False) as connection:
                yield connection
        elif self.dialect == "sqlite":
            with self._transaction("BEGIN", keep=False) as connection:
                yield connection
        else:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            with self._transaction(None, keep=False, **options) as connection:
                yield connection

    @contextmanager
    def _transaction(self, begin: str | None, *, keep: bool = True, **options: Any) -> Iterator[Connection]:
        with mapped():
            connection = self.engine.connect()
        try:
            with mapped():
                if options:
                    connection = connection.execution_options(**options)
                if begin is not None:
                    connection.exec_driver_sql(begin)
            yield connection
            if keep:
                with mapped():
                    connection.commit()
        finally:
            # Undoes what was not committed, and gives the connection back.
            with mapped():
                connection.close()

    def close(self) -> None:
        """Close every connection that is not in use."""
        self.engine.dispose()


@contextmanager
def mapped() -> Iterator[None]:
    """Raise the engine's errors instead of the database's."""
    try:
        yield
    except SQLAlchemyError as error:
        ours = failure(error)
        if ours is None:
            raise
        raise ours from error


def open_database(url: str, *, wait: float = WAIT) -> Database:
    """Open `sqlite:///PATH`, `sqlite://` (in memory) or `postgresql+psycopg://...`; `wait` seconds for locks.

    ConfigError STORE_URL, or STORE_FILE for a file that somebody else could have written.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _refused("STORE_URL", "not the URL of a database") from None
    match parsed.drivername:
        case "sqlite":
            return _open_sqlite(parsed, wait)
        case "postgresql+psycopg":
            return Database(_create(parsed, _postgres_options(parsed, wait)), path=None, wait=wait)
    raise _refused("STORE_URL", f"no database of the kind `{parsed.drivername}`")


def _create(url: URL, options: dict[str, Any]) -> Engine:
    # Parameters are personal data and digests of secrets: no error shows them.
    return create_engine(url, hide_parameters=True, **options)


def _postgres_options(url: URL, wait: float) -> dict[str, Any]:
    settings = {"lock_timeout": int(wait * 1000)} | _POSTGRES
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return {
        "pool_size": 8,
        "max_overflow": 32,
        "pool_timeout": wait,
        "pool_pre_ping": True,
        "isolation_level": "READ COMMITTED",
        "connect_args": {"connect_timeout": int(WAIT), "options": f"{options} {url.query.get('options', '')}".strip()},
    }


def _open_sqlite(url: URL, wait: float) -> Database:
    path = None if not url.database or url.database == ":memory:" else Path(url.database)
    if path is None:
        # The one connection there is: a second one would see another database.
        engine = _create(url, {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}})
    else:
        _own(path)
        engine = _create(url, {"pool_size": 8, "max_overflow": 32, "pool_timeout": wait})

    def prepare(connection: Any, _record: object) -> None:
        # The driver would begin transactions by itself, and not the kind that locks.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
        _write_ahead(connection, wait)
        for pragma in _PRAGMAS:
            connection.execute(pragma)

    event.listen(engine, "connect", prepare)
    return Database(engine, path=path, wait=wait)


def _write_ahead(connection: sqlite3.Connection, wait: float) -> None:
    """Switch a new file to its write-ahead log; SQLite does not wait here for others who do the same at this moment."""
    until = monotonic() + wait
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() >= until:
                raise
        sleep(AGAIN)


def _own(path: Path) -> None:
    """Make the file for its owner alone if there is none; the write-ahead log beside it gets the same mode.

    A file that is there is only looked at: to close a descriptor of it would drop the locks this process has on it.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise _refused("STORE_FILE", f"cannot be made: {error.strerror}", where=str(path)) from None
    try:
        examine(look(path))
    except UnownedError as error:
        raise _refused("STORE_FILE", error.message, where=str(path), hint=error.hint) from None


def _refused(code: str, message: str, *, where: str = "", hint: str = "") -> ConfigError:
    return ConfigError((Problem(code=code, message=message, where=where, hint=hint),))
