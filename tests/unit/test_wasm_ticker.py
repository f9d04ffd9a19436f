from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from zt_engine.adapters.wasm_ticker import BRIEF_BEATS, TICK_MS, EpochTicker, ticks
from zt_engine.config.sidecar import Policy


def test_a_deadline_is_at_least_the_budget_and_at_most_one_tick_more() -> None:
    for budget in range(1, 100):
        # The first tick may come at once, so n ticks are at least n - 1 periods.
        assert budget <= (ticks(budget) - 1) * TICK_MS < budget + TICK_MS


def test_the_ticker_beats_from_the_first_holder_to_the_last() -> None:
    beat = threading.Event()
    ticker = EpochTicker(beat.set, period_ms=1)
    assert not ticker.running

    ticker.acquire()
    ticker.acquire()
    ticker.release()

    assert ticker.running
    assert beat.wait(10)
    ticker.release()
    assert not ticker.running


def test_a_stopped_ticker_starts_again() -> None:
    beat = threading.Event()
    ticker = EpochTicker(beat.set, period_ms=1)
    ticker.acquire()
    ticker.release()

    ticker.acquire()

    beat.clear()
    assert beat.wait(10)
    ticker.release()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def beaten(ticker: EpochTicker, before: int) -> bool:
    return ticker.beats > before


def test_a_ticker_that_nobody_needs_goes_to_sleep_and_wakes_at_a_touch() -> None:
    ticker = EpochTicker(lambda: None, period_ms=1, idle_beats=5)
    ticker.acquire()
    until(lambda: ticker.asleep)
    slept = ticker.beats

    ticker.touch()

    until(lambda: ticker.beats > slept)
    until(lambda: ticker.asleep)
    ticker.release()
    until(lambda: not ticker.asleep)


def test_whoever_touches_it_has_beats_however_often_it_falls_asleep() -> None:
    """Touched at every moment around falling asleep; a touch that is not seen would leave a policy without deadline."""
    ticker = EpochTicker(lambda: None, period_ms=0, idle_beats=1)
    ticker.acquire()
    for _ in range(2000):
        ticker.touch()
        before = ticker.beats

        until(partial(beaten, ticker, before))
    ticker.release()


def test_an_evaluation_keeps_it_awake_for_a_short_while_and_no_longer_deadline_is_cut_short_by_one() -> None:
    ticker = EpochTicker(lambda: None, period_ms=1, idle_beats=60, brief_beats=5)
    ticker.acquire()
    until(lambda: ticker.asleep)
    slept = ticker.beats

    ticker.evaluates = True
    ticker.wake()
    until(lambda: ticker.beats > slept)
    until(lambda: ticker.asleep)
    brief = ticker.beats - slept

    ticker.touch()
    ticker.evaluates = True
    until(lambda: ticker.beats > slept + brief)
    ticker.evaluates = True
    until(lambda: ticker.asleep)
    ticker.release()

    assert 5 <= brief < 60
    assert ticker.beats - slept - brief >= 60


def test_whoever_evaluates_has_beats_however_often_it_falls_asleep() -> None:
    ticker = EpochTicker(lambda: None, period_ms=0, idle_beats=1, brief_beats=1)
    ticker.acquire()
    for _ in range(2000):
        ticker.evaluates = True
        if ticker.asleep:
            ticker.wake()
        before = ticker.beats

        until(partial(beaten, ticker, before))
    ticker.release()


def test_the_longest_budget_of_the_settings_is_a_brief_one() -> None:
    (limit,) = (rule.le for rule in Policy.model_fields["budget_ms"].metadata if hasattr(rule, "le"))

    assert ticks(limit) < BRIEF_BEATS
