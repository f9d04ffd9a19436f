"""What a decision depended on, and a cache that never holds more than it may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.core.decision_cache import PROJECTED, DecisionCache, projection


@pytest.mark.parametrize(
    ("reads", "members", "client_ip"),
    [
        ((), set(), False),
        (("/subject/id", "/device"), set(), False),
        (("/request/path",), {"path"}, False),
        (("/request/params/case_id",), {"params"}, False),
        (("/request/client_ip",), {"client_ip"}, True),
        (("/request/channel", "/request/purpose"), set(), False),
        (("/request",), set(PROJECTED), True),
        (("",), set(PROJECTED), True),
        (("/",), set(PROJECTED), True),
    ],
)
def test_what_a_bundle_reads_is_part_of_the_key(reads: tuple[str, ...], members: set[str], client_ip: bool) -> None:
    wanted = projection(reads)

    assert (wanted.cacheable, wanted.members, wanted.client_ip) == (True, members, client_ip)


def test_a_bundle_that_does_not_say_what_it_reads_is_not_cached() -> None:
    wanted = projection(None)

    assert (wanted.cacheable, wanted.members) == (False, set(PROJECTED))


@given(st.integers(1, 20), st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200))
def test_what_is_found_is_what_was_put_last_and_the_cache_stays_within_its_size(
    entries: int, steps: list[tuple[bool, int]]
) -> None:
    cache: DecisionCache[int] = DecisionCache(entries)
    put: dict[int, int] = {}
    for number, (is_put, key) in enumerate(steps):
        if is_put:
            cache.put(key, number)
            put[key] = number
        else:
            assert cache.get(key) in (None, put.get(key))
        assert len(cache) <= max(2, entries)


def test_what_is_used_lives_on_and_what_is_not_is_dropped() -> None:
    cache: DecisionCache[int] = DecisionCache(10)
    cache.put("hot", 1)
    for number in range(100):
        cache.put(number, number)
        assert cache.get("hot") == 1

    assert cache.get(0) is None


def test_nothing_is_left_after_clear() -> None:
    cache: DecisionCache[int] = DecisionCache(4)
    for number in range(4):
        cache.put(number, number)

    cache.clear()

    assert (len(cache), cache.get(3)) == (0, None)
