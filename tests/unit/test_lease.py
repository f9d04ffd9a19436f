"""How long what was heard may be decided by: measured by a clock nobody sets, and ended by nothing but time."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tests.world import NOW
from zt_engine.core.lease import Lease, Reading, Staleness

C0, C1, C2, C3 = 0, 100, 200, 300


def heard(at: float = NOW, *, wall: float = NOW, elapsed: float = 1000.0) -> Lease:
    """A lease of a sidecar that has just been told the time and a watermark."""
    lease = Lease(Staleness())
    lease.confirm(NOW, asked=elapsed, reading=Reading(wall, elapsed))
    lease.renew(at, Reading(wall, elapsed))
    return lease


def live(lease: Lease, rank: int, elapsed: float) -> bool:
    return elapsed < lease.ends[rank]


def test_nothing_above_c0_is_decided_before_the_first_watermark() -> None:
    lease = Lease(Staleness())
    lease.confirm(NOW, asked=1000, reading=Reading(NOW, 1000))

    assert [live(lease, rank, 1000) for rank in (C0, 99, C1, C2, C3, 900)] == [True, True, False, False, False, False]


def test_each_label_has_its_own_end() -> None:
    lease = heard()

    assert [lease.ends[rank] - 1000 for rank in (C1, C2, 250, C3, 400, 900)] == [86_400, 60, 60, 10, 10, 10]
    assert lease.ends[C0] == math.inf


def test_an_old_watermark_gives_what_is_left_of_its_time() -> None:
    lease = heard(NOW - 30)

    assert (lease.ends[C2] - 1000, lease.ends[C3] - 1000) == (30, -20)


def test_a_watermark_from_the_future_counts_as_issued_now() -> None:
    assert heard(NOW + 3600).ends[C2] - 1000 == 60


def test_a_suspended_machine_finds_its_lease_ended() -> None:
    lease = heard()

    # The wall clock was set back to hide an hour of sleep; the clock that counts suspension was not.
    lease.observe(Reading(NOW + 1, 1000 + 3600))

    assert not live(lease, C2, 1000 + 3600)
    assert live(lease, C1, 1000 + 3600)


def test_a_clock_that_is_more_than_a_minute_off_decides_nothing_secret() -> None:
    assert live(heard(wall=NOW - 61), C2, 1000)
    assert not live(heard(wall=NOW - 61), C3, 1000)
    assert not live(heard(wall=NOW + 61), C3, 1000)
    assert live(heard(wall=NOW + 59), C3, 1000)


def test_a_clock_that_goes_wrong_later_is_noticed() -> None:
    lease = heard()

    lease.observe(Reading(NOW + 1 - 600, 1001))

    assert not live(lease, C3, 1001)
    assert live(lease, C2, 1001)
    lease.observe(Reading(NOW + 2, 1002))
    assert live(lease, C3, 1002)


def test_a_replayed_watermark_under_a_clock_set_back_is_not_fresh() -> None:
    lease = Lease(Staleness())
    yesterday = NOW - 86_400
    lease.renew(yesterday, Reading(yesterday + 1, 1000))

    assert not live(lease, C2, 1000)  # nobody confirmed that it is yesterday

    lease.confirm(NOW, asked=1000, reading=Reading(yesterday + 1, 1000))
    assert not live(lease, C1, 1000)
    assert not live(lease, C2, 1000)


def test_until_the_time_is_confirmed_the_host_s_clock_is_believed_up_to_c1_and_not_when_it_is_set_back() -> None:
    lease = Lease(Staleness())
    lease.renew(NOW, Reading(NOW + 10, 1000))

    assert live(lease, C1, 1000)
    lease.observe(Reading(NOW - 10_000, 1001))
    assert lease.ends[C1] - 1000 == 86_400 - 10


def test_an_answer_that_took_too_long_or_came_before_its_question_says_nothing() -> None:
    lease = Lease(Staleness())

    assert not lease.confirm(NOW, asked=1000, reading=Reading(NOW, 1011))
    assert not lease.confirm(NOW, asked=1001, reading=Reading(NOW, 1000))
    assert lease.offset is None


def test_a_delayed_answer_only_ends_leases_earlier() -> None:
    prompt, delayed = heard(), Lease(Staleness())
    delayed.confirm(NOW, asked=1000, reading=Reading(NOW + 5, 1005))
    delayed.renew(NOW, Reading(NOW + 5, 1005))

    assert delayed.ends[C2] <= prompt.ends[C2]


def test_what_is_known_of_the_time_outlives_the_process_in_the_same_boot() -> None:
    before = heard()
    assert before.anchor is not None

    after = Lease(Staleness())
    after.anchored(before.anchor, Reading(NOW + 20, 1020))
    after.renew(NOW, Reading(NOW + 20, 1020))

    assert after.ends[C2] == before.ends[C2]


def test_a_site_may_allow_c2_hours_and_gets_no_more_for_c3() -> None:
    lease = Lease(Staleness(c2=4 * 3600))
    lease.confirm(NOW, asked=0, reading=Reading(NOW, 0))
    lease.renew(NOW, Reading(NOW, 0))

    assert (lease.ends[C2], lease.ends[C3]) == (4 * 3600, 10)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("renew"), st.integers(-100_000, 100_000)),
            st.tuples(st.just("observe"), st.integers(-100_000, 100_000)),
            st.tuples(st.just("confirm"), st.integers(0, 0)),
            st.tuples(st.just("pass"), st.integers(0, 1000)),
        ),
        max_size=20,
    )
)
def test_whatever_the_host_s_clock_says_no_lease_outlives_the_newest_watermark(steps: list[tuple[str, int]]) -> None:
    """True time is `NOW - 1000 + elapsed`; watermarks are issued at or before it; the wall clock says anything."""
    lease, elapsed, wall, newest = Lease(Staleness()), 1000.0, float(NOW), -math.inf
    for step, number in steps:
        true = NOW - 1000 + elapsed
        match step:
            case "renew":
                issued = true - abs(number)
                newest = max(newest, issued)
                lease.renew(issued, Reading(wall, elapsed))
            case "observe":
                wall = true + number
                lease.observe(Reading(wall, elapsed))
            case "confirm":
                lease.confirm(true, asked=elapsed, reading=Reading(wall, elapsed))
            case "pass":
                elapsed += number
                wall += number
        true = NOW - 1000 + elapsed
        for rank, longest in ((C2, 60), (C3, 10)):
            assert not live(lease, rank, elapsed) or true < newest + longest + 1e-6
