"""The two engines agree: thousands of generated inputs, every pack, every layer, the same result.

Inputs are generated from the pack's own words (every string its rules and data mention), so that they land on both
sides of its comparisons instead of beside all of them. The order of what is unmet or owed means nothing (the module
walks a set in the order of its hashes, OPA in the order of its values), so results are compared without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.integration.opa_support import tool
from tests.integration.policy_inputs import Maker, odd_texts
from zt_engine.adapters.engine_opa import OpaEngine
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.opa_process import serve_bundle
from zt_engine.authoring.build import build
from zt_engine.authoring.pack import Pack, read_pack
from zt_engine.authoring.rego_ast import parse_modules
from zt_engine.core.bundle import Bundle, entrypoint, open_bundle
from zt_engine.core.bundle_hash import Json, Number, parse
from zt_engine.core.decision import read_layers
from zt_engine.core.errors import UnavailableError
from zt_engine.ports import PolicyEngine

POLICIES = Path(__file__).parents[2] / "policies"
PACKS = sorted(path.parent.name for path in POLICIES.glob("*/pack.yaml"))
PER_EXAMPLE = 40


class Bench(msgspec.Struct, frozen=True):
    """Both engines on one bundle, and the words of its pack."""

    bundle: Bundle
    wasm: PolicyEngine
    opa: PolicyEngine
    words: Sequence[str]
    facts: Sequence[str]
    services: Sequence[str]

    def maker(self, seed: int) -> Maker:
        return Maker(seed, words=self.words, facts=self.facts, services=self.services)


def _strings(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str) and not isinstance(value, Number):
        yield value


def _words(pack: Pack, opa: str) -> list[str]:
    found = {text for name, raw in pack.data.items() for text in _strings(parse(raw, where=name))}
    for module in parse_modules(pack.sources, tool(opa), where=pack.where):
        found.update(text for text, _ in module.terms("string"))
    return sorted(found | set(pack.reasons)) + list(odd_texts)


@pytest.fixture(scope="module", params=PACKS)
def bench(request: pytest.FixtureRequest, opa: str) -> Iterator[Bench]:
    pack = read_pack(POLICIES / request.param)
    raw = build(pack, tool(opa))
    bundle = open_bundle(raw, keys={}, require_signature=False)
    facts = [pointer.split("/")[3] for pointer in bundle.reads or () if pointer.startswith("/device/facts/")]
    wasm = WasmEngine(bundle.wasm, bundle.data, revision=bundle.revision, budget_ms=2000)
    with serve_bundle(Path(opa), raw) as address:
        served = OpaEngine(address, revision=bundle.revision, deadline_ms=10_000)
        yield Bench(bundle, wasm, served, _words(pack, opa), [*facts, "made.up"], sorted(bundle.layers))
        served.close()
    wasm.close()


def answer(engine: PolicyEngine, name: str, document: bytes) -> object:
    """The layers' results by name, without order, or the code of why there is none."""
    try:
        layers = read_layers(engine.evaluate(name, document))
    except UnavailableError as error:
        return error.code
    return {
        name: (layer.allow, sorted(layer.unmet), sorted(layer.obligations, key=repr), layer.threshold)
        for name, layer in layers.items()
    }


@settings(
    max_examples=60,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32 - 1))
def test_both_engines_give_identical_layer_results(bench: Bench, seed: int) -> None:
    """Sixty seeds of forty inputs for every pack: 2,400 evaluations on each engine."""
    maker = bench.maker(seed)
    for _ in range(PER_EXAMPLE):
        document = msgspec.json.encode(maker.document())
        name = entrypoint(maker.random.choice(bench.services))

        assert answer(bench.wasm, name, document) == answer(bench.opa, name, document), document.decode()


def test_generated_inputs_are_allowed_and_refused_by_every_layer(bench: Bench) -> None:
    """Guards the test above: inputs that always come to the same would prove nothing."""
    maker = bench.maker(7)
    seen: set[tuple[str, bool]] = set()
    codes: set[str] = set()
    for _ in range(1500):
        result = answer(bench.wasm, "zt/main/unlisted", msgspec.json.encode(maker.document()))
        assert isinstance(result, dict), result
        seen.update((layer, allowed) for layer, (allowed, *_) in result.items())
        codes.update(item.code for _, unmet, *_ in result.values() for item in unmet)

    assert {layer for layer, allowed in seen if not allowed} == set(bench.bundle.layers["unlisted"])
    assert len(codes) >= 10


def test_every_service_answers_alike_for_a_request_that_lacks_everything(bench: Bench) -> None:
    for service in bench.services:
        for document in (b"{}", b'{"subject":{},"device":{"facts":{}}}', b'{"resource":null}', b"[]", b"null"):
            name = entrypoint(service)

            assert answer(bench.wasm, name, document) == answer(bench.opa, name, document)
