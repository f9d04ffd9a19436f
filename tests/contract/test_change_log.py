"""What the order of changes promises the sequencer and those who serve the stream, on each database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.store_support import NOW, ON_DISK, TENANT, store_url
from zt_engine.adapters.store_sql import SqlStore, open_store
from zt_engine.core.errors import UnavailableError
from zt_engine.ports.inventory import SequencedEvent


def announce(store: SqlStore, *texts: str, tenant: str = TENANT) -> None:
    with store.writing(tenant) as tx:
        for text in texts:
            tx.outbox.announce("overlay.changed", json.dumps(text).encode())


def heard(store: SqlStore, **seen: tuple[int, tuple[str, ...]]) -> None:
    with store.writing(TENANT) as tx:
        for device_id, (at, facts) in seen.items():
            tx.outbox.seen(device_id, received_at=at, facts=facts)


def test_events_get_the_next_numbers_in_the_order_they_were_announced(store: SqlStore) -> None:
    fence = store.elect()
    announce(store, "a", "b")
    announce(store, "c")

    placed = [*store.sequence(TENANT, fence=fence, limit=2), *store.sequence(TENANT, fence=fence, limit=2)]
    announce(store, "端末")
    placed += store.sequence(TENANT, fence=fence, limit=2)

    assert [(event.seq, json.loads(event.data)) for event in placed] == [(1, "a"), (2, "b"), (3, "c"), (4, "端末")]
    assert placed[0] == SequencedEvent(seq=1, type="overlay.changed", data=b'"a"')
    assert store.sequence(TENANT, fence=fence, limit=2) == ()
    assert list(store.events(TENANT, after=0, limit=99)) == placed
    assert list(store.events(TENANT, after=2, limit=1)) == placed[2:3]
    assert store.span(TENANT) == (1, 4)


def test_each_tenant_has_its_own_order(store: SqlStore) -> None:
    fence = store.elect()
    announce(store, "a", tenant="north")
    announce(store, "b", tenant="south")

    assert [event.data for event in store.sequence("south", fence=fence, limit=9)] == [b'"b"']
    assert store.span("north") == (1, 0)
    assert [event.seq for event in store.sequence("north", fence=fence, limit=9)] == [1]


def test_what_was_forgotten_is_gone_and_its_numbers_are_not_used_again(store: SqlStore) -> None:
    fence = store.elect()
    announce(store, "a", "b", "c")
    store.sequence(TENANT, fence=fence, limit=9)

    store.forget(TENANT, before=3)
    assert store.span(TENANT) == (3, 3)
    store.forget(TENANT, before=99)
    assert store.span(TENANT) == (4, 3)
    announce(store, "d")
    assert [event.seq for event in store.sequence(TENANT, fence=fence, limit=9)] == [4]
    assert store.span(TENANT) == (4, 4)


def test_a_tenant_nobody_heard_of_has_no_changes(store: SqlStore) -> None:
    assert store.span("nobody") == (1, 0)
    assert store.events("nobody", after=0, limit=9) == ()
    assert not store.gather_seen("nobody", now=NOW)


def test_reports_that_changed_nothing_become_one_event(store: SqlStore) -> None:
    fence = store.elect()
    heard(store, d2=(NOW + 5, ()), d1=(NOW, ("os.build", "disk.encrypted")))
    heard(store, d2=(NOW + 9, ()), d3=(NOW + 1, ()))
    heard(store, d3=(NOW, ("os.build",)))

    assert store.gather_seen(TENANT, now=NOW + 60)
    assert not store.gather_seen(TENANT, now=NOW + 61)
    (event,) = store.sequence(TENANT, fence=fence, limit=9)
    assert event.type == "device.seen"
    assert json.loads(event.data) == {
        "at": NOW + 60,
        "devices": {"d1": [NOW, ["disk.encrypted", "os.build"]], "d2": [NOW + 9, []], "d3": [NOW + 1, []]},
    }


def test_a_fence_grows_with_each_election_and_the_one_before_is_refused(store: SqlStore) -> None:
    first = store.elect()
    second = store.elect()
    store.resign()
    third = store.elect()
    announce(store, "a")

    assert first < second < third
    for fence in (first, second, third + 1, 0):
        with pytest.raises(UnavailableError) as caught:
            store.sequence(TENANT, fence=fence, limit=9)
        assert caught.value.code == "STORE_FENCED"
    assert store.span(TENANT) == (1, 0)
    assert len(store.sequence(TENANT, fence=third, limit=9)) == 1


def test_whoever_is_no_sequencer_can_resign(store: SqlStore) -> None:
    store.resign()
    store.resign()

    assert store.elect() == 1


@pytest.mark.parametrize("kind", ON_DISK)
def test_there_is_one_sequencer_until_it_resigns_or_closes(kind: str, tmp_path: Path) -> None:
    with store_url(kind, tmp_path) as url:
        one, two = open_store(url), open_store(url)
        one.migrate()

        assert one.elect() == 1
        assert two.elect() is None
        one.resign()
        assert two.elect() == 2
        assert one.elect() is None
        two.close()
        assert one.elect() == 3
        one.close()


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_deposed_sequencer_writes_nothing(kind: str, tmp_path: Path) -> None:
    """One whose lock was lost without its knowledge goes on, until it meets the fence of the next."""
    with store_url(kind, tmp_path) as url:
        one, two = open_store(url), open_store(url)
        one.migrate()
        before = one.elect()
        announce(one, "a")
        one._election._held.release()

        after = two.elect()
        with pytest.raises(UnavailableError) as caught:
            one.sequence(TENANT, fence=before, limit=9)

        assert caught.value.code == "STORE_FENCED"
        assert [event.seq for event in two.sequence(TENANT, fence=after, limit=9)] == [1]
        one._election._held = None
        one.close()
        two.close()
