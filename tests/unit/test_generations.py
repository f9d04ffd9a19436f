"""A bounded memory: never another value than was put, never more than its capacity, and what is asked for stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zt_engine.core.generations import Generations


@given(st.integers(1, 12), st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=200))
def test_what_is_found_is_what_was_put_last_and_there_is_never_more_than_the_capacity(
    capacity: int, steps: list[tuple[bool, int]]
) -> None:
    memory: Generations[int, tuple[int, int]] = Generations(capacity)
    last: dict[int, tuple[int, int]] = {}
    for number, (put, key) in enumerate(steps):
        if put:
            last[key] = (key, number)
            memory.put(key, last[key])
            assert memory.get(key) == last[key]
        else:
            assert memory.get(key) in (None, last.get(key))
        assert len(memory) <= max(2, capacity)


@given(st.integers(8, 100), st.lists(st.binary(max_size=20), max_size=100))
def test_sizes_are_bounded_as_well(capacity: int, keys: list[bytes]) -> None:
    memory: Generations[bytes, int] = Generations(capacity, lambda key, _: len(key) + 1)
    for number, key in enumerate(keys):
        memory.put(key, number)

        assert sum(len(kept) + 1 for kept in (*memory._young, *memory._old)) <= capacity
        assert (memory.get(key) is None) == (len(key) + 1 > capacity // 2)


def test_what_is_asked_for_lives_on_while_the_rest_goes() -> None:
    memory: Generations[int, int] = Generations(20)
    for number in range(1000):
        memory.put(number, number)
        assert memory.get(0) == 0

    assert memory.get(500) is None


def test_what_went_is_freed_before_more_goes() -> None:
    memory: Generations[int, int] = Generations(200)
    for number in range(1000):
        memory.put(number, number)

        assert len(memory._gone) <= 100
    assert len(memory._gone) < 100


def test_after_clearing_there_is_nothing() -> None:
    memory: Generations[int, int] = Generations(10)
    for number in range(30):
        memory.put(number, number)
    memory.clear()

    assert (len(memory), memory.get(29)) == (0, None)
