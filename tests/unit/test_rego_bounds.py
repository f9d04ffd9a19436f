"""No argument makes a host built-in work without bounds: each hostile call is refused, most before it starts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_rego_values import VALUES
from zt_engine.adapters.rego_builtins import REGISTRY, BuiltinError, invoke
from zt_engine.adapters.rego_builtins.operands import MAX_ARGUMENT_BYTES, MAX_RESULT_BYTES
from zt_engine.adapters.rego_values import UNDEFINED, ExactNumber, Value, dumps

LONG = 60_000
_CYCLE = {str(node): [str(other) for other in range(12)] for node in range(12)}
_CHAIN = {str(node): [str(node + 1)] for node in range(1000)}
_DOUBLING: Value = [{"op": "copy", "from": "", "path": path} for _ in range(30) for path in ("/b", "/c")]

HOSTILE: dict[str, tuple[str, list[Value]]] = {
    "a width of a billion": ("sprintf", ["%1000000000d", [1]]),
    "a width from an argument": ("sprintf", ["%*d", [1_000_000, 1]]),
    "many wide directives": ("sprintf", ["%4096d" * 10_000, [1] * 10_000]),
    "one long argument many times": ("sprintf", ["%[1]s" * 5_000, ["x" * LONG]]),
    "many surplus arguments": ("sprintf", ["", ["x" * 10] * 10_000]),
    "escapes that grow": ("sprintf", ["%q", ["\x00" * LONG]]),
    "a range of 10^12": ("numbers.range_step", [0, 10**12, 1]),
    "a range between numbers of 400 digits": ("numbers.range_step", [0, 10**400, 1]),
    "a range to 1e999999999": ("numbers.range_step", [0, ExactNumber("1e999999999"), 1]),
    "a merge of too many blocks": ("net.cidr_merge", [[f"10.{n // 256}.{n % 256}.0/24" for n in range(2001)]]),
    "a product of blocks and addresses": ("net.cidr_contains_matches", [["10.0.0.0/8"] * 200, ["10.0.0.1"] * 200]),
    "every IPv6 address": ("net.cidr_expand", ["::/0"]),
    "65,536 IPv4 addresses": ("net.cidr_expand", ["10.0.0.0/16"]),
    "a replacement that explodes": ("regex.replace", ["a" * LONG, "a", "b" * 5_000]),
    "a replacement of references": ("regex.replace", ["a" * 400, "(a+)", "$1" * 5_000]),
    "nested repetition": ("regex.find_n", ["((a{100}){100}){100}", "a" * LONG, -1]),
    "a large automaton on a long text": ("regex.find_n", ["(a?){1000}a{1000}", "a" * LONG, -1]),
    "a search to the end from every place": ("regex.find_n", ["a.*b|a", "a" * LONG, -1]),
    "a long pattern": ("regex.find_n", ["a" * 5_000, "a", 1]),
    "a match at every place": ("regex.split", ["", "a" * LONG]),
    "a template of delimiters": ("regex.template_match", ["{" * 5_000, "a", "{", "}"]),
    "a set of all characters": ("regex.globs_match", ["[\u0000-\U0010ffff]", "a"]),
    "many tokens": ("regex.globs_match", ["a" * 2_000, "a" * 2_000]),
    "paths in a dense graph": ("graph.reachable_paths", [_CYCLE, ["0"]]),
    "a very long path": ("graph.reachable_paths", [_CHAIN, ["0"]]),
    "a long needle in a long array": ("object.subset", [["a"] * 5_000, [*["a"] * 2_499, "b"]]),
    "too many operations": ("json.patch", [[], [{"op": "add", "path": "/0", "value": 1}] * 501]),
    "a document copied into itself": ("json.patch", [{"a": [1]}, _DOUBLING]),
    "long arrays copied often": ("json.patch", [[0] * 9_000, [{"op": "add", "path": "/0", "value": 1}] * 400]),
    "a split into characters": ("strings.split_n", ["a" * LONG, "", -1]),
    "overlapping occurrences": ("indexof_n", ["a" * LONG, "a" * (LONG // 2)]),
    "an exponent of a million": ("units.parse", ["1e999999"]),
    "an amount of 5,000 digits": ("units.parse_bytes", ["9" * 5_000]),
    "a timestamp with a huge exponent": ("time.date", [ExactNumber("1e999999999")]),
    "years beyond the calendar": ("time.add_date", [0, 2**62, 2**62, 2**62]),
    "a layout without end": ("time.format", [[0, "UTC", "2006" * 2_000]]),
    "a text for a long layout": ("time.parse_ns", ["2006" * 300, "2006" * 300]),
    "a long duration": ("time.parse_duration_ns", ["1h" * 1_000]),
    "a zone outside of the database": ("time.format", [[0, "../../etc/passwd"]]),
    "the zone of this host": ("time.format", [[0, "Local"]]),
    "thirty thousand parameters": ("urlquery.decode_object", ["a&" * 30_000]),
    "an indent of a thousand": ("json.marshal_with_options", [[1] * 9_000, {"indent": " " * 1_000}]),
    "a version of 5,000 digits": ("semver.compare", ["9" * 5_000 + ".0.0", "1.0.0"]),
}


@pytest.mark.parametrize("case", HOSTILE, ids=list(HOSTILE))
def test_a_hostile_argument_is_refused(case: str) -> None:
    name, arguments = HOSTILE[case]

    with pytest.raises(BuiltinError) as refused:
        REGISTRY[name](*arguments)

    assert refused.value.name == name


def test_arguments_beyond_the_cap_do_not_reach_the_builtin() -> None:
    def never(*_: Value) -> Value:
        raise AssertionError

    with pytest.raises(BuiltinError, match="arguments over"):
        invoke("any", never, [b'"' + b"a" * MAX_ARGUMENT_BYTES + b'"'])


def test_a_result_beyond_the_cap_does_not_reach_the_policy() -> None:
    with pytest.raises(BuiltinError, match="result over"):
        invoke("any", lambda: "a" * MAX_RESULT_BYTES, [])


def test_a_result_that_has_no_text_form_is_refused() -> None:
    with pytest.raises(BuiltinError):
        invoke("any", lambda: float("inf"), [])


def test_arguments_that_are_no_values_are_refused() -> None:
    with pytest.raises(BuiltinError):
        invoke("any", lambda value: value, [b"[1,"])


def test_undefined_crosses_as_nothing_and_null_as_a_value() -> None:
    assert invoke("any", lambda: UNDEFINED, []) is None
    assert invoke("any", lambda: None, []) == b"null"


def test_a_fault_inside_a_builtin_is_refused_without_telling_what_it_saw() -> None:
    with pytest.raises(BuiltinError) as refused:
        REGISTRY["hex.encode"]("secret\ud800")

    assert "secret" not in str(refused.value)


@given(st.data())
def test_no_arguments_make_a_builtin_raise_anything_but_its_refusal(data: st.DataObject) -> None:
    """Whatever a policy passes, there is a value, undefined, or a `BuiltinError`."""
    name = data.draw(st.sampled_from(sorted(REGISTRY)))
    arguments = data.draw(st.lists(VALUES, min_size=1, max_size=4))

    try:
        found = invoke(name, REGISTRY[name], [dumps(argument) for argument in arguments])
    except BuiltinError as refused:
        assert refused.name == name
    else:
        assert found is None or len(found) <= MAX_RESULT_BYTES
