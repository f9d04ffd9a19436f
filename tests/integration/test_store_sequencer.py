"""However many write and however slowly they commit: every event gets one place, and no place is empty."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.integration.store_processes import Child
from tests.sidecar_support import wait_for
from tests.store_support import ON_DISK, TENANT, opened, store_url
from zt_engine.adapters.store_sql import SqlStore, open_store
from zt_engine.adapters.store_sql.outbox import SqlOutbox
from zt_engine.adapters.store_sql.session import Session

WRITERS = 32
KILLS = 3
EVENTS = int(os.environ.get("ZT_TEST_STORE_EVENTS", "20000"))

SLOW_COMMIT = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(0.02 * random()); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.type = 'subject.changed') EXECUTE FUNCTION dawdle();
"""
"""A commit that takes its time, long after the row got its number."""


def announce(store: SqlStore, *names: str, slow: bool = False) -> None:
    with store.writing(TENANT) as tx:
        for name in names:
            tx.outbox.announce("overlay.changed", json.dumps(name).encode())
        if slow:
            tx.outbox.announce("subject.changed", json.dumps(f"slow {names[0]}").encode())


def sequence_until(store: SqlStore, fence: int, done: threading.Event) -> None:
    """Put in order without rest, and once more after everybody has written."""
    last_turn = False
    while not last_turn:
        last_turn = done.is_set()
        while store.sequence(TENANT, fence=fence, limit=1000):
            pass


def check(store: SqlStore, names: list[str]) -> None:
    """Each of the names has one place, in places from 1 without a gap."""
    events = store.events(TENANT, after=0, limit=10 * EVENTS + 1000)

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert Counter(json.loads(event.data) for event in events) == Counter(names)


@pytest.mark.timeout(600)
def test_32_writers_some_of_them_slow_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """Those who are slow hold the lower number while others with higher ones are put in order."""
    per_transaction = 5
    turns = EVENTS // WRITERS // per_transaction

    def write(writer: int) -> list[str]:
        written = []
        for turn in range(turns):
            names = [f"{writer}.{turn}.{number}" for number in range(per_transaction)]
            announce(store, *names, slow=turn % 10 == writer % 10)
            written += names
            if turn % 10 == writer % 10:
                written.append(f"slow {names[0]}")
        return written

    with opened("postgresql", tmp_path) as store:
        with store._database.writing() as connection:
            connection.execute(text(SLOW_COMMIT))
        done = threading.Event()
        with ThreadPoolExecutor(WRITERS + 1) as pool:
            sequencer = pool.submit(sequence_until, store, store.elect(), done)
            written = [name for names in pool.map(write, range(WRITERS)) for name in names]
            done.set()
            sequencer.result()

        check(store, written)
        by_writer: dict[str, list[tuple[int, int]]] = {}
        for event in store.events(TENANT, after=0, limit=10 * EVENTS):
            if event.type == "overlay.changed":
                writer, turn, number = json.loads(event.data).split(".")
                by_writer.setdefault(writer, []).append((int(turn), int(number)))
        assert all(order == sorted(order) for order in by_writer.values())


def test_an_event_that_was_numbered_first_and_committed_last_is_not_skipped(tmp_path: Path) -> None:
    with opened("postgresql", tmp_path) as store:
        fence = store.elect()
        with store._database.writing() as connection:
            slow = SqlOutbox(Session(connection, tenant=TENANT, writing=True))
            slow.announce("overlay.changed", b'"slow"')
            slow.finish()  # it has its row now, and the lower number
            announce(store, "fast")
            first = store.sequence(TENANT, fence=fence, limit=10)
        second = store.sequence(TENANT, fence=fence, limit=10)

    assert [(event.seq, event.data) for event in (*first, *second)] == [(1, b'"fast"'), (2, b'"slow"')]


@pytest.mark.parametrize("kind", ON_DISK)
def test_of_two_sequencers_one_is_killed_and_the_other_goes_on_where_it_stood(kind: str, tmp_path: Path) -> None:
    with store_url(kind, tmp_path) as url:
        store = open_store(url)
        store.migrate()
        written: list[str] = []
        children = [Child("sequence", url)]
        try:
            children[0].wait_for(1)
            for number in range(KILLS):
                children.append(Child("sequence", url))  # waits for the office
                for turn in range(80):
                    names = [f"{number}.{turn}.{one}" for one in range(3)]
                    announce(store, *names)
                    written += names
                    if turn == 40:
                        children[number].wait_for(3)
                        killed = children[number].kill()
                        assert killed[0].startswith("elected")
                children[-1].wait_for(2)
        finally:
            said = [line for child in children for line in child.kill()]
        fence = wait_for(store.elect, "the office: PostgreSQL hears of the end of a client in its own time")
        while store.sequence(TENANT, fence=fence, limit=500):
            pass

        check(store, written)
        fences = [int(line.split()[1]) for line in said if line.startswith("elected")]
        assert len(fences) == KILLS + 1
        assert all(earlier < later for earlier, later in pairwise([*fences, fence]))
        # No two ever said that they had given the same place.
        spans = sorted(tuple(map(int, line.split()[1:])) for line in said if line.startswith("placed"))
        assert all(one[1] < other[0] for one, other in pairwise(spans))
        store.close()


@pytest.mark.parametrize("kind", ON_DISK)
def test_reports_are_gathered_while_others_arrive_and_none_is_lost(kind: str, tmp_path: Path) -> None:
    """Each device's last report is told, at the latest with the next batch."""
    reports = 40

    def report(number: int) -> None:
        for turn in range(reports):
            with store.writing(TENANT) as tx:
                tx.outbox.seen(f"d{number}", received_at=turn, facts=())

    with opened(kind, tmp_path) as store:
        fence = store.elect()
        with ThreadPoolExecutor(9) as pool:
            done = threading.Event()

            def gather() -> None:
                while not done.is_set():
                    store.gather_seen(TENANT, now=0)

            gathering = pool.submit(gather)
            list(pool.map(report, range(8)))
            done.set()
            gathering.result()
        store.gather_seen(TENANT, now=0)
        while store.sequence(TENANT, fence=fence, limit=500):
            pass

        last: dict[str, int] = {}
        for event in store.events(TENANT, after=0, limit=9999):
            for device_id, (at, _) in json.loads(event.data)["devices"].items():
                assert at >= last.get(device_id, 0)
                last[device_id] = at
        assert last == {f"d{number}": reports - 1 for number in range(8)}
