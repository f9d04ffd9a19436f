"""A staged change decides only in rings that were reached, whatever comes in whatever order."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.core.rollout import (
    Place,
    Ring,
    Rollouts,
    Staged,
    belongs,
    bucket,
    decode_staged,
    stageable,
)

_IDS = st.sampled_from([f"edge-{number}" for number in range(12)])
_LABELS = st.dictionaries(st.sampled_from(["tier", "site"]), st.sampled_from(["canary", "tokyo"]), max_size=2)
PLACES = st.builds(lambda sidecar, labels: Place(sidecar=sidecar, labels=labels), _IDS, _LABELS)


@st.composite
def plans(draw: st.DrawFn, ref_seq: int | None = None) -> Staged:
    """Plans with one to four rings, the last of which is everybody."""
    rings = [
        Ring(
            name=f"ring-{number}",
            percent=draw(st.integers(0, 60)),
            sidecars=tuple(draw(st.lists(_IDS, max_size=2))),
            labels=draw(_LABELS),
        )
        for number in range(draw(st.integers(0, 3)))
    ]
    number = ref_seq if ref_seq is not None else draw(st.integers(1, 5))
    return Staged(ref_seq=number, rings=(*rings, Ring(name="all", percent=100)))


@given(plans(), PLACES, st.integers(0, 3))
def test_a_staged_event_never_decides_outside_a_reached_ring(plan: Staged, place: Place, steps: int) -> None:
    state = Rollouts().begun(plan)
    for ring in plan.rings[1 : steps + 1]:
        state = state.advanced(plan.ref_seq, ring.name)

    reached = plan.rings[: steps + 1]
    inside = any(belongs(place, ring, plan.ref_seq) for ring in reached)
    assert state.active(plan.ref_seq, place) is inside


@given(st.data(), PLACES)
def test_any_order_and_repetition_leaves_the_state_of_in_order_delivery(data: st.DataObject, place: Place) -> None:
    told: list[tuple[str, int, object]] = []
    for ref_seq in (1, 2):
        plan = data.draw(plans(ref_seq))
        told.append(("begun", ref_seq, plan))
        reached = data.draw(st.integers(0, len(plan.rings)))
        told += [("advanced", ref_seq, ring.name) for ring in plan.rings[1:reached]]
        if data.draw(st.booleans()):
            told.append(("aborted", ref_seq, None))
    mixed = data.draw(st.permutations(told + data.draw(st.lists(st.sampled_from(told), max_size=4))))

    assert _after(mixed) == _after(told)
    assert [_after(mixed).active(one, place) for one in (1, 2)] == [_after(told).active(one, place) for one in (1, 2)]


def _after(told: list[tuple[str, int, object]]) -> Rollouts:
    state = Rollouts()
    for what, ref_seq, said in told:
        if isinstance(said, Staged):
            state = state.begun(said)
        elif what == "advanced":
            state = state.advanced(ref_seq, str(said))
        else:
            state = state.aborted(ref_seq)
    return state


@given(plans(), PLACES)
def test_what_was_aborted_is_active_nowhere_whatever_it_had_reached(plan: Staged, place: Place) -> None:
    state = Rollouts().begun(plan, [ring.name for ring in plan.rings]).aborted(plan.ref_seq)
    later = state.advanced(plan.ref_seq, "all").begun(plan)

    assert not state.active(plan.ref_seq, place)
    assert not later.active(plan.ref_seq, place)
    assert not later.shadowed(plan.ref_seq)


@given(plans(), PLACES)
def test_report_only_decides_nowhere_and_is_watched(plan: Staged, place: Place) -> None:
    watched = msgspec.structs.replace(plan, mode="report-only")
    state = Rollouts().begun(watched, [ring.name for ring in plan.rings])

    assert not state.active(plan.ref_seq, place)
    assert state.shadowed(plan.ref_seq)
    assert not state.complete(plan.ref_seq)


@given(plans(), PLACES)
def test_what_was_advanced_to_the_last_ring_is_active_everywhere(plan: Staged, place: Place) -> None:
    state = Rollouts().begun(plan).advanced(plan.ref_seq, "all")

    assert state.active(plan.ref_seq, place)
    assert state.complete(plan.ref_seq)
    assert not state.shadowed(plan.ref_seq)


@pytest.mark.parametrize("type_", ["revocation.added", "device.changed", "device.seen", "subject.changed"])
def test_revocations_devices_and_subjects_cannot_be_staged(type_: str) -> None:
    assert not stageable(type_)


def test_critical_overlays_and_high_threat_levels_cannot_be_staged() -> None:
    assert stageable("overlay.changed", severity="high")
    assert not stageable("overlay.changed", severity="Critical")
    assert stageable("threat_level.changed", level=2)
    assert not stageable("threat_level.changed", level=3)
    assert not stageable("threat_level.changed", level=4)


def test_a_percentage_reaches_about_so_many_and_others_in_each_rollout() -> None:
    ring = Ring(name="some", percent=10)
    reached = {
        ref_seq: {n for n in range(2000) if belongs(Place(sidecar=f"edge-{n}"), ring, ref_seq)} for ref_seq in (1, 2)
    }

    assert all(140 < len(found) < 260 for found in reached.values())
    assert reached[1] != reached[2]
    assert all(0 <= bucket(7, f"edge-{n}") < 100 for n in range(1000))


def test_a_ring_without_labels_holds_nobody_by_its_labels() -> None:
    assert not belongs(Place(sidecar="edge-1", labels={"tier": "canary"}), Ring(name="none"), 1)
    assert belongs(Place(sidecar="edge-1", site="tokyo"), Ring(name="site", labels={"site": "tokyo"}), 1)
    assert not belongs(Place(sidecar="edge-1"), Ring(name="site", labels={"site": "tokyo"}), 1)


def test_another_plan_under_a_known_number_is_not_believed() -> None:
    narrow = Staged(ref_seq=1, rings=(Ring(name="a", sidecars=("edge-1",)), Ring(name="all", percent=100)))
    wide = Staged(ref_seq=1, rings=(Ring(name="all", percent=100),))

    assert not Rollouts().begun(narrow).begun(wide).active(1, Place(sidecar="edge-2"))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"ref_seq":1,"rings":[]}',
        b'{"ref_seq":0,"rings":[{"name":"all","percent":100}]}',
        b'{"ref_seq":1,"rings":[{"name":"a","percent":50}]}',
        b'{"ref_seq":1,"rings":[{"name":"a","percent":101}]}',
        b'{"ref_seq":1,"rings":[{"name":"a"},{"name":"a","percent":100}]}',
        b'{"ref_seq":1,"rings":[{"name":"all","percent":100}],"mode":"off"}',
        b'{"ref_seq":1,"rings":[{"name":"all","percent":100,"sites":["x"]}]}',
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_staged(raw)
