"""Directory records of subjects, and the strict JSON under them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.adapters.subject_json import decode_subject
from zt_engine.core.errors import ConfigError
from zt_engine.core.strict_json import read_object

RECORD: dict[str, object] = {
    "id": "tanaka", "issuer": "https://idp.example", "version": 3, "status": "active", "groups": ["staff"],
    "compartments": [], "clearance": 200, "org": "cao", "valid_until": None,
}  # fmt: skip


def codes(raw: bytes) -> set[str]:
    with pytest.raises(ConfigError) as caught:
        decode_subject(raw, where="subjects/tanaka.json")
    assert {problem.where for problem in caught.value.problems} == {"subjects/tanaka.json"}
    return {problem.code for problem in caught.value.problems}


def changed(**members: object) -> bytes:
    return json.dumps(RECORD | members).encode()


def test_a_record_is_read() -> None:
    record = decode_subject(changed(nationality="JP", type="workload"), where="x")

    assert (record.id, record.clearance, record.groups, record.valid_until) == ("tanaka", 200, ("staff",), None)
    assert (record.type, record.nationality, record.roles) == ("workload", "JP", ())


@pytest.mark.parametrize("name", list(RECORD))
def test_every_member_of_a_record_is_required(name: str) -> None:
    raw = json.dumps({key: value for key, value in RECORD.items() if key != name}).encode()

    assert codes(raw) == {"SUBJECT_RECORD_SHAPE"}


@pytest.mark.parametrize(
    "members",
    [
        {"clearence": 200},
        {"id": 5},
        {"version": "3"},
        {"version": True},
        {"groups": "staff"},
        {"groups": None},
        {"clearance": 200.5},
        {"clearance": True},
        {"clearance": "200"},
        {"valid_until": "2027-01-01"},
        {"type": "robot"},
        {"status": None},
    ],
)
def test_a_member_of_the_wrong_shape_is_refused(members: dict[str, object]) -> None:
    assert codes(changed(**members)) == {"SUBJECT_RECORD_SHAPE"}


@pytest.mark.parametrize(
    "members",
    [
        {"id": ""},
        {"id": "a\nb"},
        {"issuer": "x" * 257},
        {"org": "a\0"},
        {"groups": [""]},
        {"groups": ["x"] * 513},
        {"compartments": ["a\tb"]},
        {"clearance": -1},
        {"clearance": 1001},
        {"version": -1},
        {"valid_until": -1},
        {"status": "Active"},
        {"status": ""},
    ],
)
def test_a_value_out_of_range_is_refused(members: dict[str, object]) -> None:
    assert codes(changed(**members)) == {"SUBJECT_RECORD_VALUE"}


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        decode_subject(changed(id="", clearance=-1, version=-1), where="x")

    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    "raw", [b"", b"{", changed()[:-20], b"[]", b"\xff", b"{}{}", changed()[:-1] + b',"id":"other"}']
)
def test_a_half_written_or_doubled_record_is_refused(raw: bytes) -> None:
    assert codes(raw) == {"SUBJECT_RECORD_MALFORMED"}


def test_a_huge_record_is_refused_unread() -> None:
    assert codes(b" " * (64 * 1024 + 1)) == {"SUBJECT_RECORD_TOO_LARGE"}


# Strict JSON.


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":[{"b":1,"b":2}]}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":-1e400}',
        b'{"a":9223372036854775808}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"\\udc00":1}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\x01"}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":01}',
        b'{"a":' + b"[" * 17 + b"]" * 17 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\xff"}',
        b"null",
        b"",
    ],
)
def test_json_with_a_second_reading_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        read_object(raw)


@pytest.mark.parametrize(
    "text", ['{"a":"\\ud83d\\ude00"}', '{"a":9223372036854775807}', '{"a":1.5e300}', '{"":[[[]]]}']
)
def test_unusual_json_with_one_reading_is_read(text: str) -> None:
    assert read_object(text.encode()) == json.loads(text)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), _json, max_size=5))
def test_ordinary_objects_survive(value: dict[str, object]) -> None:
    assert read_object(json.dumps(value).encode(), max_depth=40) == value


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_an_object_or_a_value_error_that_quotes_nothing(raw: bytes) -> None:
    try:
        assert isinstance(read_object(raw), dict)
    except ValueError as error:
        assert str(error).isascii()
        assert len(str(error)) < 60
