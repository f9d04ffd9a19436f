"""`kill -9` at any moment loses no enrollment and no revocation that was acknowledged, and leaves no half of one."""

from __future__ import annotations

import random
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.integration.store_child import enroll, revoke
from tests.integration.store_processes import Child
from tests.postgres import server
from tests.store_support import ON_DISK, TENANT, store_url
from zt_engine.adapters.store_sql import SqlStore, open_store
from zt_engine.ports.inventory import DeviceFilter

KILLS = 4


def check_whole(store: SqlStore, acknowledged: list[str]) -> None:
    """Everything that was acknowledged is there; whatever is there is there altogether."""
    fence = store.elect()
    while store.sequence(TENANT, fence=fence, limit=500):
        pass
    with store.reading(TENANT) as tx:
        held = {one.device_id: one.status for one in tx.devices.page(DeviceFilter(), after="", limit=99_999)}
        audit = tx.audit.page(after=0, limit=99_999)
        assert all(tx.devices.of_key(f"spki-{name}").device_id == name for name in held)
        assert all(tx.enrollments.of_device(name) is not None for name in held)
        assert {one.id for one in tx.invitations.page(after="", limit=99_999)} == set(held)
        assert set(tx.situation.all("revocation")) == {name for name, status in held.items() if status == "revoked"}
    events = store.events(TENANT, after=0, limit=99_999)
    happened = {f"enrolled {name}" for name in held}
    happened |= {f"revoked {name}" for name, status in held.items() if status == "revoked"}

    assert set(acknowledged) <= happened
    assert sorted(f"{event.reason} {event.object.removeprefix('device:')}" for event in audit) == sorted(happened)
    assert [event.seq for event in audit] == list(range(1, len(audit) + 1))
    assert sorted(event.data.decode().strip('"') for event in events) == sorted(happened)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert store.span(TENANT)[1] == len(happened)
    # One that was revoked is told so after it was told of.
    places = {event.data.decode().strip('"'): event.seq for event in events}
    assert all(places[f"enrolled {name}"] < places[f"revoked {name}"] for name in held if held[name] == "revoked")


@pytest.mark.parametrize("kind", ON_DISK)
def test_kill_minus_nine_loses_nothing_that_was_acknowledged(kind: str, tmp_path: Path) -> None:
    chance = random.Random(20261127)
    acknowledged: list[str] = []
    with store_url(kind, tmp_path) as url:
        store = open_store(url)
        store.migrate()

        for run in range(KILLS):
            child = Child("write", url, str(run))
            child.wait_for(chance.randint(1, 60))
            acknowledged += child.kill()

        assert len(acknowledged) >= KILLS
        check_whole(store, acknowledged)
        store.close()
        if kind == "sqlite":
            with sqlite3.connect(tmp_path / "store.db") as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            connection.close()


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_program_that_is_killed_in_mid_transaction_has_changed_nothing_and_locks_nothing(
    kind: str, tmp_path: Path
) -> None:
    with store_url(kind, tmp_path) as url:
        store = open_store(url)
        store.migrate()
        enroll(store, "d1")
        child = Child("halt", url, "d1")
        child.wait_for(1)
        child.kill()

        with store.writing(TENANT) as tx:
            held = tx.devices.get("d1")
            assert (held.version, held.status) == (1, "active")
            assert len(tx.audit.page(after=0, limit=9)) == 1
        revoke(store, "d1")
        store.close()


def test_a_crash_of_the_database_itself_loses_nothing_that_was_acknowledged() -> None:
    running = server()
    with running.database() as url:
        acknowledged: list[str] = []
        for run in range(2):
            child = Child("write", url, str(run))
            child.wait_for(30)
            running.end(signal.SIGQUIT)
            acknowledged += child.end()
            running.start()

        store = open_store(url)
        assert len(acknowledged) >= 60
        check_whole(store, acknowledged)
        store.close()
