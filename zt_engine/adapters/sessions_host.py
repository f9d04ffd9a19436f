"""The sessions of one machine, in a SQLite file that its sidecars share.

It is the store of a control plane, of which nobody keeps a stream: what changes is found by asking SQLite whether
anybody has written, which costs it a look at shared memory.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from zt_engine.adapters.store_sql import open_store
from zt_engine.core.errors import UnavailableError
from zt_engine.core.session import SessionRecord
from zt_engine.ports.inventory import Transaction

PAGE = 1000


class HostStore:
    """An `InventoryStore` of which only sessions, and what is written down of them, are used."""

    def __init__(self, path: Path) -> None:
        """Open the file, and make it and its tables where they are missing; ConfigError STORE_FILE, STORE_SCHEMA."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._store = open_store(f"sqlite:///{path}")
        self._store.migrate()
        # Of its own: a connection does not see as a change what it has written itself.
        self._watching = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        self._lock = threading.Lock()

    @contextmanager
    def writing(self, tenant: str) -> Iterator[Transaction]:
        """Open a transaction that commits at the end of the block; nothing is kept for a stream."""
        with self._store.writing(tenant) as tx:
            tx.outbox = _Nobody()
            yield tx

    @contextmanager
    def reading(self, tenant: str) -> Iterator[Transaction]:
        """Open a transaction that sees one moment and may not write."""
        with self._store.reading(tenant) as tx:
            yield tx

    def wake(self) -> None:
        """Nobody waits."""

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Nobody is told."""
        raise NotImplementedError(listener)

    def prune(self, now: int) -> int:
        """Remove what is over."""
        return self._store.prune(now)

    def version(self) -> int:
        """Return a number that is another one after anybody has written; UnavailableError STORE_DOWN."""
        try:
            with self._lock:
                return int(self._watching.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise UnavailableError("STORE_DOWN", f"the file of sessions: {error}") from None

    def session(self, tenant: str, sid: str) -> SessionRecord | None:
        """Return one session."""
        with self.reading(tenant) as tx:
            held = tx.sessions.get(sid)
        return None if held is None else held.record

    def sessions(self, tenant: str) -> Sequence[SessionRecord]:
        """Return every session, as of one moment."""
        found: list[SessionRecord] = []
        with self.reading(tenant) as tx:
            while page := tx.sessions.page(after=found[-1].sid if found else "", limit=PAGE):
                found += (held.record for held in page)
        return found

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            self._watching.close()
        self._store.close()


class _Nobody:
    """The outbox of a machine whose sidecars read the file itself."""

    def announce(self, type_: str, data: bytes) -> None:
        """Say nothing."""

    def seen(self, device_id: str, *, received_at: int, facts: Sequence[str]) -> None:
        """Say nothing."""
