"""The replica follows the stream: in order, never back, never by anything that is not signed; and the lease with it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.device import DeviceKey
from tests.stream_support import (
    KEY,
    OTHER_KEY,
    Follower,
    Said,
    batch,
    changed,
    level,
    person,
    revoked,
    seen,
    snapshot,
    urgent,
    watermark,
)
from tests.world import HEALTHY, NOW, device, facts, subject
from zt_engine.core.lease import Reading

C1, C2 = 100, 200
LATER = Reading(NOW + 1.0, 1001.0)
OVERLAY = {
    "id": "ov-1", "effect": "ceiling:100", "scope": "tenant", "not_before": NOW - 10, "not_after": NOW + 1000,
}  # fmt: skip


def test_events_become_what_is_known() -> None:
    sidecar = Follower().begin(changed(), person())

    sidecar.take(
        "batch",
        batch(
            1, changed(version=2, status="lost"), revoked("subject", "tanaka"), level(2), ("overlay.changed", OVERLAY)
        ),
    )

    situation = sidecar.replica.situation
    assert situation is not None
    assert sidecar.replica.devices["laptop-1"].status == "lost"
    assert situation.is_revoked("subject", "tanaka", now=NOW)
    assert (situation.threat_level, [overlay.id for overlay in situation.overlays]) == (2, ["ov-1"])
    assert sidecar.sync.position.seq == 4


def test_what_did_not_change_keeps_its_identity() -> None:
    sidecar = Follower().begin(changed(), changed(device_id="other"), person())
    before = sidecar.replica.state

    sidecar.take("batch", batch(1, changed(version=2, status="lost")))
    after = sidecar.replica.state

    assert after.records.devices["other"] is before.records.devices["other"]
    assert after.records.subjects == before.records.subjects
    assert after.situation is before.situation


def test_nothing_is_ready_before_a_whole_snapshot_and_the_level_is_the_strictest() -> None:
    sidecar = Follower()
    assert sidecar.replica.situation is not None
    assert (sidecar.replica.ready, sidecar.replica.situation.threat_level) == (False, 4)

    parts = snapshot(7, [level(0), changed()], [person()])
    sidecar.take("snapshot", parts[0])
    assert not sidecar.replica.ready
    assert sidecar.replica.devices == {}

    sidecar.take("snapshot", parts[1])
    assert sidecar.replica.ready
    assert (sidecar.sync.position.seq, len(sidecar.replica.devices), len(sidecar.replica.subjects)) == (7, 1, 1)


def test_a_snapshot_replaces_everything_and_keeps_what_is_equal() -> None:
    sidecar = Follower().begin(changed(), changed(device_id="gone"), revoked("jti", "t1"))
    kept = sidecar.replica.devices["laptop-1"]

    sidecar.begin(changed(), seq=5)

    assert set(sidecar.replica.devices) == {"laptop-1"}
    assert sidecar.replica.devices["laptop-1"] is kept
    assert sidecar.replica.situation is not None
    assert not sidecar.replica.situation.is_revoked("jti", "t1", now=NOW)


@pytest.mark.parametrize("order", [(1,), (0, 2), (0, 0, 2), (2, 1, 0)])
def test_parts_that_do_not_follow_each_other_are_no_snapshot(order: Sequence[int]) -> None:
    sidecar = Follower().begin(changed())
    parts = snapshot(9, [level(0)], [changed(device_id="b")], [person()])

    codes = [sidecar.taking("snapshot", parts[number]) for number in order]

    assert "STREAM_SNAPSHOT" in codes
    assert (sidecar.sync.position.seq, set(sidecar.replica.devices)) == (0, {"laptop-1"})


def test_parts_of_two_snapshots_are_none() -> None:
    sidecar = Follower()
    one, other = snapshot(9, [level(0)], [changed()]), snapshot(10, [level(0)], [changed()])
    sidecar.take("snapshot", one[0])

    assert sidecar.taking("snapshot", other[1]) == "STREAM_SNAPSHOT"
    assert not sidecar.replica.ready


def test_an_event_that_is_older_than_what_is_known_brings_nothing() -> None:
    sidecar = Follower().begin(changed(version=5, status="lost"), person(version=5, status="suspended"))

    sidecar.take("batch", batch(1, changed(version=4), person(version=4)))

    assert sidecar.replica.devices["laptop-1"].status == "lost"
    assert next(iter(sidecar.replica.subjects.values())).status == "suspended"


@pytest.mark.parametrize(
    ("kind", "raw", "code"),
    [
        ("batch", batch(1, level(1), key=OTHER_KEY), "STREAM_KEY_UNKNOWN"),
        ("batch", batch(1, level(1), tenant="other"), "STREAM_TENANT"),
        ("batch", batch(1, changed(tenant="other")), "STREAM_TENANT"),
        ("batch", batch(3, level(1)), "STREAM_GAP"),
        ("watermark", watermark(0, at=NOW - 86_400), "STREAM_REPLAYED"),
        ("watermark", watermark(0, key=OTHER_KEY), "STREAM_KEY_UNKNOWN"),
        ("watermark", batch(1, level(1)), "STREAM_TYPE"),
        ("urgent", urgent(5, revoked("device", "laptop-1"), key=OTHER_KEY), "STREAM_KEY_UNKNOWN"),
        ("batch", batch(1, ("overlay.changed", {**OVERLAY, "effect": "open:all"})), "STREAM_EVENT"),
        ("batch", batch(1, ("overlay.changed", {"effect": "deny"})), "STREAM_EVENT"),
        ("batch", batch(1, ("threat_level.changed", {"threat_level": 9})), "STREAM_EVENT"),
        ("batch", batch(1, ("revocation.added", {"kind": "planet", "key": "x", "until": None})), "STREAM_EVENT"),
        ("batch", batch(1, ("revocation.added", {"kind": "device", "key": ""})), "STREAM_EVENT"),
        ("batch", batch(1, ("device.seen", {"devices": {"laptop-1": "yesterday"}})), "STREAM_EVENT"),
    ],
)  # fmt: skip
def test_what_is_refused_changes_nothing(kind: str, raw: bytes, code: str) -> None:
    sidecar = Follower().begin(changed(), person())
    sidecar.take("watermark", watermark(0))
    before = sidecar.known

    assert sidecar.taking(kind, raw) == code
    assert sidecar.known == before


def test_a_deposed_sequencer_is_refused_whatever_it_signs() -> None:
    sidecar = Follower().begin(changed())
    sidecar.take("batch", batch(1, level(1), fence=2))
    before = sidecar.known

    for kind, raw in (
        ("batch", batch(2, level(0), fence=1)),
        ("watermark", watermark(2, at=NOW + 5, fence=1)),
        ("urgent", urgent(2, revoked("device", "x"), fence=1)),
        ("snapshot", snapshot(9, [level(0)], fence=1)[0]),
    ):
        assert sidecar.taking(kind, raw) == "STREAM_FENCE"
    assert sidecar.known == before


def test_what_a_later_version_says_is_counted_and_skipped() -> None:
    sidecar = Follower().begin(changed())

    sidecar.take("batch", batch(1, ("moon.changed", {"phase": 3}), ("bundle.released", {"seq": 1}), level(1)))

    assert sidecar.sync.position.seq == 3


def test_a_record_that_cannot_be_read_makes_its_device_unknown_and_no_other() -> None:
    sidecar = Follower().begin(changed(), changed(device_id="other"), person())

    sidecar.take(
        "batch",
        batch(
            1,
            ("device.changed", {"device_id": "laptop-1", "status": "revoked"}),
            ("subject.changed", {"id": "tanaka", "issuer": subject().issuer, "clearance": "all"}),
        ),
    )

    assert set(sidecar.replica.devices) == {"other"}
    assert sidecar.replica.subjects == {}
    assert [problem.code for problem in sidecar.sync.problems.values()] == [
        "DEVICE_RECORD_MISSING", "SUBJECT_RECORD_SHAPE",
    ]  # fmt: skip

    sidecar.take("batch", batch(3, changed(version=3), person(version=3)))
    assert (set(sidecar.replica.devices), sidecar.sync.problems) == ({"other", "laptop-1"}, {})


def test_a_grant_that_nobody_approved_opens_nothing_and_is_reported() -> None:
    grant = {
        "id": "g-1", "kind": "exception", "subjects": ["tanaka"], "services": ["portal"], "ceiling": 200,
        "waives": ["REPORT_NOW"], "not_before": NOW - 10, "not_after": NOW + 100, "approvals": [],
    }  # fmt: skip
    sidecar = Follower().begin(changed())

    sidecar.take("batch", batch(1, ("grant.changed", grant)))

    assert sidecar.replica.situation is not None
    assert sidecar.replica.situation.grants == ()
    assert len(sidecar.sync.problems) == 1


def test_what_is_taken_back_is_gone() -> None:
    sidecar = Follower().begin(("overlay.changed", OVERLAY))
    before = sidecar.replica.situation

    sidecar.take("batch", batch(1, ("overlay.changed", {"id": "ov-1", "removed": True})))

    assert before is not None
    assert sidecar.replica.situation is not None
    assert (len(before.overlays), sidecar.replica.situation.overlays) == (1, ())


# -- reports that change nothing but ages


def aged(at: int) -> Said:
    return changed(
        device(
            facts=facts(HEALTHY, at), report_received_at=at, keys=(DeviceKey(x5t="k" * 42 + "A", not_after=NOW + 9),)
        )
    )


def test_a_report_that_changed_nothing_renews_ages_and_nothing_else() -> None:
    sidecar = Follower().begin(aged(NOW - 900), changed(device_id="other"))
    before = sidecar.replica.state

    sidecar.take("batch", batch(1, seen({"laptop-1": [NOW, ["disk.encrypted"]], "stranger": [NOW, []]})))
    after = sidecar.replica.state
    told, known = after.records.devices["laptop-1"], before.records.devices["laptop-1"]

    assert (told.report_received_at, told.version, told.status) == (NOW, known.version, known.status)
    assert told.facts["disk.encrypted"].received_at == NOW
    assert told.facts["edr.running"] == known.facts["edr.running"]
    assert after.records.devices["other"] is before.records.devices["other"]
    assert after.records.keys.version == before.records.keys.version
    assert after.records.keys.owners["k" * 42 + "A"][0] is told
    assert "stranger" not in after.records.devices


def test_a_bare_time_renews_what_came_with_the_last_report_and_no_server_s_word() -> None:
    held = {
        **facts({"disk.encrypted": True}, NOW - 900),
        **facts({"edr.running": True}, NOW - 5000),
        **facts({"mdm.enrolled": True}, NOW - 900, method="mdm_server"),
    }
    sidecar = Follower().begin(changed(device(facts=held, report_received_at=NOW - 900)))

    sidecar.take("batch", batch(1, seen({"laptop-1": NOW})))

    ages = {name: NOW - fact.received_at for name, fact in sidecar.replica.devices["laptop-1"].facts.items()}
    assert ages == {"disk.encrypted": 0, "edr.running": 5000, "mdm.enrolled": 900}


def test_a_report_that_is_older_than_what_is_known_brings_nothing() -> None:
    sidecar = Follower().begin(aged(NOW))
    before = sidecar.replica.state.records

    sidecar.take("batch", batch(1, seen({"laptop-1": [NOW - 60, ["disk.encrypted"]]})))

    assert sidecar.replica.state.records is before


# -- urgent revocations


def test_a_revocation_ahead_of_its_turn_counts_at_once_and_moves_no_cursor() -> None:
    sidecar = Follower().begin(changed())

    sidecar.take("urgent", urgent(7, revoked("device", "laptop-1")))

    assert sidecar.replica.situation is not None
    assert sidecar.replica.situation.is_revoked("device", "laptop-1", now=NOW)
    assert sidecar.sync.position.seq == 0


def test_it_survives_a_snapshot_that_does_not_have_it_yet() -> None:
    sidecar = Follower().begin(changed())
    sidecar.take("urgent", urgent(7, revoked("device", "laptop-1")))

    sidecar.begin(changed(), seq=6)

    assert sidecar.replica.situation is not None
    assert sidecar.replica.situation.is_revoked("device", "laptop-1", now=NOW)


def test_it_does_not_count_for_the_watermark_before_its_turn() -> None:
    sidecar = Follower().begin(changed())
    sidecar.take("urgent", urgent(2, revoked("device", "laptop-1")))

    sidecar.take("watermark", watermark(0))

    assert sidecar.lease.issued_at == NOW


# -- the lease


def test_a_watermark_counts_once_everything_up_to_it_is_applied() -> None:
    sidecar = Follower().begin(changed())

    sidecar.take("watermark", watermark(2))
    assert sidecar.lease.issued_at is None
    sidecar.take("batch", batch(1, level(1)))
    assert sidecar.lease.issued_at is None
    sidecar.take("batch", batch(2, level(2)))

    assert sidecar.lease.issued_at == NOW


def test_the_newest_watermark_that_is_reached_counts() -> None:
    sidecar = Follower().begin(changed())
    for seq, at in ((1, NOW - 3.0), (2, NOW - 2.0), (9, NOW - 1.0)):
        sidecar.take("watermark", watermark(seq, at=at))

    sidecar.take("batch", batch(1, level(1), level(2), level(3)))

    assert sidecar.lease.issued_at == NOW - 2


def test_an_older_bundle_than_the_watermark_asks_for_renews_nothing() -> None:
    sidecar = Follower().begin(changed())

    sidecar.take("watermark", watermark(0, min_bundle_seq=3))

    assert sidecar.lease.issued_at is None


def test_other_revocations_than_the_watermark_s_renew_nothing_and_end_in_a_new_snapshot() -> None:
    sidecar = Follower().begin(changed())

    for number in range(3):
        sidecar.take("watermark", watermark(0, at=NOW - 9.0 + number, revocations=[("device", "laptop-9", None)]))
    assert sidecar.lease.issued_at is None
    assert sidecar.sync.snapshot_wanted
    assert [problem.code for problem in sidecar.sync.problems.values()] == ["STREAM_REVOCATIONS"]

    sidecar.begin(changed(), revoked("device", "laptop-9"))
    sidecar.take("watermark", watermark(0, revocations=[("device", "laptop-9", None)]))
    assert (sidecar.sync.snapshot_wanted, sidecar.lease.issued_at) == (False, NOW)


def test_a_revocation_that_has_ended_is_counted_by_neither_side() -> None:
    sidecar = Follower().begin(revoked("jti", "t1", NOW - 5), revoked("jti", "t2", NOW + 5))

    sidecar.take("watermark", watermark(0, revocations=[("jti", "t2", NOW + 5)]))

    assert sidecar.lease.issued_at == NOW


# -- any order

SAYABLE = st.one_of(
    st.builds(
        lambda one, status: ("device", one, status),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["active", "lost", "revoked"]),
    ),
    st.builds(lambda kind, key: ("revoked", kind, key), st.sampled_from(["device", "jti"]), st.sampled_from("abc")),
    st.builds(lambda number: ("level", number, ""), st.integers(0, 4)),
    st.builds(lambda one, at: ("seen", one, at), st.sampled_from(["a", "b"]), st.integers(1, 500)),
    st.builds(lambda end: ("overlay", end, ""), st.booleans()),
)


def told(history: Sequence[tuple[str, object, object]]) -> list[Said]:
    """Events as the inventory makes them: versions grow."""
    said: list[Said] = []
    for version, (kind, one, other) in enumerate(history, 1):
        match kind:
            case "device":
                said.append(changed(device_id=one, version=version, status=other))
            case "revoked":
                said.append(revoked(str(one), str(other)))
            case "level":
                said.append(level(int(str(one))))
            case "seen":
                said.append(seen({str(one): [NOW + int(str(other)), ["disk.encrypted"]]}))
            case "overlay":
                said.append(("overlay.changed", {"id": "ov-1", "removed": True} if one else OVERLAY))
    return said


@given(
    history=st.lists(SAYABLE, min_size=1, max_size=12),
    sizes=st.lists(st.integers(1, 4), min_size=12, max_size=12),
    deliveries=st.lists(st.integers(0, 11), max_size=40),
    extra=st.lists(st.integers(0, 11), max_size=6),
)
def test_any_order_of_deliveries_ends_in_the_state_of_the_right_one_or_in_a_gap(
    history: list[tuple[str, object, object]], sizes: list[int], deliveries: list[int], extra: list[int]
) -> None:
    said = told(history)
    batches, first = [], 1
    for size in sizes:
        part = said[first - 1 : first - 1 + size]
        if part:
            batches.append((first, batch(first, *part)))
            first += len(part)
    # Batches cut differently, as another control plane or a reconnection would send them.
    for start in extra:
        if start < len(said):
            batches.append((start + 1, batch(start + 1, *said[start : start + 3])))

    sidecar = Follower().begin()
    for number in deliveries:
        if number < len(batches):
            code = sidecar.taking("batch", batches[number][1])
            assert code in ("", "STREAM_REPEATED", "STREAM_GAP")
            in_order = Follower().begin()
            if sidecar.sync.position.seq:
                in_order.take("batch", batch(1, *said[: sidecar.sync.position.seq]))
            assert sidecar.known == in_order.known

    # Asked again from its cursor, it comes to the end.
    rest = said[sidecar.sync.position.seq :]
    if rest:
        sidecar.take("batch", batch(sidecar.sync.position.seq + 1, *rest))
    whole = Follower().begin()
    whole.take("batch", batch(1, *said))
    assert sidecar.known == whole.known


def test_a_signed_key_set_replaces_whose_signatures_count() -> None:
    sidecar = Follower().begin(changed())
    sidecar.sync.keys = {OTHER_KEY.key_id: OTHER_KEY.public()}

    assert sidecar.taking("batch", batch(1, level(1), key=KEY)) == "STREAM_KEY_UNKNOWN"
    assert sidecar.taking("batch", batch(1, level(1), key=OTHER_KEY)) == ""


def test_equal_situations_have_equal_versions_however_they_came_about() -> None:
    one, other = Follower().begin(), Follower().begin(level(2), revoked("jti", "t1"), ("overlay.changed", OVERLAY))

    one.take("batch", batch(1, ("overlay.changed", OVERLAY), level(1), revoked("jti", "t1"), level(2)))

    assert one.replica.situation is not None
    assert other.replica.situation is not None
    assert one.replica.situation.version == other.replica.situation.version
    assert msgspec.structs.asdict(one.replica.situation) == msgspec.structs.asdict(other.replica.situation)
