"""What is staged decides in the rings that were reached and nowhere else, and is gone when it is taken back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stream_support import CLOCKS, KEYS, READERS, TENANT, Said, batch, level, snapshot
from tests.world import NOW
from zt_engine.core.errors import InputError
from zt_engine.core.lease import Lease, Staleness
from zt_engine.core.rollout import Place
from zt_engine.core.situation import Situation
from zt_engine.sidecar.replica import Replica
from zt_engine.sidecar.sync import KeepNothing, Sync

CANARY = {"name": "canary", "sidecars": ["edge-canary"]}
SITE = {"name": "tokyo", "labels": {"site": "tokyo"}}
ALL = {"name": "all", "percent": 100}


def follower(sidecar: str, site: str = "") -> tuple[Sync, Replica]:
    replica = Replica()
    sync = Sync(
        tenant=TENANT,
        keys=KEYS,
        readers=READERS,
        replica=replica,
        lease=Lease(Staleness()),
        keep=KeepNothing(),
        place=Place(sidecar=sidecar, site=site),
    )
    return sync, replica


def overlay(id_: str = "rain", effect: str = "deny", **more: Any) -> dict[str, Any]:
    return {
        "id": id_, "scope": "tenant", "effect": effect, "not_before": NOW - 10, "not_after": NOW + 3600, **more
    }  # fmt: skip


def staged(type_: str, record: dict[str, Any], ref_seq: int = 1, mode: str = "enforce", **more: Any) -> Said:
    plan = {"ref_seq": ref_seq, "rings": [CANARY, SITE, ALL], "mode": mode}
    return type_, {"staged": plan, "record": record, **more}


def advanced(ring: str, ref_seq: int = 1) -> Said:
    return "rollout.advanced", {"ref_seq": ref_seq, "ring": ring}


def aborted(ref_seq: int = 1) -> Said:
    return "rollout.aborted", {"ref_seq": ref_seq, "reason": "breach"}


def told(sidecar: str, *said: Said, site: str = "") -> Situation:
    sync, replica = follower(sidecar, site)
    sync.take("batch", batch(1, level(0), *said), CLOCKS)
    assert replica.situation is not None
    return replica.situation


def test_a_poisonous_overlay_decides_in_its_canary_alone() -> None:
    poison = staged("overlay.changed", overlay())

    assert [one.id for one in told("edge-canary", poison).overlays] == ["rain"]
    assert told("edge-2", poison).overlays == ()
    assert told("edge-2", poison).version == told("edge-2").version


def test_it_follows_the_rings_to_everybody() -> None:
    poison = staged("overlay.changed", overlay())

    assert told("edge-2", poison, advanced("tokyo"), site="tokyo").overlays
    assert not told("edge-2", poison, advanced("tokyo")).overlays
    everywhere = told("edge-2", poison, advanced("tokyo"), advanced("all"))
    assert everywhere.overlays
    assert everywhere.version == told("edge-9", ("overlay.changed", overlay())).version


def test_what_is_taken_back_leaves_what_was_before() -> None:
    before = ("overlay.changed", overlay(effect="threshold:+5"))
    poison = staged("overlay.changed", overlay())

    assert told("edge-canary", before, poison).overlays[0].effect == "deny"
    assert told("edge-canary", before, poison, aborted()) == told("edge-canary", before)


def test_what_is_said_to_everybody_later_takes_the_place_of_what_is_under_way() -> None:
    poison = staged("overlay.changed", overlay())
    now = ("overlay.changed", overlay(effect="threshold:+5"))

    assert told("edge-canary", poison, now, advanced("all")) == told("edge-canary", now)


def test_a_staged_level_and_a_staged_removal_are_held_back_alike() -> None:
    rain = ("overlay.changed", overlay())
    removal = staged("overlay.changed", {"id": "rain", "removed": True}, 2)
    lower = staged("threat_level.changed", {"threat_level": 2}, 3)

    canary, other = told("edge-canary", rain, removal, lower), told("edge-2", rain, removal, lower)
    assert (canary.threat_level, canary.overlays) == (2, ())
    assert (other.threat_level, len(other.overlays)) == (0, 1)


def test_report_only_decides_nowhere() -> None:
    said = (staged("overlay.changed", overlay(), mode="report-only"), advanced("all"))

    assert told("edge-canary", *said).overlays == ()


def test_a_snapshot_tells_the_rings_reached() -> None:
    sync, replica = follower("edge-2", site="tokyo")
    under_way = staged("overlay.changed", overlay(), reached=["canary", "tokyo"])
    for part in snapshot(5, [level(0), under_way]):
        sync.take("snapshot", part, CLOCKS)

    assert replica.situation is not None
    assert replica.situation.overlays
    sync.take("batch", batch(6, aborted()), CLOCKS)
    assert replica.situation.overlays == ()


def test_standing_elsewhere_is_being_in_other_rings() -> None:
    sync, replica = follower("edge-2")
    sync.take("batch", batch(1, level(0), staged("overlay.changed", overlay()), advanced("tokyo")), CLOCKS)
    assert replica.situation is not None
    assert replica.situation.overlays == ()

    sync.moved(Place(sidecar="edge-2", site="tokyo"), CLOCKS)
    assert replica.situation.overlays != ()


@pytest.mark.parametrize(
    ("type_", "record"),
    [
        ("threat_level.changed", {"threat_level": 3}),
        ("threat_level.changed", {"threat_level": 4}),
        ("overlay.changed", overlay(severity="critical")),
        ("revocation.added", {"kind": "device", "key": "d1", "until": None}),
        ("device.changed", {"device_id": "d1"}),
        ("subject.changed", {"id": "s", "issuer": "i"}),
    ],
)
def test_what_must_hold_at_once_is_refused_when_it_is_staged(type_: str, record: dict[str, Any]) -> None:
    with pytest.raises(InputError) as refused:
        told("edge-2", staged(type_, record))

    assert refused.value.code == "STREAM_EVENT"


@pytest.mark.parametrize("plan", [7, {"ref_seq": 1, "rings": []}, {"ref_seq": 1, "rings": [CANARY]}])
def test_a_plan_that_does_not_read_stops_the_stream(plan: object) -> None:
    with pytest.raises(InputError) as refused:
        told("edge-2", ("overlay.changed", {"staged": plan, "record": overlay()}))

    assert refused.value.code == "STREAM_EVENT"


_STEPS = st.one_of(
    st.builds(advanced, st.sampled_from(["canary", "tokyo", "all"]), st.integers(1, 3)),
    st.builds(aborted, st.integers(1, 3)),
)


@given(st.lists(_STEPS, max_size=6), st.sampled_from(["enforce", "report-only"]))
def test_outside_every_ring_that_was_reached_nothing_is_another(steps: list[Said], mode: str) -> None:
    plans = [
        staged("overlay.changed", overlay(), 1, mode),
        staged("overlay.changed", overlay("snow"), 2, mode),
        staged("threat_level.changed", {"threat_level": 1}, 3, mode),
    ]
    without = [step for step in steps if step[1].get("ring") != "all"]

    assert told("edge-2", *plans, *without) == told("edge-2")


@given(st.lists(_STEPS, max_size=6))
def test_when_everything_was_taken_back_everything_is_as_it_was(steps: list[Said]) -> None:
    rain = ("overlay.changed", overlay(effect="threshold:+5"))
    plans = [
        staged("overlay.changed", overlay(), 1),
        staged("overlay.changed", {"id": "rain", "removed": True}, 2),
        staged("threat_level.changed", {"threat_level": 1}, 3),
    ]
    unfinished = [step for step in steps if step[1].get("ring") != "all"]
    back = [aborted(1), aborted(2), aborted(3)]

    assert told("edge-canary", rain, *plans, *unfinished, *back) == told("edge-canary", rain)
