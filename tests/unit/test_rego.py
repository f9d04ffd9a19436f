"""What a rule for `opa-envoy-plugin` is told, and what is made of its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.rule import FakeRule
from tests.unit.test_envoy_grpc_messages import question as envoy_asks
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.request import AccessRequest, canonical_target
from zt_engine.sidecar.grpc import wire
from zt_engine.sidecar.grpc.attributes import read_attributes, write_struct
from zt_engine.sidecar.rego.question import pairs, question
from zt_engine.sidecar.rego.rules import RegoRules
from zt_engine.sidecar.rego.verdict import read_verdict

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


class Room:
    """A log with room, or without."""

    def __init__(self, state: str = "ok") -> None:
        self.state = state


def request(uri: bytes = b"/a") -> AccessRequest:
    target = canonical_target(uri, b"api.example", scheme=b"https", port=b"443")
    return AccessRequest("envoy_grpc", "mesh", "socket", "open", (), "GET", target, "192.0.2.7", "r-1")


def told(uri: bytes = b"/a", **http: Any) -> dict[str, Any]:
    attributes = {"request": {"http": {"path": uri.decode(), "host": "API.example", **http}}}
    found: dict[str, Any] = json.loads(question(attributes, request(uri)))
    return found


def test_attributes_are_named_as_protojson_names_them() -> None:
    message = envoy_asks(headers=[(b":path", b"/x"), (b"a", b"1"), (b"a", b"2"), (b"cookie", b"x"), (b"cookie", b"y")])

    found = read_attributes(message)

    assert found["source"]["address"] == {"socketAddress": {"address": "203.0.113.7", "portValue": 50000}}
    assert found["destination"]["address"]["socketAddress"]["portValue"] == 443
    assert found["metadataContext"] == {}
    http = found["request"]["http"]
    assert (http["id"], http["method"], http["host"], http["size"]) == ("17", "GET", "portal.example", "-1")
    assert http["headers"] == {":path": "/x", "a": "1,2", "cookie": "x; y"}


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "1970-01-01T00:00:01Z"), (5 * 10**8, "1970-01-01T00:00:01.500Z"), (1, "1970-01-01T00:00:01.000000001Z")],
)
def test_a_time_has_as_many_digits_as_it_needs(nanoseconds: int, text: str) -> None:
    time = wire.number(1, 1) + wire.number(2, nanoseconds)

    assert read_attributes(wire.data(1, wire.data(4, wire.data(1, time))))["request"]["time"] == text


@settings(max_examples=30)
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_metadata_is_read_as_it_was_written(content: dict[str, Any]) -> None:
    namespace = wire.data(1, wire.data(1, b"ns") + wire.data(2, write_struct(content)))

    found = read_attributes(wire.data(1, wire.data(11, namespace)))

    assert found["metadataContext"] == {"filterMetadata": {"ns": content}}


@given(st.binary(max_size=300))
def test_whatever_bytes_come_they_are_attributes_or_a_fault_of_the_asker(message: bytes) -> None:
    try:
        read_attributes(message)
    except InputError as error:
        assert error.code == "HOOK_FRAMING"


def test_path_host_and_address_are_those_of_the_gate() -> None:
    found = told(b"/%e3%81%82/b?x=1&x=2&y", headers={"x-forwarded-for": "10.0.0.1, 192.0.2.7"})

    http = found["attributes"]["request"]["http"]
    assert http["path"] == http["headers"][":path"] == "/%E3%81%82/b?x=1&x=2&y"
    assert http["host"] == http["headers"][":authority"] == "api.example"
    assert http["headers"]["x-forwarded-for"] == "192.0.2.7"
    assert (found["parsed_path"], found["parsed_query"]) == (["あ", "b"], {"x": ["1", "2"], "y": [""]})
    assert (found["parsed_body"], found["truncated_body"]) == (None, False)


@pytest.mark.parametrize("query", ["a=1;b=2", "a=%zz", "a=%", "a=%ff", "&" * 512])
def test_a_query_with_two_readings_is_refused(query: str) -> None:
    with pytest.raises(InputError) as caught:
        pairs(query)

    assert caught.value.code == "PATH_AMBIGUOUS"


@pytest.mark.parametrize(
    ("kind", "body", "length", "expected"),
    [
        ("application/json; charset=utf-8", "[1, {}]", None, ([1, {}], False)),
        ("application/json", "[1, 2", "100", (None, True)),
        ("application/x-www-form-urlencoded", "a=1&a=%20", None, ({"a": ["1", " "]}, False)),
        ('application/json;odata=verbose;charset="us-ascii"', "1", None, (1, False)),
        ("application/json-patch+json", "[]", None, ([], False)),
        ("application/grpc", "x", None, (None, False)),
        ("text/plain, text/html", "x", None, (None, False)),
        ("", "x", None, (None, False)),
        ("application/json", "", "100", (None, False)),
    ],
)
def test_a_body_is_read_by_its_type(kind: str, body: str, length: str | None, expected: tuple[Any, bool]) -> None:
    headers = {"content-type": kind} | ({"content-length": length} if length else {})

    found = told(body=body, headers=headers)

    assert (found["parsed_body"], found["truncated_body"]) == expected


@pytest.mark.parametrize("body", ['{"a":1,"a":2}', '1,"body":2', '1,"x":2', "{", "NaN", '"\\ud800"', "1e999"])
def test_json_with_two_readings_is_refused(body: str) -> None:
    with pytest.raises(InputError) as caught:
        told(body=body, headers={"content-type": "application/json"})

    assert caught.value.code == "REGO_BODY"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json,application/x-www-form-urlencoded"},
        {"content-type": "application/x-www-form-urlencoded; x=application/json"},
        {"content-type": "text/plain; x=application/json"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/x-www-form-urlencoded; charset=utf-8; charset=shift_jis"},
        {"content-type": "application/json", "content-encoding": "deflate"},
        {"content-type": "application/json", "content-encoding": "identity,gzip"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "multipart/form-data; boundary=x", "content-encoding": "gzip"},
    ],
)
def test_a_body_that_its_headers_let_others_read_differently_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InputError) as caught:
        told(body="1", headers=headers)

    assert caught.value.code == "REGO_BODY"


def asked(http: bytes = b"", metadata: bytes = b"") -> bytes:
    """The attributes of a question with this in its HTTP request, or as a value of its metadata."""
    value = wire.data(1, wire.data(1, b"k") + wire.data(2, metadata))
    namespace = wire.data(1, wire.data(1, b"ns") + wire.data(2, value))
    return wire.data(1, wire.data(4, wire.data(2, http)) + wire.data(11, namespace if metadata else b""))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (asked(wire.data(11, b'{"a":"\xff"}')), "REGO_BODY"),
        (asked(wire.data(11, b"1") + wire.data(12, b"2")), "REGO_BODY"),
        (asked(metadata=wire.data(2, b"short")), "HOOK_FRAMING"),
        (asked(metadata=wire.varint(2 << 3 | wire.FIXED64) + b"\xff" * 8), "HOOK_FRAMING"),
        (asked(metadata=wire.number(2, 1)), "HOOK_FRAMING"),
    ],
)
def test_attributes_that_say_nothing_or_two_things_are_refused(message: bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        attributes = read_attributes(message)
        attributes["request"]["http"] |= {"path": "/a", "host": "api.example"}
        question(attributes, request())

    assert caught.value.code == code


@pytest.mark.parametrize(
    "raw",
    [
        b"", b" ", b"tru", b"true true", b"\xff", b'"\xff"', b"\xef\xbb\xbftrue", b"[" * 5000,
        b"[" * 5000 + b"]" * 5000, b'true,"a":true', b'{"allowed":false,"allowed":true}', b'{"allowed":true,"x":NaN}',
        b'{"allowed":true,"headers":{"x-a":"\\ud800"}}', b'{"allowed":true,"headers":{"content-encoding":"gzip"}}',
        b'{"allowed":true,"request_headers_to_remove":["content-encoding"]}',
        b'{"allowed":false,"body":"\\ud800"}', b'{"allowed":false,"http_status":1e999}',
        b'{"allowed":true,"dynamic_metadata":{"a":%b}}' % (b"9" * 400),
        b'{"allowed":true,"dynamic_metadata":%b1%b}' % (b'{"a":' * 17, b"}" * 17),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_one_value_with_one_reading_is_none(raw: bytes) -> None:
    with pytest.raises(UnavailableError) as caught:
        read_verdict(raw)

    assert caught.value.code == "REGO_RESULT"


def test_metadata_may_be_nested_as_deeply_as_it_is_written() -> None:
    verdict = read_verdict(b'{"allowed":true,"dynamic_metadata":%b1%b}' % (b'{"a":' * 16, b"}" * 16))

    assert verdict.metadata is not None and write_struct(verdict.metadata)


@settings(max_examples=50)
@given(JSON)
def test_only_true_or_allowed_true_is_an_allow(value: Any) -> None:
    try:
        verdict = read_verdict(json.dumps(value).encode())
    except UnavailableError as error:
        assert error.code == "REGO_RESULT"
    else:
        assert verdict.allowed is (value if isinstance(value, bool) else value["allowed"])


@pytest.mark.parametrize(
    "name",
    [
        ":path", ":authority", "host", "Content-Length", "transfer-encoding", "connection", "Zt-Subject", "zt_subject",
        "zt.device", "X-Original-URL", "x_rewrite_url", "x-http-method-override", "x-forwarded-host",
        "x-forwarded-prefix", "x-script-name", "a b", "", "x-envoy-original-path",
    ],
)  # fmt: skip
def test_a_header_that_would_change_what_was_asked_or_who_asks_is_none(name: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        read_verdict(json.dumps({"allowed": True, "headers": {name: "x"}}).encode())

    assert caught.value.code == "REGO_RESULT"


def test_headers_may_have_several_values_and_stand_in_a_list() -> None:
    verdict = read_verdict(
        b'{"allowed":true,"headers":[{"X-A":["1","2"]},{"x-forwarded-user":"t"}],'
        b'"request_headers_to_remove":["X-B"],"response_headers_to_add":{"set-cookie":["a","b"]}}'
    )

    assert verdict.headers == ((b"x-a", b"1"), (b"x-a", b"2"), (b"x-forwarded-user", b"t"))
    assert verdict.removed == (b"x-b",)
    assert verdict.to_client == ((b"set-cookie", b"a"), (b"set-cookie", b"b"))


def decided(rules: RegoRules, uri: bytes = b"/a") -> tuple[str, ...]:
    outcome = rules.decide("x/allow", read_attributes(envoy_asks(path=uri)), request(uri), None)
    assert outcome.decision.opens is (not outcome.decision.reasons)
    json.loads(b"{%b}" % outcome.members)
    return outcome.decision.reasons


def test_whatever_fails_denies_with_its_code() -> None:
    rules = RegoRules(Room(), b"k" * 32)
    assert decided(rules) == ("NOT_READY",)

    engine = FakeRule()
    rules.activate(engine, "0" * 64)
    for said, reasons in ((True, ()), (False, ("REGO_DENIED",)), ("true", ("REGO_RESULT",))):
        engine.said = said
        assert decided(rules) == reasons
    engine.said = True
    assert decided(rules, b"/a?b;c") == ("PATH_AMBIGUOUS",)
    for code, reason in (("ENGINE_UNDEFINED", "REGO_DENIED"), ("ENGINE_TIMEOUT", "ENGINE_TIMEOUT")):
        engine.said = UnavailableError(code, "")
        assert decided(rules) == (reason,)
    engine.said = RuntimeError("broken")
    assert decided(rules) == ("INTERNAL_ERROR",)

    full = RegoRules(Room("reserve"), b"k" * 32)
    full.activate(FakeRule(), "0" * 64)
    assert decided(full) == ("LOG_UNAVAILABLE",)
