"""The agent in the background, by a clock that the test moves: when it reports, renews, gives way and gives up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.agent.control_plane import Accepted
from device_inventory.agent.device import Outcome
from device_inventory.agent.errors import AgentError, RefusedError, UnreachableError
from device_inventory.agent.loop import FATAL, GLANCE, LOOK_EVERY, Loop
from device_inventory.agent.schedule import LONGEST_PAUSE, back_off, until_next
from device_inventory.agent.state import Held
from tests.fakes.clock import FakeClock
from zt_engine.pages.registry import registry

HELD = Held(device_id="d", certificate="", chain="", x5t="", not_before=0, not_after=1, protection="file")


class Lots:
    """Draws the same lot always: how far between the two."""

    def __init__(self, share: float = 0.0) -> None:
        self.share = share

    def uniform(self, a: float, b: float, /) -> float:
        return a + (b - a) * self.share


class Worker:
    """A device that does what it is told, and says when."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.reports: list[float] = []
        self.renewals: list[float] = []
        self.looks: list[float] = []
        self.due = False
        self.news: tuple[str, ...] = ()
        self.fails: Callable[[], AgentError | None] = lambda: None
        self.renewal_fails: AgentError | None = None
        self.next_in = 0

    def report(self, *, full: bool = False) -> Outcome:
        self.reports.append(self._clock.elapsed())
        error = self.fails()
        if error is not None:
            raise error
        self.news = ()
        answer = Accepted(accepted=True, seq=len(self.reports), status="active", next_report_in=self.next_in)
        return Outcome(answer=answer, full=full, told=1)

    def changed(self) -> tuple[str, ...]:
        self.looks.append(self._clock.elapsed())
        return self.news

    def renewal_due(self) -> bool:
        return self.due

    def renew(self) -> Held:
        self.renewals.append(self._clock.elapsed())
        if self.renewal_fails is not None:
            raise self.renewal_fails
        self.due = False
        return HELD


class Bench:
    """Runs a loop for so many seconds of a clock that nobody waits for."""

    def __init__(self, *, share: float = 0.0) -> None:
        self.clock = FakeClock()
        self.start = self.clock.elapsed()
        self.worker = Worker(self.clock)
        self.events: list[tuple[str, dict]] = []
        self.waits: list[float] = []
        self.at: dict[float, Callable[[], None]] = {}
        self._share = share

    def run(self, seconds: float) -> Bench:
        end = self.start + seconds

        def wait(pause: float) -> bool:
            self.waits.append(pause)
            self.clock.advance(max(pause, 0.001))
            for moment in sorted(self.at):
                if self.clock.elapsed() - self.start >= moment:
                    self.at.pop(moment)()
            return self.clock.elapsed() >= end

        Loop(
            self.worker,
            locked=contextlib.nullcontext,
            clock=self.clock,
            lots=Lots(self._share),
            wait=wait,
            tell=lambda event, /, **facts: self.events.append((event, facts)),
        ).run()
        return self

    def since(self, moments: list[float]) -> list[float]:
        return [round(moment - self.start) for moment in moments]


@pytest.mark.parametrize(("share", "moments"), [(0.0, [0, 720, 1440]), (1.0, [0, 900, 1800])])
def test_it_reports_at_once_and_then_every_12_to_15_minutes(share: float, moments: list[int]) -> None:
    bench = Bench(share=share).run(2000)

    assert bench.since(bench.worker.reports) == moments


def test_it_comes_when_the_server_asked_it_to_and_never_before() -> None:
    bench = Bench()
    bench.worker.next_in = 610
    bench.run(1000)

    assert bench.since(bench.worker.reports) == [0, 610]


def test_after_a_change_it_reports_soon() -> None:
    bench = Bench()

    def mended() -> None:
        bench.worker.news = ("disk.encrypted",)

    bench.at[200] = mended
    bench.run(700)

    assert len(bench.worker.reports) == 2
    assert 200 <= bench.since(bench.worker.reports)[1] <= 200 + LOOK_EVERY + GLANCE


def test_a_value_that_never_rests_is_reported_once_a_minute_at_most() -> None:
    bench = Bench()
    worker = bench.worker
    worker.changed = lambda: ("disk.encrypted",)
    bench.run(600)

    pauses = [later - earlier for earlier, later in pairwise(worker.reports)]
    assert min(pauses) >= LOOK_EVERY


def test_it_never_waits_longer_than_half_a_minute_so_that_it_notices_a_sleep() -> None:
    assert max(Bench().run(3000).waits) <= GLANCE


def test_a_machine_that_wakes_up_reports_at_once() -> None:
    bench = Bench()

    def asleep() -> None:
        bench.clock.advance(8 * 3600)

    bench.at[300] = asleep
    bench.run(8 * 3600 + 400)

    assert 8 * 3600 + 300 <= bench.since(bench.worker.reports)[1] <= 8 * 3600 + 300 + 2 * GLANCE


def test_while_the_server_is_away_it_waits_longer_each_time_and_up_to_a_bound() -> None:
    bench = Bench(share=1.0)
    bench.worker.fails = lambda: UnreachableError("AGENT_SERVER_UNREACHABLE")
    bench.worker.changed = lambda: ("disk.encrypted",)
    bench.run(6000)

    moments = bench.worker.reports
    pauses = [round(later - earlier) for earlier, later in pairwise(moments)]
    assert pauses[:7] == [15, 30, 60, 120, 240, 480, 900]
    assert max(pauses) <= LONGEST_PAUSE + 1


def test_once_the_server_is_back_the_waiting_starts_over() -> None:
    bench = Bench(share=1.0)
    answers = [UnreachableError("AGENT_SERVER_UNREACHABLE")] * 3 + [None] + [UnreachableError("AGENT_SERVER_BUSY")] * 9
    bench.worker.fails = lambda: answers.pop(0)
    bench.run(1300)

    assert bench.since(bench.worker.reports)[:6] == [0, 15, 45, 105, 1005, 1020]


def test_it_does_not_come_back_before_the_server_said() -> None:
    bench = Bench()
    bench.worker.fails = lambda: UnreachableError("AGENT_SERVER_BUSY", retry_after=600)
    bench.run(1000)

    assert bench.since(bench.worker.reports) == [0, 600]


def test_a_refusal_is_told_with_its_remedy_and_tried_again_within_the_hour() -> None:
    bench = Bench()
    bench.worker.fails = lambda: RefusedError("REPORT_STATUS", "no", status=409, hint="call us")
    bench.run(3000)

    assert bench.since(bench.worker.reports) == [0, 2880]
    assert bench.events[0][1]["remedy"] == "call us"


@pytest.mark.parametrize("code", sorted(FATAL))
def test_what_only_a_person_can_mend_ends_it(code: str) -> None:
    bench = Bench()
    bench.worker.fails = lambda: AgentError(code)

    with pytest.raises(AgentError):
        bench.run(100)
    assert registry()[code].hint("en")


def test_a_certificate_is_renewed_before_the_report() -> None:
    bench = Bench()
    bench.worker.due = True
    bench.run(10)

    assert len(bench.worker.renewals) == len(bench.worker.reports) == 1
    assert [event for event, _ in bench.events] == ["agent.certificate_renewed", "agent.report_accepted"]


def test_a_refused_renewal_does_not_keep_the_report_from_being_made() -> None:
    bench = Bench()
    bench.worker.due = True
    bench.worker.renewal_fails = RefusedError("RENEWAL_REFUSED", "no", status=409)
    bench.run(10)

    assert [event for event, _ in bench.events] == ["agent.renewal_refused", "agent.report_accepted"]


def test_a_renewal_that_does_not_arrive_is_tried_again_soon() -> None:
    bench = Bench(share=1.0)
    bench.worker.due = True
    bench.worker.renewal_fails = UnreachableError("AGENT_SERVER_UNREACHABLE")
    bench.run(40)

    assert bench.since(bench.worker.renewals) == [0, 15]


@given(st.integers(1, 10_000), st.floats(0, 1), st.one_of(st.none(), st.floats(0, 3600)))
def test_a_pause_is_never_shorter_than_asked_nor_without_end(
    failures: int, share: float, retry_after: float | None
) -> None:
    pause = back_off(Lots(share), failures, retry_after)

    assert pause >= (retry_after or 0)
    assert 7.5 <= pause <= max(LONGEST_PAUSE, (retry_after or 0) * 1.1)


@given(st.integers(-(2**63), 2**63), st.floats(0, 1))
def test_no_answer_of_a_server_silences_an_agent_or_makes_it_rush(asked: int, share: float) -> None:
    assert 10 <= until_next(Lots(share), asked) <= 86_420
