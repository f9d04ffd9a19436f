"""The store: transactions over one tenant, and the order of its changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import delete

from zt_engine.adapters.store_sql import backup, changes, schema
from zt_engine.adapters.store_sql.answers import SqlAnswers
from zt_engine.adapters.store_sql.assets import SqlAssets
from zt_engine.adapters.store_sql.audit import SqlAudit
from zt_engine.adapters.store_sql.devices import SqlDevices
from zt_engine.adapters.store_sql.election import Election, check_fence
from zt_engine.adapters.store_sql.engine import WAIT, Database, mapped, open_database
from zt_engine.adapters.store_sql.enrollments import SqlEnrollments
from zt_engine.adapters.store_sql.invitations import SqlInvitations
from zt_engine.adapters.store_sql.nonces import SqlNonces
from zt_engine.adapters.store_sql.outbox import SqlOutbox
from zt_engine.adapters.store_sql.passkeys import SqlPasskeys
from zt_engine.adapters.store_sql.releases import SqlBundles, SqlReleases
from zt_engine.adapters.store_sql.session import Session
from zt_engine.adapters.store_sql.sessions import SqlSessions
from zt_engine.adapters.store_sql.sidecars import SqlSidecars
from zt_engine.adapters.store_sql.signals import SqlSignals
from zt_engine.adapters.store_sql.situation import SqlSituation
from zt_engine.adapters.store_sql.tables import answers, ceremonies, nonces, used_ids
from zt_engine.ports.inventory import (
    AnswerStore,
    AssetStore,
    AuditStore,
    DeviceStore,
    EnrollmentStore,
    InvitationStore,
    NonceStore,
    Outbox,
    SequencedEvent,
    SidecarStore,
    SignalStore,
    SituationStore,
)
from zt_engine.ports.releases import BundleStore, ReleaseStore
from zt_engine.ports.sessions import SessionStore
from zt_engine.ports.webauthn import PasskeyStore


class SqlTransaction:
    """One transaction over one tenant."""

    devices: DeviceStore
    invitations: InvitationStore
    enrollments: EnrollmentStore
    nonces: NonceStore
    outbox: Outbox
    audit: AuditStore
    answers: AnswerStore
    sidecars: SidecarStore
    situation: SituationStore
    bundles: BundleStore
    releases: ReleaseStore
    sessions: SessionStore
    passkeys: PasskeyStore
    assets: AssetStore
    signals: SignalStore

    def __init__(self, session: Session) -> None:
        self._session = session
        self._outbox = SqlOutbox(session)
        self._audit = SqlAudit(session)
        self.devices = SqlDevices(session)
        self.invitations = SqlInvitations(session)
        self.enrollments = SqlEnrollments(session)
        self.nonces = SqlNonces(session)
        self.outbox = self._outbox
        self.audit = self._audit
        self.answers = SqlAnswers(session)
        self.sidecars = SqlSidecars(session)
        self.situation = SqlSituation(session)
        self.bundles = SqlBundles(session)
        self.releases = SqlReleases(session)
        self.sessions = SqlSessions(session)
        self.passkeys = SqlPasskeys(session)
        self.assets = SqlAssets(session)
        self.signals = SqlSignals(session)

    def finish(self) -> bool:
        """Write what comes last, or raise what went wrong before; whether sidecars are to be told anything."""
        self._outbox.finish()
        self._audit.finish()
        if self._session.broken is not None:
            raise self._session.broken  # the block went on as if nothing had happened
        return self._outbox.announced


class SqlStore:
    """The inventory's database. What it promises: `zt_engine.ports.inventory.InventoryStore` and `ChangeLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._election = Election(database)
        self._listeners: list[Callable[[], None]] = []

    def migrate(self) -> None:
        """Make the tables, or bring them to this version; ConfigError STORE_SCHEMA when they are newer."""
        schema.migrate(self._database)

    def close(self) -> None:
        """Resign, and close every connection."""
        self._election.resign()
        self._database.close()

    @contextmanager
    def writing(self, tenant: str) -> Iterator[SqlTransaction]:
        """Open a transaction that commits at the end of the block, and is undone when the block raises.

        After an UnavailableError within the block it is undone whatever the block does. STORE_DOWN at the very end
        leaves open whether it was committed; no acknowledgement was given, and doing it again is safe.
        """
        with self._database.writing() as connection:
            transaction = SqlTransaction(Session(connection, tenant=tenant, writing=True))
            yield transaction
            announced = transaction.finish()
        if announced:
            self.wake()

    @contextmanager
    def reading(self, tenant: str) -> Iterator[SqlTransaction]:
        """Open a transaction that sees one moment and may not write."""
        with self._database.reading() as connection:
            yield SqlTransaction(Session(connection, tenant=tenant, writing=False))

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, in the thread of the writer, after each transaction that announced something."""
        self._listeners.append(listener)

    def wake(self) -> None:
        """Tell the sequencer of this process that something was committed."""
        for listener in self._listeners:
            listener()

    def elect(self) -> int | None:
        """Become the sequencer: return a fence greater than every one before, or None while another one lives."""
        return self._election.elect()

    def resign(self) -> None:
        """Stop being the sequencer."""
        self._election.resign()

    def sequence(self, tenant: str, *, fence: int, limit: int) -> Sequence[SequencedEvent]:
        """Give committed events of the outbox their `seq`, gap-free; UnavailableError STORE_FENCED when deposed."""
        with self._database.writing() as connection:
            check_fence(connection, fence)
            return changes.place(Session(connection, tenant=tenant, writing=True), limit=limit)

    def gather_seen(self, tenant: str, *, now: int) -> bool:
        """Put the reports that changed nothing into the outbox as one `device.seen`; whether there were any."""
        with self._own(tenant) as session:
            return changes.gather(session, now=now)

    def events(self, tenant: str, *, after: int, limit: int) -> Sequence[SequencedEvent]:
        """Return events above `after`, in order."""
        with self._database.reading() as connection:
            return changes.events(Session(connection, tenant=tenant, writing=False), after=after, limit=limit)

    def span(self, tenant: str) -> tuple[int, int]:
        """Return the first and the last `seq` there is; the first is one above the last when there is none."""
        with self._database.reading() as connection:
            return changes.span(Session(connection, tenant=tenant, writing=False))

    def forget(self, tenant: str, *, before: int) -> None:
        """Drop events below a `seq`: whoever has not seen them begins with a snapshot."""
        with self._own(tenant) as session:
            changes.forget(session, before=before)

    def prune(self, now: int) -> int:
        """Remove every nonce, used id, ceremony and remembered answer that is over, of all tenants; return how many."""
        with self._database.writing() as connection, mapped():
            return sum(
                connection.execute(delete(table).where(table.c.expires_at <= now)).rowcount
                for table in (nonces, used_ids, answers, ceremonies)
            )

    def backup(self, path: Path) -> int:
        """Write everything, as of one moment, to a new file of its owner's alone; return the number of rows."""
        with self._database.reading() as connection:
            return backup.write(connection, path)

    def restore(self, path: Path) -> int:
        """Load a backup into an empty, migrated database, altogether or not at all; return the number of rows.

        ConfigError STORE_BACKUP for a file that is no whole backup, STORE_NOT_EMPTY for a database that is in use,
        STORE_BACKUP_FILE for a file that cannot be read, or that somebody else could have written.
        """
        with self._database.writing() as connection:
            return backup.load(connection, path)

    @contextmanager
    def _own(self, tenant: str) -> Iterator[Session]:
        with self._database.writing() as connection:
            yield Session(connection, tenant=tenant, writing=True)


def open_store(url: str, *, wait: float = WAIT) -> SqlStore:
    """Open the database at `sqlite:///PATH`, `sqlite://` (in memory, for tests) or `postgresql+psycopg://...`.

    STORE_LOCKED comes after `wait` seconds without a lock or a connection. Nothing is connected to yet and no table
    made: call `migrate`. ConfigError STORE_URL or STORE_FILE.
    """
    return SqlStore(open_database(url, wait=wait))
