"""What the store promises about bundles and releases, on each database and in memory, where it is everybody's fake."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.store_support import NOW, ON_DISK, TENANT, opened
from zt_engine.adapters.store_sql import SqlStore
from zt_engine.core.errors import UnavailableError
from zt_engine.ports.releases import BundleStore, KeptRelease, OpaClient, ReleaseStore

RAW = bytes(range(256)) * 100
DIGEST = hashlib.sha256(RAW).hexdigest()


def release(seq: int, **members: Any) -> KeptRelease:
    wanted = {"state": "released", "bundle_digest": DIGEST, "notice": msgspec.Raw(b'{"seq":%d}' % seq)} | members
    return KeptRelease(seq=seq, content_digest=f"c{seq}", revision=f"r{seq}", way_back="", **wanted)


def fill(store: SqlStore, *releases: KeptRelease, tenant: str = TENANT) -> None:
    for one in releases:
        with store.writing(tenant) as tx:
            tx.releases.add(one)


def test_the_store_is_what_the_ports_ask_for(store: SqlStore) -> None:
    with store.reading(TENANT) as tx:
        bundles: BundleStore = tx.bundles
        releases: ReleaseStore = tx.releases

    assert bundles is not releases


def test_a_bundle_comes_back_byte_for_byte_and_once_is_as_good_as_twice(store: SqlStore) -> None:
    for at in (NOW, NOW + 5):
        with store.writing(TENANT) as tx:
            tx.bundles.put(DIGEST, RAW, now=at)

    with store.reading(TENANT) as tx:
        assert (tx.bundles.get(DIGEST), tx.bundles.has(DIGEST)) == (RAW, True)
        assert (tx.bundles.get("0" * 64), tx.bundles.has("0" * 64)) == (None, False)
        assert tx.bundles.unused() == ((DIGEST, NOW + 5),)


def test_a_bundle_that_a_release_names_is_in_use(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.bundles.put(DIGEST, RAW, now=NOW)
        tx.bundles.put("old", b"x", now=NOW - 9)
        tx.bundles.put("other", b"x", now=NOW)
    fill(store, release(1))

    with store.writing(TENANT) as tx:
        assert tx.bundles.unused() == (("old", NOW - 9), ("other", NOW))
        tx.bundles.drop("old")
        assert not tx.bundles.has("old")


def test_releases_are_numbered_without_a_gap_and_no_number_is_given_twice(store: SqlStore) -> None:
    fill(store, release(1), release(2))
    for wrong in (0, 2, 4):
        with pytest.raises(UnavailableError) as caught:
            fill(store, release(wrong))
        assert caught.value.code == "STORE_CONFLICT"

    with store.writing(TENANT) as tx:
        assert (tx.releases.lock(), tx.releases.newest()) == (2, 2)
        assert [one.seq for one in tx.releases.page(before=0, limit=9)] == [2, 1]
    fill(store, release(3))
    with store.reading(TENANT) as tx:
        assert [one.seq for one in tx.releases.page(before=3, limit=1)] == [2]


def test_what_became_of_a_release_is_kept(store: SqlStore) -> None:
    fill(store, release(1), release(2, settled=False), release(3, state="waiting"))

    with store.writing(TENANT) as tx:
        assert tx.releases.get(2) == release(2, settled=False)
        assert tx.releases.get(9) is None
        newest, settled = tx.releases.last("released"), tx.releases.last("released", settled=True)
        assert newest is not None and settled is not None
        assert (newest.seq, settled.seq) == (2, 1)
        tx.releases.put(replace(release(3), why="x", settled=True))
    with store.reading(TENANT) as tx:
        assert tx.releases.last("waiting") is None
        assert tx.releases.last("released") == replace(release(3), why="x")


def test_a_release_that_is_not_there_is_not_replaced(store: SqlStore) -> None:
    with pytest.raises(UnavailableError), store.writing(TENANT) as tx:
        tx.releases.put(release(1))


def test_what_an_opa_says_of_itself_takes_the_place_of_what_it_said_before(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.releases.put_opa_client(OpaClient(name="b", revision="r1"))
        tx.releases.put_opa_client(OpaClient(name="a"))
        tx.releases.put_opa_client(OpaClient(name="b", revision="r2", labels={"id": "x"}))

    with store.reading(TENANT) as tx:
        assert tx.releases.opa_clients() == (
            OpaClient(name="a"),
            OpaClient(name="b", revision="r2", labels={"id": "x"}),
        )


def test_no_tenant_sees_releases_or_bundles_of_another(store: SqlStore) -> None:
    fill(store, release(1), tenant="north")
    with store.writing("north") as tx:
        tx.bundles.put(DIGEST, RAW, now=NOW)
        tx.releases.put_opa_client(OpaClient(name="a"))

    with store.writing("south") as tx:
        assert (tx.bundles.get(DIGEST), tx.releases.get(1), tx.releases.newest()) == (None, None, 0)
        assert (tx.releases.opa_clients(), tx.releases.page(before=0, limit=9), tx.bundles.unused()) == ((), (), ())
        tx.bundles.drop(DIGEST)
    with store.reading("north") as tx:
        assert tx.bundles.has(DIGEST)


@pytest.mark.parametrize("kind", ON_DISK)
def test_of_those_who_publish_at_once_each_number_goes_to_one(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        together = Barrier(4)

        def publish(number: int) -> str:
            together.wait()
            try:
                with store.writing(TENANT) as tx:
                    if tx.releases.lock() != 0:
                        return "late"
                    tx.releases.add(release(1, author=str(number)))
            except UnavailableError as error:
                return error.code
            return "released"

        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(publish, range(4)))

        assert sorted(outcomes) == ["late", "late", "late", "released"]
