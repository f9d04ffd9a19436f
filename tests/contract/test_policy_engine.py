"""The contract of every `PolicyEngine`: the same policy and input give the same value, the same fault the same code.

To add an engine, add its factory to `FACTORIES`. A factory gets the policy's sources and returns a context manager,
because some engines need a process beside them. The order of a set's members is not part of the contract.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.opa_server import opa_server
from tests.unit.wasm_support import (
    REALISTIC,
    REALISTIC_DATA,
    REALISTIC_SOURCES,
    compiled,
    document,
    request_input,
)
from zt_engine.adapters.engine_opa import OpaEngine
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.core.errors import UnavailableError
from zt_engine.ports import PolicyEngine


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What a factory turns into a running engine."""

    opa: str
    entrypoints: tuple[str, ...]
    sources: tuple[str, ...]
    data: bytes = b"{}"
    revision: str = "r1"


EngineFactory = Callable[[Policy], AbstractContextManager[PolicyEngine]]


def _wasm(*, public_calls: bool) -> EngineFactory:
    @contextlib.contextmanager
    def build(policy: Policy) -> Iterator[PolicyEngine]:
        module = compiled(policy.opa, policy.entrypoints, *policy.sources)
        # The budget is generous, since a busy machine must not fail an honest evaluation.
        engine = WasmEngine(
            module, policy.data, revision=policy.revision, budget_ms=400, memory_mib=512, public_calls=public_calls
        )
        try:
            yield engine
        finally:
            engine.close()

    return build


@contextlib.contextmanager
def _opa(policy: Policy) -> Iterator[PolicyEngine]:
    files = {f"m{number}.rego": source.encode() for number, source in enumerate(policy.sources)}
    with opa_server(policy.opa, {**files, "data.json": policy.data}, revision=policy.revision) as address:
        engine = OpaEngine(address, revision=policy.revision, deadline_ms=2000)
        try:
            yield engine
        finally:
            engine.close()


FACTORIES: dict[str, EngineFactory] = {
    "opa": _opa,
    "wasm": _wasm(public_calls=False),
    "wasm_public": _wasm(public_calls=True),
}

SOURCE = """
package t

same := input.x
whole := input
fixed := {"n": data.numbers.one, "list": data.list, "none": null}
is_false := false
is_null := null
is_zero := 0
is_empty_text := ""
is_empty_list := []
is_empty_object := {}
is_empty_set := set()
maybe := 1 if input.x == 1
listed contains item if some item in input.x
nested[key] := {"value": value} if some key, value in input.x
size := units.parse_bytes(input.x)
conflict := 1 if input.x > 0
conflict := 2 if input.x > 1
endless if {
    some a in numbers.range(1, 100000)
    some b in numbers.range(1, 100000)
    a * b == -1
}
"""
NAMES = (
    *("same", "whole", "fixed", "is_false", "is_null", "is_zero", "is_empty_text", "is_empty_list", "is_empty_object"),
    *("is_empty_set", "maybe", "listed", "nested", "size", "conflict", "endless"),
)
ENTRYPOINTS = tuple(f"t/{name}" for name in NAMES)
DATA = document({"numbers": {"one": 1}, "list": ["a", "b"]})


@pytest.fixture(scope="module", params=sorted(FACTORIES))
def factory(request: pytest.FixtureRequest) -> EngineFactory:
    found: EngineFactory = FACTORIES[request.param]
    return found


@pytest.fixture(scope="module")
def engine(factory: EngineFactory, opa: str) -> Iterator[PolicyEngine]:
    policy = Policy(opa=opa, entrypoints=ENTRYPOINTS, sources=(SOURCE,), data=DATA, revision="r42")
    with factory(policy) as running:
        yield running


def refusal(engine: PolicyEngine, entrypoint: str, raw: bytes) -> str:
    """Return the code an evaluation is refused with."""
    with pytest.raises(UnavailableError) as caught:
        engine.evaluate(entrypoint, raw)
    return caught.value.code


def test_the_revision_of_the_bundle_is_reported(engine: PolicyEngine) -> None:
    assert engine.revision == "r42"


def test_a_value_is_returned_as_json_bytes(engine: PolicyEngine) -> None:
    raw = engine.evaluate("t/whole", document({"a": [1, "x", None, {"b": True}]}))

    assert isinstance(raw, bytes)
    assert msgspec.json.decode(raw) == {"a": [1, "x", None, {"b": True}]}


def test_data_of_the_bundle_is_visible(engine: PolicyEngine) -> None:
    assert msgspec.json.decode(engine.evaluate("t/fixed", b"{}")) == {"n": 1, "list": ["a", "b"], "none": None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("is_false", False),
        ("is_null", None),
        ("is_zero", 0),
        ("is_empty_text", ""),
        ("is_empty_list", []),
        ("is_empty_object", {}),
        ("is_empty_set", []),
    ],
)
def test_a_falsy_value_is_a_value(engine: PolicyEngine, name: str, value: object) -> None:
    assert msgspec.json.decode(engine.evaluate(f"t/{name}", b"{}")) == value


def test_an_undefined_value_is_refused(engine: PolicyEngine) -> None:
    assert engine.evaluate("t/maybe", b'{"x":1}') == b"1"
    assert refusal(engine, "t/maybe", b'{"x":2}') == "ENGINE_UNDEFINED"
    assert refusal(engine, "t/same", b"{}") == "ENGINE_UNDEFINED"


def test_an_unknown_entrypoint_is_refused_as_undefined(engine: PolicyEngine) -> None:
    assert refusal(engine, "t/nothing", b"{}") == "ENGINE_UNDEFINED"


def test_a_set_is_a_list_without_doubles(engine: PolicyEngine) -> None:
    raw = engine.evaluate("t/listed", b'{"x":["b","a","b"]}')

    assert sorted(msgspec.json.decode(raw)) == ["a", "b"]


def test_no_evaluation_sees_anything_of_the_one_before(engine: PolicyEngine) -> None:
    engine.evaluate("t/nested", document({"x": {f"k{n}": "secret" for n in range(100)}}))

    assert msgspec.json.decode(engine.evaluate("t/nested", b'{"x":{"a":1}}')) == {"a": {"value": 1}}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"x":1} trailing',
        b"{1,2}",
        b"set()",
        b'{"x":"\xff"}',
        b'{"x":' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"x":"' + b"a" * (256 * 1024) + b'"}',
    ],
    ids=["empty", "cut", "word", "trailing", "rego set", "rego empty set", "not utf-8", "too deep", "too large"],
)
def test_a_document_beyond_the_caps_or_not_json_is_refused(engine: PolicyEngine, raw: bytes) -> None:
    assert refusal(engine, "t/is_zero", raw) == "ENGINE_INPUT"
    assert engine.evaluate("t/is_zero", b"{}") == b"0"


def test_depth_counts_nesting_and_not_brackets(engine: PolicyEngine) -> None:
    deep = b'{"x":' + b"[" * 63 + b"]" * 63 + b"}"
    wide = document({"x": [[], {}] * 200})
    quoted = document({"x": '[[{{"\\[' * 100})

    for raw in (deep, wide, quoted):
        assert msgspec.json.decode(engine.evaluate("t/whole", raw)) == msgspec.json.decode(raw)


def test_an_endless_policy_is_cut_off_and_the_next_evaluation_is_unharmed(engine: PolicyEngine) -> None:
    assert refusal(engine, "t/endless", b"{}") == "ENGINE_TIMEOUT"
    assert engine.evaluate("t/same", b'{"x":1}') == b"1"


def test_a_failing_builtin_refuses_the_evaluation_instead_of_being_undefined(engine: PolicyEngine) -> None:
    assert engine.evaluate("t/size", b'{"x":"1KiB"}') == b"1024"
    assert refusal(engine, "t/size", b'{"x":"no size"}') == "ENGINE_BUILTIN"
    assert engine.evaluate("t/same", b'{"x":1}') == b"1"


def test_a_rule_with_two_values_is_a_fault_of_the_policy(engine: PolicyEngine) -> None:
    assert engine.evaluate("t/conflict", b'{"x":1}') == b"1"
    assert refusal(engine, "t/conflict", b'{"x":2}') == "ENGINE_TRAP"
    assert engine.evaluate("t/conflict", b'{"x":1}') == b"1"


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(value=_json)
def test_any_value_passes_through_unchanged(engine: PolicyEngine, value: object) -> None:
    assert msgspec.json.decode(engine.evaluate("t/same", document({"x": value}))) == value


def test_a_whole_decision_has_every_layer(factory: EngineFactory, opa: str) -> None:
    policy = Policy(opa=opa, entrypoints=REALISTIC, sources=REALISTIC_SOURCES, data=REALISTIC_DATA)
    foreigner = {**request_input()["subject"], "employment": "external", "amr": ["pwd"], "acr": ""}  # type: ignore[dict-item]

    with factory(policy) as running:
        allowed = msgspec.json.decode(running.evaluate("zt/main/portal", document(request_input())))
        refused = msgspec.json.decode(running.evaluate("zt/main/portal", document(request_input(subject=foreigner))))

    assert {name: (layer["allow"], layer["unmet"]) for name, layer in allowed.items()} == {
        "baseline": (True, []),
        "ministry": (True, []),
        "service": (True, []),
    }
    assert refused["baseline"]["unmet"] == [{"code": "MFA_REQUIRED"}]
    assert refused["ministry"]["unmet"] == [{"code": "EMPLOYMENT"}]
    assert refused["service"]["allow"] is True


def test_a_closed_engine_is_down_for_every_thread(factory: EngineFactory, opa: str) -> None:
    policy = Policy(opa=opa, entrypoints=ENTRYPOINTS, sources=(SOURCE,))
    codes: list[str] = []

    with factory(policy) as running:
        running.close()
        thread = threading.Thread(target=lambda: codes.append(refusal(running, "t/is_zero", b"{}")))
        thread.start()
        thread.join()
        running.close()

    assert codes == ["ENGINE_DOWN"]
    assert refusal(running, "t/is_zero", b"{}") == "ENGINE_DOWN"
