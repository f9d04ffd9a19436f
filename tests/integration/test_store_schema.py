"""The migrations make exactly the tables the program knows, whoever runs them and however often."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from tests.postgres import server
from tests.store_support import KINDS, NOW, ON_DISK, TENANT, device, enrollment, opened, store_url
from zt_engine.adapters.store_sql import engine, open_store, schema
from zt_engine.adapters.store_sql.tables import election, metadata
from zt_engine.adapters.store_sql.values import encode
from zt_engine.core.errors import ConfigError, UnavailableError
from zt_engine.ports.inventory import EnrollmentFilter


@contextmanager
def empty(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a database without a table."""
    if kind == "postgresql":
        with server().database(template="template1") as url:
            yield url
    else:
        with store_url(kind, folder) as url:
            yield url


@pytest.mark.parametrize("kind", KINDS)
def test_the_migrations_make_the_tables_of_the_program(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store, store._database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []


def test_every_table_begins_with_the_tenant_and_so_does_every_key() -> None:
    tables = [table for table in metadata.sorted_tables if table is not election]

    assert all(not table.c.tenant.nullable for table in tables)
    assert [table.name for table in tables if next(iter(table.primary_key)).name != "tenant"] == ["outbox"]
    unique = [index for table in tables for index in table.indexes if index.unique]
    assert {index.table.name for index in unique} == {"invitations", "enrollments"}
    assert all(next(iter(index.columns)).name == "tenant" for index in unique)


@pytest.mark.parametrize("kind", KINDS)
def test_migrating_again_changes_nothing(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        with store.writing(TENANT) as tx:
            tx.devices.put(device())
        fence = store.elect()
        store.migrate()

        with store.reading(TENANT) as tx:
            assert tx.devices.get("d1") == device()
        assert store.elect() == fence + 1


@pytest.mark.parametrize("kind", ON_DISK)
def test_what_the_first_version_wrote_is_there_in_this_one(kind: str, tmp_path: Path) -> None:
    with empty(kind, tmp_path) as url:
        store = open_store(url)
        row = {
            "tenant": TENANT,
            "id": "d1",
            "version": 1,
            "status": "active",
            "ownership": "corp",
            "owner": "p",
            "serial_hash": "",
            "created_at": NOW,
            "search": "d1",
            "body": encode(device(owner="p")).decode(),
        }
        with store._database.writing() as connection:
            command.upgrade(schema._config(connection), "0001")
            connection.execute(
                text(f"INSERT INTO devices ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})"), row
            )
            _begin_enrollments(connection, 501)
        store.migrate()

        with store.writing(TENANT) as tx:
            assert [one.id for one in tx.enrollments.page(EnrollmentFilter(text="E500"), after="", limit=9)] == ["e500"]
            assert len(tx.enrollments.page(EnrollmentFilter(subject="p1"), after="", limit=999)) == 501
            assert tx.devices.get("d1") == device(owner="p")
            tx.devices.put(device(owner="p", version=2))
        with store._database.reading() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        store.close()


def _begin_enrollments(connection: Connection, count: int) -> None:
    begun = [enrollment(f"e{number}") for number in range(count)]
    connection.execute(
        text(
            "INSERT INTO enrollments (tenant, id, invitation, state, not_after, body)"
            " VALUES (:tenant, :id, :invitation, :state, :not_after, :body)"
        ),
        [
            {
                "tenant": one.tenant, "id": one.id, "invitation": one.invitation, "state": one.state,
                "not_after": one.not_after, "body": encode(one).decode(),
            }
            for one in begun
        ],
    )  # fmt: skip


@pytest.mark.parametrize("kind", ON_DISK)
def test_programs_that_start_together_migrate_once(kind: str, tmp_path: Path) -> None:
    with empty(kind, tmp_path) as url:
        stores = [open_store(url) for _ in range(4)]
        with ThreadPoolExecutor(len(stores)) as pool:
            list(pool.map(lambda store: store.migrate(), stores))
        with stores[0]._database.reading() as connection:
            assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar_one() == 1
        assert stores[0].elect() == 1
        for store in stores:
            store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_that_a_newer_program_changed_is_left_alone(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        with store._database.writing() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

        with pytest.raises(ConfigError) as caught:
            store.migrate()

        assert caught.value.code == "STORE_SCHEMA"
        assert "9999" in caught.value.message


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_migration_that_fails_leaves_no_table(kind: str, tmp_path: Path) -> None:
    """Something in the way of the last table: none of those before it stays."""
    with empty(kind, tmp_path) as url:
        store = open_store(url)
        with store._database.writing() as connection:
            connection.execute(text("CREATE TABLE election (id INTEGER)"))
        with pytest.raises(Exception, match="already exists"):
            store.migrate()
        with store._database.writing() as connection:
            connection.execute(text("DROP TABLE election"))
        store.migrate()
        assert store.elect() == 1
        store.close()


def test_the_migrations_are_shipped_in_the_package() -> None:
    folder = resources.files("zt_engine.adapters.store_sql") / "migrations"

    assert (folder / "env.py").is_file()
    assert any(entry.name.startswith("v0001_") for entry in (folder / "versions").iterdir())


def test_who_opens_a_new_file_waits_for_those_who_have_begun_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    path.touch(0o600)
    with closing(sqlite3.connect(path)) as other:
        other.executescript("CREATE TABLE t (x); BEGIN IMMEDIATE;")
        waited: list[float] = []

        def ended(seconds: float) -> None:
            waited.append(seconds)
            other.rollback()

        monkeypatch.setattr("zt_engine.adapters.store_sql.engine.sleep", ended)  # and nobody else's
        store = open_store(f"sqlite:///{path}")
        store.migrate()

        assert store.elect() == 1
        assert waited == [engine.AGAIN]
        store.close()


def test_a_new_file_that_somebody_writes_for_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch(0o600)
    with closing(sqlite3.connect(path)) as other:
        other.executescript("CREATE TABLE t (x); BEGIN IMMEDIATE;")
        store = open_store(f"sqlite:///{path}", wait=0.05)
        with pytest.raises(UnavailableError, match="STORE_LOCKED"):
            store.migrate()
        store.close()
