"""Evaluating a vector on the Wasm engine and saying whether the answer is OPA's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec

from tests.conformance.vectors import Vector
from zt_engine.adapters.rego_builtins import REGISTRY, BuiltinError, Function
from zt_engine.adapters.rego_values import (
    UNDEFINED,
    RegoSet,
    Undefined,
    Value,
    dumps,
    key_of,
    loads,
    order,
    sorted_pairs,
)
from zt_engine.adapters.wasm_capi import TrappedError, raw_api
from zt_engine.adapters.wasm_documents import MAX_ANSWER
from zt_engine.adapters.wasm_instance import Prepared, WasmInstance
from zt_engine.adapters.wasm_module import CompiledPolicy
from zt_engine.core.errors import UnavailableError

Class = Literal["right", "wrong", "refused", "not compilable", "divergence"]
BUDGET_MS = 2_000


class Verdict(msgspec.Struct, frozen=True):
    """What became of one vector; `detail` says why it is not right, `builtins` which built-ins were refused."""

    note: str
    verdict: Class
    detail: str = ""
    builtins: tuple[str, ...] = ()
    lenient: bool = False
    """Whether an error of a host built-in was taken as undefined on the way."""


SWALLOWED: list[str] = []
"""The built-ins whose errors the current evaluation took as undefined."""


def lenient(name: str, function: Function) -> Function:
    """A built-in whose errors are undefined: OPA does that unless told to be strict, the product never does."""

    def call(*arguments: Value) -> Value | Undefined:
        try:
            return function(*arguments)
        except BuiltinError:
            SWALLOWED.append(name)
            return UNDEFINED

    return call


LENIENT: Mapping[str, Function] = {name: lenient(name, function) for name, function in REGISTRY.items()}


class Instance(WasmInstance):
    """The product's instance, asked for Rego's text form, which tells sets from arrays."""

    def value(self, entrypoint: int, document: bytes) -> Value:
        """The result set as a value; UnavailableError as `evaluate` raises it."""
        heap, size = self._heap, len(document)
        self.memory.write(heap, document)
        self._bridge.reset()
        try:
            at = self._evaluate(entrypoint, self._data, heap, size, (heap + size + 7) & ~7, 1)
        except TrappedError as error:
            raise self._refusal(error) from None
        return loads(self.memory.text(at, MAX_ANSWER))


class Evaluator:
    """Instances of one module: a strict and a lenient one, made as they are needed and again after each failure."""

    def __init__(self, policy: CompiledPolicy, data: bytes) -> None:
        self._policy = policy
        self._data = data
        self._prepared: Prepared | None = None
        self._instances: dict[bool, Instance] = {}

    def _instance(self, strict: bool) -> Instance:
        found = self._instances.get(strict)
        if found is None:
            found = self._instances[strict] = Instance(
                self._policy,
                api=raw_api(),
                budget_ms=BUDGET_MS,
                memory_mib=64,
                registry=REGISTRY if strict else LENIENT,
                prepared=self._prepared,
                data=self._data,
            )
            self._prepared = found.prepared
        return found

    def answer(self, vector: Vector, entrypoint: str) -> Value:
        """The bindings that the query has."""
        instance = self._instance(vector.strict)
        try:
            found = instance.value(instance.prepared.entrypoints[entrypoint], vector.input or b"")
        except UnavailableError:
            self._instances.pop(vector.strict).close()
            raise
        match found:
            case RegoSet() if len(found) == 1:
                (item,) = found
                if isinstance(item, dict) and "result" in item:
                    return item["result"]
        raise UnavailableError("ENGINE_MALFORMED", repr(found)[:200])

    def close(self) -> None:
        """Free the instances."""
        for instance in self._instances.values():
            instance.close()


def as_json(value: Value) -> Value:
    """A value as OPA turns it into JSON: sets are sorted arrays, keys that are no strings are their JSON."""
    match value:
        case list() | RegoSet():
            return [as_json(item) for item in value]
        case dict():
            return {
                key if isinstance(key, str) else dumps(as_json(key)).decode(): as_json(item)
                for key, item in sorted_pairs(value)
            }
    return value


def _wanted(value: Any) -> Value:
    """A value of the vector's YAML."""
    return loads(json.dumps(value).encode())


def _bindings(found: Iterable[Any], convert: Callable[[Any], Value], vector: Vector) -> set[Any]:
    result = set()
    for item in found:
        binding = {} if item is True else {key: convert(item[key]) for key in vector.variables if key in item}
        if vector.sort_bindings:
            binding = {
                key: sorted(part, key=order) if isinstance(part, list) else part for key, part in binding.items()
            }
        result.add(order({key_of(key): part for key, part in binding.items()}))
    return result


def _close(a: Any, b: Any) -> bool:
    """Whether two sort keys differ in the last digits of numbers only."""
    if isinstance(a, int | float | Decimal) and isinstance(b, int | float | Decimal):
        if isinstance(a, bool) or isinstance(b, bool):
            return a is b
        x, y = (
            Decimal(repr(a)) if isinstance(a, float) else Decimal(a),
            Decimal(repr(b)) if isinstance(b, float) else Decimal(b),
        )
        return x == y or abs(x - y) <= abs(x) * Decimal("1e-14")
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_close(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def judge(vector: Vector, evaluator: Evaluator, entrypoint: str) -> Verdict:
    """Evaluate and compare; a divergence is not decided here."""
    SWALLOWED.clear()
    try:
        found = evaluator.answer(vector, entrypoint)
    except UnavailableError as error:
        if vector.expects_error and error.code in {"ENGINE_BUILTIN", "ENGINE_TRAP"}:
            return _error_verdict(vector, error)
        return Verdict(note=vector.note, verdict="wrong", detail=f"engine: {error}")
    if vector.expects_error:
        shown = dumps(found).decode(errors="replace")[:200]
        return Verdict(note=vector.note, verdict="wrong", detail=f"OPA refuses ({vector.want_error}), Wasm: {shown}")
    if not isinstance(found, list):
        return Verdict(note=vector.note, verdict="wrong", detail="the query is undefined")
    got = _bindings(found, as_json, vector)
    want = _bindings(vector.want or (), _wanted, vector)
    if got == want:
        return Verdict(note=vector.note, verdict="right", lenient=bool(SWALLOWED))
    if len(got) == len(want) == 1 and _close(next(iter(got)), next(iter(want))):
        detail = "last digit of a float"
    else:
        detail = f"want {vector.want}, got {dumps(as_json(found)).decode(errors='replace')[:300]}"
    return Verdict(note=vector.note, verdict="wrong", detail=detail)


_CONFLICT = re.compile("conflict|multiple outputs|must not produce", re.IGNORECASE)


def _error_verdict(vector: Vector, error: UnavailableError) -> Verdict:
    """An error for an error; a conflict must be a conflict."""
    conflict = error.code == "ENGINE_TRAP" and bool(_CONFLICT.search(error.message))
    if (vector.want_error_code == "eval_conflict_error") == conflict:
        return Verdict(note=vector.note, verdict="right")
    return Verdict(note=vector.note, verdict="wrong", detail=f"another error than {vector.want_error_code}: {error}")
