"""Many at once: nobody's change is overwritten, and what may happen once happens once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from device_inventory.inventory import Device
from tests.store_support import (
    KINDS,
    NOW,
    ON_DISK,
    TENANT,
    audited,
    device,
    enrollment,
    invitation,
    key,
    opened,
    store_url,
    there,
)
from zt_engine.adapters.store_sql import SqlStore, open_store
from zt_engine.core.errors import UnavailableError
from zt_engine.ports.inventory import DeviceFilter, RememberedAnswer, Transaction

THREADS = 8
TURNS = 25


def at_once(act: Callable[[int], object], count: int = THREADS) -> list[object]:
    """What each of several threads gets that begin together; the code of an UnavailableError instead of raising it."""
    start = threading.Barrier(count)

    def run(number: int) -> object:
        start.wait()
        try:
            return act(number)
        except UnavailableError as error:
            return error.code

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def in_one(store: SqlStore, act: Callable[[Transaction], object]) -> object:
    with store.writing(TENANT) as tx:
        return act(tx)


def compete(store: SqlStore, contest: Callable[[Transaction, int], object], number: int) -> object:
    with store.writing(TENANT) as tx:
        return contest(tx, number)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_read_to_be_changed_is_never_overwritten(kind: str, tmp_path: Path) -> None:
    """Read, add one, write, from many threads: with a lost update the sum would be less."""
    with opened(kind, tmp_path) as store:
        in_one(store, lambda tx: tx.devices.put(device(keys=(key("a"),), owner="p")))
        finders: list[Callable[[Transaction], Device | None]] = [
            lambda tx: tx.devices.get("d1"),
            lambda tx: tx.devices.of_key("spki-a"),
            lambda tx: tx.devices.of_certificate("x5t-a"),
            lambda tx: tx.devices.of_owner("p")[0],
        ]

        def report(thread: int) -> None:
            for turn in range(TURNS):
                with store.writing(TENANT) as tx:
                    held = there(finders[(thread + turn) % len(finders)](tx))
                    version = held.version + turn % 2
                    tx.devices.put(replace(held, report_seq=held.report_seq + 1, version=version))
                    tx.audit.record(audited(reason=str(held.report_seq + 1)))

        at_once(report)

        with store.reading(TENANT) as tx:
            assert tx.devices.get("d1").report_seq == THREADS * TURNS
            reasons = [event.reason for event in tx.audit.page(after=0, limit=9999)]
        # The order of the audit is the order in which the changes came true.
        assert reasons == [str(number) for number in range(1, THREADS * TURNS + 1)]


@pytest.mark.parametrize("kind", ON_DISK)
def test_two_programs_do_not_overwrite_each_other_either(kind: str, tmp_path: Path) -> None:
    with store_url(kind, tmp_path) as url:
        stores = [open_store(url) for _ in range(4)]
        stores[0].migrate()
        in_one(stores[0], lambda tx: tx.invitations.put(invitation(ceiling=0)))

        def count(number: int) -> None:
            for _ in range(TURNS):
                with stores[number].writing(TENANT) as tx:
                    held = there(tx.invitations.get("i1"))
                    tx.invitations.put(replace(held, ceiling=held.ceiling + 1))

        assert at_once(count, len(stores)) == [None] * len(stores)
        with stores[0].reading(TENANT) as tx:
            assert tx.invitations.get("i1").ceiling == len(stores) * TURNS
        for store in stores:
            store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_may_happen_once_happens_once(kind: str, tmp_path: Path) -> None:
    """Whoever comes second is told of a conflict, or that it was used: never both, never neither."""
    answer = RememberedAnswer(request_digest="r", status=200, body=b"")

    with opened(kind, tmp_path) as store:
        in_one(store, lambda tx: tx.nonces.add("n", purpose="p", holder="h", expires_at=NOW + 60))
        contests: dict[str, Callable[[Transaction, int], object]] = {
            "nonce": lambda tx, _: tx.nonces.use("n", purpose="p", holder="h", now=NOW) or "no",
            "jti": lambda tx, _: tx.nonces.first_use("j", purpose="p", expires_at=NOW + 60, now=NOW) or "no",
            "code": lambda tx, number: tx.invitations.put(invitation(f"i{number}", code="c")),
            "key": lambda tx, number: tx.devices.put(device(f"d{number}", keys=(key("k"),))),
            "device": lambda tx, number: tx.devices.put(device("one", name=str(number))),
            "enrollment": lambda tx, number: tx.enrollments.put(enrollment(f"e{number}", device_id="x")),
            "answer": lambda tx, _: tx.answers.put("a", "k", answer, expires_at=NOW + 60),
        }
        for name, contest in contests.items():
            results = at_once(partial(compete, store, contest))
            others = [result for result in results if result not in {True, None}]
            assert len(others) == THREADS - 1, name
            assert set(others) == {"no" if name in {"nonce", "jti"} else "STORE_CONFLICT"}, name

        with store.reading(TENANT) as tx:
            assert len(tx.devices.page(DeviceFilter(), after="", limit=99)) == 2
            assert len(tx.invitations.page(after="", limit=99)) == 1


@pytest.mark.parametrize("kind", ON_DISK)
def test_whoever_reads_sees_one_moment(kind: str, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as store:
        in_one(store, lambda tx: tx.devices.put(device("d1")))
        with store.reading(TENANT) as tx, ThreadPoolExecutor(1) as pool:
            before = tx.devices.get("d1")
            pool.submit(in_one, store, lambda tx: tx.devices.put(device("d1", version=2))).result()
            pool.submit(in_one, store, lambda tx: tx.devices.put(device("d2"))).result()

            assert tx.devices.get("d1") == before
            assert tx.devices.get("d2") is None
        with store.reading(TENANT) as tx:
            assert tx.devices.get("d1").version == 2


@pytest.mark.parametrize("kind", ON_DISK)
def test_two_who_lock_in_opposite_order_do_not_wait_for_ever(kind: str, tmp_path: Path) -> None:
    """One of them is told to begin again, if they met; both changes are whole."""
    with opened(kind, tmp_path) as store:
        for name in ("a", "b"):
            with store.writing(TENANT) as tx:
                tx.devices.put(device(name))
        meeting = threading.Barrier(2)

        def move(number: int) -> object:
            with store.writing(TENANT) as tx:
                first, second = ("a", "b") if number else ("b", "a")
                tx.devices.get(first)
                if kind == "postgresql":
                    meeting.wait()
                for name in (first, second):
                    held = there(tx.devices.get(name))
                    tx.devices.put(replace(held, version=held.version + 1))
            return True

        results = at_once(move, 2)

        wanted = [True, True] if kind == "sqlite" else ["STORE_CONFLICT", True]
        assert sorted(results, key=str) == wanted
        with store.reading(TENANT) as tx:
            assert {tx.devices.get(name).version for name in ("a", "b")} == {1 + results.count(True)}
