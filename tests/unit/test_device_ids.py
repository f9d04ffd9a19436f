"""Ids that were cut short stand for one thing or for none; names never do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.cli.device_ids import whole
from zt_engine.core.errors import InputError

ONE = "0b9f3c1e-1111-4abc-8def-000000000001"
TWO = "0b9f3c1e-2222-4abc-8def-000000000002"
HELD = [{"id": ONE}, {"id": TWO}, {"id": "abcd"}, {"id": "abcdef"}]


def never() -> list[dict[str, Any]]:
    pytest.fail("nobody has to be asked")


def test_the_beginning_that_only_one_id_has_stands_for_it() -> None:
    assert whole("0b9f3c1e-1", lambda: HELD, what="device") == ONE


def test_of_two_ids_that_begin_alike_both_are_named() -> None:
    with pytest.raises(InputError) as refused:
        whole("0b9f", lambda: HELD, what="device")

    assert refused.value.code == "ID_AMBIGUOUS"
    assert ONE in refused.value.message
    assert TWO in refused.value.message


@pytest.mark.parametrize("given", [ONE, "0b9", "laptop-1", "", "-bad", "0B9F"])
def test_a_whole_id_a_name_and_too_short_a_beginning_are_taken_as_they_are(given: str) -> None:
    assert whole(given, never, what="device") == given


@pytest.mark.parametrize("given", ["abcd", "abcde", "ffff"])
def test_a_name_is_never_cut_short(given: str) -> None:
    assert whole(given, lambda: HELD, what="device") == given


@given(st.lists(st.uuids().map(str), max_size=6), st.integers(4, 35), st.uuids().map(str))
def test_what_comes_back_is_what_was_given_or_the_only_one_that_begins_so(ids: list[str], cut: int, one: str) -> None:
    typed = one[:cut]
    held = {*ids, one}
    beginning = {id_ for id_ in held if id_.startswith(typed)}
    try:
        found = whole(typed, lambda: [{"id": id_} for id_ in held], what="device")
    except InputError:
        assert len(beginning) > 1
    else:
        assert beginning == {found}
