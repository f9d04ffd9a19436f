"""The text form of Rego values: what is written is read back, exactly, and order and equality are Rego's."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.adapters.rego_values import (
    MAX_DEPTH,
    ExactNumber,
    Key,
    RegoSet,
    RegoValueError,
    Value,
    dumps,
    equal,
    key_of,
    loads,
    order,
    type_name,
)

_TEXT = st.text(max_size=8) | st.binary(max_size=6).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
_NUMBERS = st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=3).map(
    lambda number: ExactNumber(str(number) if number else "0.000")
)
SCALARS = st.none() | st.booleans() | _NUMBERS | _TEXT


def _containers(inner: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    return (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(RegoSet)
        | st.lists(st.tuples(_TEXT | inner, inner), max_size=4).map(lambda pairs: {key_of(k): v for k, v in pairs})
    )


VALUES: st.SearchStrategy[Value] = st.recursive(SCALARS, _containers, max_leaves=12)


@given(VALUES)
def test_what_is_written_is_read_back_equal_and_written_the_same_again(value: Value) -> None:
    text = dumps(value)

    assert equal(loads(text), value)
    assert dumps(loads(text)) == text


@given(VALUES)
def test_blanks_between_tokens_change_nothing(value: Value) -> None:
    text = dumps(value)
    spaced = b" " + text + b"\n"

    assert dumps(loads(spaced)) == text


@pytest.mark.parametrize(
    "text",
    [
        b"1", b"-0", b"12345678901234567890123456789", b"0.1", b"1.50", b"1e3", b"1E-7", b"1e400", b"-1.0e-400",
        b"0.1000000000000000055511151231257827021181583404541015625", b'"\\u0000\\n"', b"set()", b"{1,2}",
        b'{"a":{1:set()},[1]:{}}', b"[]", b"{}", b"null", b'"\xff\xfe"', b'"\xe6\x97\xa5"',
    ],
)  # fmt: skip
def test_texts_come_through_byte_for_byte(text: bytes) -> None:
    assert dumps(loads(text)) == (b"0" if text == b"-0" else text)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[1,]", b"[1 2]", b"{1:}", b'{"a" 1}', b"{1,2", b"set", b"set(1)", b"nul", b"NaN", b"Infinity",
        b"01", b"1.", b"+1", b"'a'", b'"a', b'"\\x"', b"1 2", b"{1:2,3}", b"{1,2:3}", b"[1}", b"\xff", b"[" * 100_000,
        b"{1," * 100 + b"1" + b"}" * 100,
    ],
)  # fmt: skip
def test_what_is_not_exactly_one_value_is_refused(text: bytes) -> None:
    with pytest.raises(RegoValueError):
        loads(text)


def test_nesting_beyond_the_cap_is_neither_written_nor_read() -> None:
    value: Value = 1
    for _ in range(MAX_DEPTH + 1):
        value = [value]

    with pytest.raises(RegoValueError):
        dumps(value)
    with pytest.raises(RegoValueError):
        loads(b"{" * (MAX_DEPTH + 2) + b"1" + b"}" * (MAX_DEPTH + 2))


def test_a_document_that_contains_itself_many_times_is_not_written_out() -> None:
    value: Value = [1]
    for _ in range(40):
        value = [value, value]

    with pytest.raises(RegoValueError):
        dumps(value)


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_a_float_that_is_no_number_is_not_written(number: float) -> None:
    with pytest.raises(RegoValueError):
        dumps(number)


def test_a_lone_surrogate_is_not_written() -> None:
    with pytest.raises(RegoValueError):
        dumps("\ud800")


def test_numbers_are_equal_by_value_and_never_to_booleans() -> None:
    assert equal(1, ExactNumber("1.0"))
    assert equal(ExactNumber("1e2"), 100)
    assert not equal(1, True)
    assert not equal(ExactNumber("1e400"), ExactNumber("1e401"))
    assert not equal(ExactNumber("0.1"), ExactNumber("0.10000000000000000001"))


def test_a_set_is_distinct_by_value_and_iterates_in_regos_order() -> None:
    items = RegoSet(
        [{"a": 1}, "b", [1], None, 10, True, ExactNumber("2.5"), "a", RegoSet(), False, 10, ExactNumber("10.0")]
    )

    assert [type_name(item) for item in items] == [
        *("null", "boolean", "boolean", "number", "number", "string", "string", "array", "object", "set"),
    ]
    assert dumps(items) == b'{null,false,true,2.5,10.0,"a","b",[1],{"a":1},set()}'


@given(st.lists(VALUES, max_size=5))
def test_order_is_total_and_agrees_with_equality(values: list[Value]) -> None:
    ordered = sorted(values, key=order)

    assert [order(value) for value in ordered] == sorted(order(value) for value in values)
    assert len(RegoSet(values)) == len({order(value) for value in values})


def test_keys_that_are_no_strings_are_found_by_value() -> None:
    value = loads(b'{1:"a",[2]:"b"}')

    assert isinstance(value, dict)
    assert value[Key(ExactNumber("1.0"))] == "a"
    assert value[Key([ExactNumber("2.0")])] == "b"
    assert Key(True) not in value


def test_an_exact_number_is_a_float_that_remembers_its_text() -> None:
    number = loads(b"1.50")

    assert number == 1.5
    assert isinstance(number, ExactNumber)
    assert number.text == "1.50"
    assert number.exact() == Decimal("1.5")
