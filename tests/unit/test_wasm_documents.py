from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.adapters.wasm_documents import (
    MAX_DEPTH,
    MAX_DOCUMENT,
    check_data,
    check_document,
    read_answer,
)
from zt_engine.core.errors import BundleError, UnavailableError


def accepted(raw: bytes) -> bool:
    """Whether a document passes; any other error than ENGINE_INPUT fails the test."""
    try:
        check_document(raw)
    except UnavailableError as error:
        assert error.code == "ENGINE_INPUT"
        return False
    return True


def depth(value: object) -> int:
    """Return how deep lists and objects nest, the slow and obvious way."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


_brackets = st.recursive(
    st.text("[]{}\\\"'ü", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}\\"', max_size=4), inner, max_size=3),
)


@given(inner=_brackets, levels=st.integers(0, 80), square=st.booleans())
def test_a_document_is_refused_exactly_when_it_is_too_deep(inner: object, levels: int, square: bool) -> None:
    value = inner
    for _ in range(levels):
        value = [value, "]]"] if square else {"{[": value}

    raw = json.dumps(value, ensure_ascii=False).encode()

    assert accepted(raw) == (depth(value) <= MAX_DEPTH)


@given(st.binary(max_size=64))
def test_random_bytes_are_accepted_only_if_they_are_json(raw: bytes) -> None:
    if accepted(raw):
        json.loads(raw)


def test_the_size_cap_counts_bytes() -> None:
    assert accepted(b'"' + b"a" * (MAX_DOCUMENT - 2) + b'"')
    assert not accepted(b'"' + b"a" * (MAX_DOCUMENT - 1) + b'"')


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (b'[{"result":{"allow":true}}]', b'{"allow":true}'),
        (b'[{"result":false}]', b"false"),
        (b'[{"result":[{"result":1}]}]', b'[{"result":1}]'),
    ],
)
def test_the_value_of_the_only_result_is_returned(text: bytes, result: bytes) -> None:
    assert read_answer(text) == result


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"[]", "ENGINE_UNDEFINED"),
        (b"{}", "ENGINE_MALFORMED"),
        (b"", "ENGINE_MALFORMED"),
        (b"null", "ENGINE_MALFORMED"),
        (b"[{}]", "ENGINE_MALFORMED"),
        (b'[{"result":1}', "ENGINE_MALFORMED"),
        (b'[{"result":1},{"result":2}]', "ENGINE_MALFORMED"),
        (b'[{"result":1,"x":2}]', "ENGINE_MALFORMED"),
        (b'[{"x":2}]', "ENGINE_MALFORMED"),
        (b'[{"result":1}]x', "ENGINE_MALFORMED"),
        (b"[" * 100_000, "ENGINE_MALFORMED"),
    ],
)
def test_anything_but_exactly_one_result_is_refused(text: bytes, code: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        read_answer(text)

    assert caught.value.code == code


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b"{", b'{"a":1}x', b"{" * 100_000])
def test_data_that_is_not_one_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BundleError) as caught:
        check_data(raw)

    assert caught.value.code == "WASM_DATA_INVALID"
