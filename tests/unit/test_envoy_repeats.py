"""Questions over gRPC that were read before: what has the same key says the same, and nothing else has it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_envoy_grpc_messages import question
from zt_engine.core.errors import InputError
from zt_engine.sidecar.grpc import wire
from zt_engine.sidecar.grpc.check import Check, read_check
from zt_engine.sidecar.hooks.envoy_repeats import MARK, key_of, says_id

ID = (b"x-request-id", b"0000031f-1111-4111-8111-111111111111")


def asked(number: bytes = ID[1], *more: tuple[bytes, bytes], **fields: Any) -> bytes:
    return question(headers=[(b"accept", b"*/*"), (ID[0], number), (b"authorization", b"Bearer a"), *more], **fields)


def with_field(number: int, content: bytes) -> bytes:
    """A question with one more field behind the others."""
    ((_, attributes),) = wire.fields(asked())
    assert isinstance(attributes, bytes)
    return wire.data(1, attributes + wire.data(number, content))


def spelled(*maps: bytes, like: bytes = b"", path: bytes = b"") -> bytes:
    """A question whose headers are these bytes."""
    ((_, attributes),) = wire.fields(like or asked())
    assert isinstance(attributes, bytes)
    http = [(key, value) for key, value in wire.fields(wire.last(wire.last(attributes, 4), 2)) if key != 13]
    told = [(key, path if key == 4 and path else value) for key, value in http]
    request = wire.data(2, b"".join(map(_field, [*told, *((13, lines) for lines in maps)])))
    parts = [(key, request if key == 4 else value) for key, value in wire.fields(attributes)]
    return wire.data(1, b"".join(map(_field, parts)))


def _field(field: wire.Field) -> bytes:
    number, value = field
    return wire.number(number, value) if isinstance(value, int) else wire.data(number, value)


def marked(value: bytes) -> bytes:
    """What begins as the line of the id does."""
    return MARK + bytes((len(value),)) + value


PLAIN_ID = wire.data(1, wire.data(1, ID[0]) + wire.data(2, b"id-1"))
"""A line of an id in a form that Envoy does not write."""


def meant(message: bytes) -> tuple[Any, ...]:
    """Everything of a question that a decision may depend on."""
    found: Check = read_check(message)
    headers = tuple(line for line in found.headers if line[0] != b"x-request-id")
    at = [number for number, line in enumerate(found.headers) if line[0] == b"x-request-id"]
    said = found.address, found.certificate, found.port, found.method, found.path, found.host
    return (*said, headers, at, found.merged)


def test_the_same_question_with_another_id_has_the_same_key_and_its_own_id() -> None:
    one, other = key_of(asked(b"a-1")), key_of(asked(b"b-2"))

    assert one is not None and other is not None
    assert one[1] == b"a-1" and other[1] == b"b-2"
    assert one[0] == other[0]


@pytest.mark.parametrize(
    "fields",
    [{"address": b"203.0.113.8"}, {"port": 80}, {"method": b"POST"}, {"path": b"/cases/2"}, {"host": b"other.example"},
     {"certificate": b"x"}],
)  # fmt: skip
def test_another_question_has_another_key(fields: dict[str, Any]) -> None:
    one, other = key_of(asked()), key_of(asked(**fields))

    assert one is not None and other is not None and one[0] != other[0]


@pytest.mark.parametrize("size", [0, 127, 128, 300, 20_000])
def test_fields_of_one_content_and_different_numbers_have_different_keys(size: int) -> None:
    one, other = (key_of(with_field(number, b"x" * size)) for number in (10, 11))

    assert one is not None and other is not None and one[0] != other[0]


def test_a_field_whose_tag_takes_two_bytes_is_read() -> None:
    assert key_of(with_field(15, b"x")) is not None
    assert key_of(with_field(18, b"x")) is None


@pytest.mark.parametrize("number", [b"", b"a b", b"x" * 129, b"\n"])
def test_an_id_that_is_none_is_read_and_refused(number: bytes) -> None:
    assert key_of(asked(number)) is None


def test_a_second_id_or_what_looks_like_one_is_read() -> None:
    assert key_of(asked(ID[1], ID)) is None
    assert key_of(asked(ID[1], (b"x", b"\x0a\x0cx-request-id\x1a\x01a"))) is None


def test_the_id_of_a_question_is_all_that_its_line_says() -> None:
    known = key_of(asked())

    assert known is not None and says_id(asked(), known[1])
    assert says_id(spelled(wire.data(1, marked(b"a-1"))), b"a-1")


@pytest.mark.parametrize(
    "message",
    [
        spelled(wire.data(1, marked(b"https") + wire.data(1, b"x-forwarded-proto")) + PLAIN_ID),
        spelled(wire.data(1, marked(b"https") + wire.data(3, b"other"))),
        spelled(wire.data(1, wire.data(1, b"accept-language") + wire.data(3, marked(b"ja"))) + PLAIN_ID),
        spelled(PLAIN_ID, path=b"/" + marked(b"a")),
        spelled(wire.data(1, marked(b"a")), PLAIN_ID),
    ],
)
def test_what_begins_as_the_line_of_an_id_and_is_none_says_no_id(message: bytes) -> None:
    known = key_of(message)

    assert known is None or not says_id(message, known[1])


def test_an_id_of_another_length_than_its_line_has_another_key() -> None:
    whole = spelled(wire.data(1, marked(b"abcde")))
    ((_, attributes),) = wire.fields(whole)
    assert isinstance(attributes, bytes)
    http = wire.last(wire.last(attributes, 4), 2).replace(b"\x05abcde", b"\x04abcd")
    parts = [(key, wire.data(2, http) if key == 4 else value) for key, value in wire.fields(attributes)]
    one, other = key_of(whole), key_of(wire.data(1, b"".join(map(_field, parts))))

    assert one is not None and (other is None or other[0] != one[0])


@given(st.data())
@settings(max_examples=400)
def test_two_messages_with_one_key_mean_the_same(data: st.DataObject) -> None:
    first = asked()
    second = bytearray(first)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(second) - 1))
        second[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    one, other = key_of(first), key_of(bytes(second))

    assert one is not None
    if other is not None and other[0] == one[0]:
        assert meant(bytes(second)) == meant(first)
        assert dict(read_check(bytes(second)).headers)[b"x-request-id"] == other[1]


@given(st.lists(st.sampled_from([1, 2, 3, 4, 5, 10, 11, 13]), max_size=4), st.data())
@settings(max_examples=300)
def test_fields_beside_those_that_are_cut_are_told_apart_wherever_they_stand(
    numbers: list[int], data: st.DataObject
) -> None:
    """The same bytes are another thing inside the source, between source and request, and behind them."""
    content = st.sampled_from([b"", b"x", with_field(10, b"y"), b"\x12\x01x", b"\x22\x00"])
    more = [wire.data(number, data.draw(content)) for number in numbers]
    both = [_arranged(more, *data.draw(st.tuples(*[st.integers(0, len(more))] * 2).map(sorted))) for _ in range(2)]
    one, other = (key_of(message) for message in both)

    assert one is None or other is None or (one[0] == other[0]) == (both[0] == both[1])
    for known, message in zip((one, other), both, strict=True):
        with suppress(InputError):  # what cannot be read leaves no memory
            assert known is None or dict(read_check(message).headers)[b"x-request-id"] == known[1]


def _arranged(more: list[bytes], inside: int, before: int) -> bytes:
    ((_, attributes),) = wire.fields(asked())
    assert isinstance(attributes, bytes)
    found = [(number, content) for number, content in wire.fields(attributes) if isinstance(content, bytes)]
    parts = [(number, content + b"".join(more[:inside]) if number == 1 else content) for number, content in found]
    written = [wire.data(number, content) for number, content in parts]
    return wire.data(1, b"".join([written[0], *more[inside:before], *written[1:], *more[before:]]))


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_have_a_key_or_none(message: bytes) -> None:
    key_of(message)
    key_of(wire.data(1, message))
