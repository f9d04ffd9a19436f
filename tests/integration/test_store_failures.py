"""A database that is locked, full, gone or somebody else's: one code each, nothing half done, and it goes on after."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event, text

from tests.postgres import postgres_url, server
from tests.store_support import TENANT, audited, device, opened
from zt_engine.adapters.store_sql import SqlStore, open_store
from zt_engine.core.errors import ConfigError, UnavailableError, ZtError


def put(store: SqlStore, name: str, *, padding: int = 0) -> None:
    with store.writing(TENANT) as tx:
        tx.devices.put(device(name, reason="x" * padding))
        tx.audit.record(audited(f"device:{name}"))


def held(store: SqlStore) -> list[str]:
    with store.reading(TENANT) as tx:
        return [recorded.object.removeprefix("device:") for recorded in tx.audit.page(after=0, limit=9999)]


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(ZtError) as caught:
        yield
    assert caught.value.code == code
    assert isinstance(caught.value, UnavailableError | ConfigError)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    opened_store = open_store(f"sqlite:///{path}", wait=0.05)
    opened_store.migrate()
    put(opened_store, "first")
    yield opened_store
    opened_store.close()


def test_a_file_that_another_program_keeps_locked(store: SqlStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with refused("STORE_LOCKED"):
        put(store, "second")
    assert held(store) == ["first"]  # readers are not kept waiting

    other.rollback()
    other.close()
    put(store, "third")
    assert held(store) == ["first", "third"]


def test_a_row_that_another_transaction_keeps_locked() -> None:
    with postgres_url() as url:
        store = open_store(url, wait=0.05)
        put(store, "first")
        with store.writing(TENANT) as tx:
            tx.devices.get("first")
            with refused("STORE_LOCKED"), store.writing(TENANT) as other:
                other.devices.get("first")
        put(store, "second")
        assert held(store) == ["first", "second"]
        store.close()


def test_more_transactions_than_connections() -> None:
    with postgres_url() as url:
        store = open_store(url, wait=0.05)
        open_ones = []
        with refused("STORE_LOCKED"):
            while True:
                reading = store.reading(TENANT)
                reading.__enter__()
                open_ones.append(reading)
        for reading in open_ones:
            reading.__exit__(None, None, None)
        assert held(store) == []
        store.close()


def test_a_file_that_has_no_room_to_grow(store: SqlStore, path: Path) -> None:
    limits = [0]

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {limits[0] or 2**30}")

    event.listen(store._database.engine, "checkout", limit)
    with sqlite3.connect(path) as counting:
        limits[0] = counting.execute("PRAGMA page_count").fetchone()[0] + 2
    counting.close()
    with refused("STORE_FULL"):
        put(store, "large", padding=100_000)
    assert held(store) == ["first"]

    with refused("STORE_FULL"), store.writing(TENANT) as tx:
        # SQLite has undone everything by itself, and would take what follows as transactions of their own.
        tx.devices.put(device("swallowed"))
        with refused("STORE_FULL"):
            tx.devices.put(device("large", reason="x" * 100_000))
        with refused("STORE_FULL"):
            tx.situation.put("overlay", "o", b"{}")
    with store.reading(TENANT) as tx:
        assert (tx.devices.get("swallowed"), tx.situation.all("overlay")) == (None, {})

    limits[0] = 0
    put(store, "large", padding=100_000)
    assert held(store) == ["first", "large"]


def test_a_disk_that_takes_no_more(store: SqlStore, path: Path) -> None:
    """The write fails while the transaction is being committed: it was not acknowledged, and is not there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{path}-wal").stat().st_size + 8192, hard))
    try:
        with refused("STORE_DOWN"):
            put(store, "large", padding=1_000_000)
        assert held(store) == ["first"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    put(store, "large", padding=1_000_000)
    assert held(store) == ["first", "large"]


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("53100", "STORE_FULL"),
        ("40001", "STORE_CONFLICT"),
        ("40P01", "STORE_CONFLICT"),
        ("57014", "STORE_LOCKED"),
        ("57P01", "STORE_DOWN"),
        ("53300", "STORE_DOWN"),
    ],
)
def test_what_postgresql_says_went_wrong(state: str, code: str, tmp_path: Path) -> None:
    """No disk is filled for this: a trigger says what a full one would."""
    with opened("postgresql", tmp_path) as store:
        with store._database.writing() as connection:
            connection.execute(
                text(f"""
                CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$;
                CREATE TRIGGER fail BEFORE INSERT ON audit EXECUTE FUNCTION fail();
            """)
            )
        with refused(code):
            put(store, "first")
        with store.reading(TENANT) as tx:
            assert tx.devices.get("first") is None


def test_a_server_that_ends_and_comes_back() -> None:
    running = server()
    with running.database() as url:
        store = open_store(url)
        put(store, "first")
        with refused("STORE_DOWN"), store.writing(TENANT) as tx:
            tx.devices.put(device("lost"))
            running.end()
        try:
            with refused("STORE_DOWN"):
                held(store)
            with refused("STORE_DOWN"):
                store.elect()
        finally:
            running.start()

        assert held(store) == ["first"]
        put(store, "second")
        assert store.elect() is not None
        store.close()


def test_a_database_that_was_never_migrated(tmp_path: Path) -> None:
    with server().database(template="template1") as url:
        for store in (open_store(url), open_store(f"sqlite:///{tmp_path}/empty.db"), open_store("sqlite://")):
            with refused("STORE_SCHEMA"):
                held(store)
            with refused("STORE_SCHEMA"):
                store.elect()
            store.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    path.write_bytes(b"not a database" * 1000)
    path.chmod(0o600)
    store = open_store(f"sqlite:///{path}")
    with refused("STORE_DOWN"):
        store.migrate()
    store.close()


def test_the_file_is_its_owners_alone(store: SqlStore, path: Path) -> None:
    store.elect()
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert modes == dict.fromkeys(("store.db", "store.db-shm", "store.db-wal", "store.db.sequencer"), 0o600)


@pytest.mark.parametrize("flaw", ["group", "others", "link", "folder", "nowhere"])
def test_a_file_that_somebody_else_could_have_written_is_refused(flaw: str, path: Path) -> None:
    path.touch(mode=0o600)
    match flaw:
        case "group":
            path.chmod(0o660)
        case "others":
            path.chmod(0o602)
        case "link":
            path.rename(path.with_name("real"))
            path.symlink_to(path.with_name("real"))
        case "folder":
            path.unlink()
            path.mkdir()
        case "nowhere":
            path = path.parent / "nowhere" / "store.db"
    with refused("STORE_FILE"):
        open_store(f"sqlite:///{path}")


def test_opening_a_file_again_does_not_unlock_it(store: SqlStore, path: Path) -> None:
    """POSIX drops every lock of a process when it closes any descriptor of a file."""
    with store.writing(TENANT):
        open_store(f"sqlite:///{path}").close()
        child = os.spawnlp(
            os.P_WAIT, "python3", "python3", "-c",
            f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('BEGIN IMMEDIATE')",
        )  # fmt: skip
    assert child == 1


@pytest.mark.parametrize("url", ["", "store.db", "mysql://x/y", "postgresql+psycopg2://x/y", "sqlite+aiosqlite:///x"])
def test_what_is_no_database_of_ours_is_refused(url: str) -> None:
    with refused("STORE_URL"):
        open_store(url)


def test_errors_show_nothing_of_what_was_written(store: SqlStore) -> None:
    with pytest.raises(UnavailableError) as caught, store.writing(TENANT) as tx:
        tx.nonces.add("digest-of-a-secret", purpose="p", holder="somebody", expires_at=1)
        tx.nonces.add("digest-of-a-secret", purpose="p", holder="somebody", expires_at=1)

    shown = ""
    cause: BaseException | None = caught.value
    while cause is not None:
        shown += f"{cause} {cause!r}"
        cause = cause.__cause__
    assert "UNIQUE" in shown
    assert "digest-of-a-secret" not in shown
    assert "somebody" not in shown
