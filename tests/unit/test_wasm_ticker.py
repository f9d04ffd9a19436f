from __future__ import annotations

import threading

from zt_engine.adapters.wasm_ticker import TICK_MS, EpochTicker, ticks


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
