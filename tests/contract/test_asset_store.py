"""What the store promises of imported asset ledgers, on each database and in memory."""

from __future__ import annotations

from device_inventory.asset_ledger import Asset
from tests.store_support import NOW, TENANT
from zt_engine.adapters.store_sql import SqlStore


def asset(serial: str = "s1", source: str = "ledger", *, heard_at: int = NOW, model: str = "型式Ａ") -> Asset:
    return Asset(serial_hash=serial, source=source, heard_at=heard_at, model=model, name="端末", owner="田中")


def test_the_lines_of_a_serial_number_come_back_by_source(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.assets.put(asset(source="z"))
        tx.assets.put(asset(source="a"))
        tx.assets.put(asset("s2"))

    with store.reading(TENANT) as tx:
        assert tx.assets.of_serial("s1") == (asset(source="a"), asset(source="z"))
        assert tx.assets.of_serial("s3") == ()


def test_a_newer_word_of_a_source_replaces_its_last_and_an_older_one_does_not(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.assets.put(asset(model="old"))
        tx.assets.put(asset(model="new", heard_at=NOW + 1))
        tx.assets.put(asset(model="older", heard_at=NOW - 1))

    with store.reading(TENANT) as tx:
        assert [line.model for line in tx.assets.of_serial("s1")] == ["new"]


def test_no_serial_number_is_nobodys_and_no_tenant_sees_anothers(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.assets.put(asset())

    with store.reading(TENANT) as tx:
        assert tx.assets.of_serial("") == ()
    with store.reading("another") as tx:
        assert tx.assets.of_serial("s1") == ()
