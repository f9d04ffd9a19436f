"""Who the sequencer is. The lock keeps others from trying; the fence keeps one that was deposed from writing.

A lock can be lost without its holder noticing: a connection breaks, a host stands still for a minute. INVARIANT: the
fence only grows, it is written before whoever was elected does anything, and every transaction of the sequencer holds
the row it compares with until it is committed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from typing import Final, Protocol

from sqlalchemy import Connection, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from zt_engine.adapters.store_sql.engine import Database, mapped
from zt_engine.adapters.store_sql.failures import DOWN, FENCED, unavailable
from zt_engine.adapters.store_sql.tables import election

_LOCK: Final = 0x7A74_5E90
"""The advisory lock of PostgreSQL, one per database."""
_grow: Final = update(election).values(fence=election.c.fence + 1).returning(election.c.fence)
_fence: Final = select(election.c.fence).with_for_update(read=True)


class Lock(Protocol):
    """Held by one process at most, and free again when that one dies."""

    def release(self) -> None: ...


class _FileLock:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


class _MemoryLock:
    """A database in memory has one process, and its store is the only one that can be elected."""

    def release(self) -> None:
        return


class _AdvisoryLock:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def release(self) -> None:
        # The lock goes with the connection at the latest, but the server may take a moment to notice that.
        with contextlib.suppress(SQLAlchemyError):  # a connection that is broken holds no lock
            self._connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
        with contextlib.suppress(SQLAlchemyError):
            self._connection.close()


class Election:
    """The office of the sequencer, for the store of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._guard = threading.Lock()
        self._held: Lock | None = None

    def elect(self) -> int | None:
        """Become the sequencer, again if need be: return the new fence, or None while somebody else is."""
        with self._guard:
            self._release()
            lock = self._lock()
            if lock is None:
                return None
            try:
                with self._database.writing() as connection, mapped():
                    fence = int(connection.execute(_grow).scalar_one())
            except BaseException:
                lock.release()
                raise
            self._held = lock
            return fence

    def resign(self) -> None:
        """Stop being the sequencer; nothing happens to one who is not."""
        with self._guard:
            self._release()

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.release()

    def _lock(self) -> Lock | None:
        if self._database.in_memory:
            return _MemoryLock()
        return self._lock_file() if self._database.path is not None else self._lock_session()

    def _lock_file(self) -> Lock | None:
        name = f"{self._database.path}.sequencer"
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unavailable(DOWN) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return _FileLock(descriptor)

    def _lock_session(self) -> Lock | None:
        with mapped():
            connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                held = bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}).scalar_one())
            except SQLAlchemyError:
                connection.close()
                raise
            if not held:
                connection.close()
                return None
            connection.detach()  # it stays open for as long as the office is held, beside the pool
            return _AdvisoryLock(connection)


def check_fence(connection: Connection, fence: int) -> None:
    """UnavailableError STORE_FENCED unless this is the fence of the last election, and keep it so until the commit."""
    with mapped():
        current = connection.execute(_fence).scalar_one()
    if current != fence:
        raise unavailable(FENCED)
