from __future__ import annotations

from zt_engine.adapters.wasm_quarantine import Quarantine

START = 1000.0


def failing(times: int, *, every: float = 0.1) -> Quarantine:
    """Return a quarantine of three failures in ten seconds, twenty seconds long, after some failures of `a`."""
    quarantine = Quarantine(failures=3, window_s=10, hold_s=20)
    for number in range(times):
        quarantine.failed("a", now=START + number * every)
    return quarantine


def test_a_healthy_policy_is_never_suspected() -> None:
    quarantine = failing(0)

    assert not quarantine.suspects
    assert not quarantine.refuses("a", now=START)


def test_fewer_failures_than_the_limit_are_let_through() -> None:
    assert not failing(2).refuses("a", now=START + 1)


def test_an_entrypoint_that_keeps_failing_is_held_and_no_other() -> None:
    quarantine = failing(3)

    assert quarantine.refuses("a", now=START + 1)
    assert not quarantine.refuses("b", now=START + 1)


def test_failures_spread_over_more_than_the_window_do_not_hold() -> None:
    assert not failing(3, every=6).refuses("a", now=START + 13)


def test_after_the_hold_one_failure_is_enough_to_be_held_again() -> None:
    quarantine = failing(3)

    assert not quarantine.refuses("a", now=START + 30)
    quarantine.failed("a", now=START + 30)
    assert quarantine.refuses("a", now=START + 31)


def test_after_the_hold_one_answer_clears_the_entrypoint() -> None:
    quarantine = failing(3)
    quarantine.answered("a", now=START + 30)

    assert not quarantine.suspects
    quarantine.failed("a", now=START + 31)
    assert not quarantine.refuses("a", now=START + 32)


def test_an_answer_within_the_window_does_not_wipe_out_recent_failures() -> None:
    quarantine = failing(2)
    quarantine.answered("a", now=START + 1)
    quarantine.failed("a", now=START + 2)

    assert quarantine.refuses("a", now=START + 3)


def test_old_failures_are_forgotten_by_a_later_answer() -> None:
    quarantine = failing(2)
    quarantine.answered("a", now=START + 60)

    assert not quarantine.suspects
