"""Token buckets: what is left comes back with time, memory is bounded, and many addresses are one customer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.control_plane.limits import Rate, RateLimiter, network_of

FREE = Rate(1000, 1000)


def limiter(each: Rate = FREE, together: Rate = FREE, addresses: int = 100) -> RateLimiter:
    return RateLimiter(each=each, together=together, addresses=addresses)


def test_an_address_that_asked_too_often_waits_until_a_token_is_there() -> None:
    rates = limiter(Rate(2, 0.5))
    waits = [rates.admit("192.0.2.1", elapsed=0.0) for _ in range(3)]

    assert waits == [0.0, 0.0, 2.0]
    assert rates.admit("192.0.2.1", elapsed=1.9) > 0
    assert rates.admit("192.0.2.1", elapsed=2.0) == 0


def test_another_address_does_not_wait_with_it() -> None:
    rates = limiter(Rate(1, 0.1))
    rates.admit("192.0.2.1", elapsed=0.0)

    assert rates.admit("192.0.2.1", elapsed=0.0) > 0
    assert rates.admit("192.0.2.2", elapsed=0.0) == 0


def test_all_together_wait_when_there_are_too_many_of_them() -> None:
    rates = limiter(Rate(5, 5), Rate(3, 1))
    admitted = [rates.admit(f"192.0.2.{number}", elapsed=0.0) == 0 for number in range(5)]

    assert admitted == [True, True, True, False, False]


def test_one_that_is_refused_takes_nothing_from_the_others() -> None:
    rates = limiter(Rate(1, 0.001), Rate(3, 0.001))
    for _ in range(50):
        rates.admit("192.0.2.1", elapsed=0.0)

    assert rates.admit("192.0.2.2", elapsed=0.0) == 0


def test_no_more_addresses_are_remembered_than_there_is_room_for() -> None:
    rates = limiter(addresses=10)
    for number in range(1000):
        rates.admit(f"198.51.{number // 256}.{number % 256}", elapsed=0.0)

    assert len(rates) == 10


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("", "*"),
        ("testclient", "*"),
    ],
)
def test_an_address_is_counted_as_the_network_of_one_customer(address: str, network: str) -> None:
    assert network_of(address) == network


@given(st.lists(st.floats(min_value=0, max_value=5), min_size=1, max_size=60))
def test_never_more_than_the_burst_and_what_came_back_is_admitted(steps: list[float]) -> None:
    rates = limiter(Rate(3, 2))
    now = 0.0
    admitted = 0
    for step in steps:
        now += step
        admitted += rates.admit("192.0.2.1", elapsed=now) == 0

    assert admitted <= 3 + 2 * now + 1e-6


@given(st.floats(min_value=-1000, max_value=0))
def test_a_clock_that_goes_back_gives_nothing(back: float) -> None:
    rates = limiter(Rate(1, 1))
    rates.admit("192.0.2.1", elapsed=1000.0)

    assert rates.admit("192.0.2.1", elapsed=1000.0 + back) > 0
