"""What is revoked has one digest, however it was told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.stream_support import TENANT
from zt_engine.adapters.store_sql import open_store
from zt_engine.control_plane.ledger import revoke
from zt_engine.control_plane.snapshot import situation_data
from zt_engine.control_plane.watermark import Ledger
from zt_engine.core.revocations import Revocations

NOW = 1_790_000_000
_ENDS = st.none() | st.integers(1, 100)
_TOLD = st.lists(st.tuples(st.sampled_from(["device", "cert"]), st.sampled_from(["a", "b"]), _ENDS), max_size=8)


def told(revocations: list[tuple[str, str, int | None]]) -> Revocations:
    held = Revocations()
    for kind, key, until in revocations:
        held.add(kind, key, until)
    return held


@given(_TOLD, st.randoms(use_true_random=False), st.integers(0, 110))
def test_the_digest_does_not_hang_on_the_order_nor_on_what_has_ended(revocations, random, at) -> None:
    shuffled = random.sample(revocations, len(revocations))
    left = [one for one in shuffled if one[2] is None or one[2] >= at]

    assert told(revocations).digest(at) == told(shuffled).digest(at) == told(left).digest(at)


def test_a_device_that_was_lost_and_then_revoked_stops_no_sidecar_that_begins_with_a_snapshot() -> None:
    store = open_store("sqlite://")
    store.migrate()
    # Both orders of the rows' names occur among so many devices.
    with store.writing(TENANT) as tx:
        for number in range(8):
            revoke(tx, "device", f"laptop-{number}", NOW + 600)
            revoke(tx, "device", f"laptop-{number}", NOW + 86_400)
    fence = store.elect()
    assert fence is not None
    followed = Ledger(TENANT)
    followed.follow(store.sequence(TENANT, fence=fence, limit=100))
    loaded = Ledger(TENANT)
    loaded.load(store)

    for at in (NOW + 1, NOW + 601):
        begun = Ledger(TENANT)
        with store.reading(TENANT) as tx:
            for type_, data in situation_data(tx, at):
                if type_ == "revocation.added":
                    begun._add(data)
        marks = [
            one.watermark(fence=fence, seq=16, min_bundle_seq=0, now=at).revocations_digest
            for one in (followed, loaded, begun)
        ]
        assert len(set(marks)) == 1
    store.close()
