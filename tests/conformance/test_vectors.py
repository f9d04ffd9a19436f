"""A fixed sample of OPA's conformance vectors in every test run; `make conformance` runs all of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conformance.compile import compile_batch
from tests.conformance.run import CLASSES, PAGE, classified, divergences, run, sample, shortfalls, summary
from tests.conformance.vectors import OPA_VERSION, Vector, folder, load, opa_version
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.rego_builtins import REGISTRY
from zt_engine.adapters.wasm_divergences import DIVERGENCES
from zt_engine.core.errors import BundleError

SIZE = 150


@pytest.fixture(scope="module")
def vectors(opa: str) -> list[Vector]:
    root = folder()
    if root is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `opa vectors` is missing")
        pytest.skip(reason="no conformance vectors on this machine: they lie in the Go module cache, or in OPA_VECTORS")
    assert opa_version(Path(opa)) == OPA_VERSION
    return load(root)


def test_a_sample_of_the_vectors_has_no_wrong_answer_beyond_the_named_divergences(
    opa: str, vectors: list[Vector]
) -> None:
    named = divergences()
    chosen = sample(vectors, SIZE)

    verdicts = classified(run(chosen, Path(opa), named=frozenset(named), workers=1), named)

    assert [verdict for verdict in verdicts if verdict.verdict in {"wrong", "not compilable"}] == []
    assert [verdict.note for verdict in verdicts if verdict.verdict == "right" and verdict.note in named] == []
    assert summary(verdicts)["right"] >= SIZE // 2


def test_every_vector_with_offered_builtins_is_compiled_and_no_offered_builtin_is_ever_refused(
    opa: str, vectors: list[Vector]
) -> None:
    verdicts = run(sample(vectors, SIZE), Path(opa), workers=1)

    assert {name for verdict in verdicts for name in verdict.builtins} & REGISTRY.keys() == set()
    assert all(verdict.builtins for verdict in verdicts if verdict.verdict == "refused")


def test_the_sample_is_the_same_every_time_and_has_the_size_asked_for(vectors: list[Vector]) -> None:
    first, second = sample(vectors, SIZE), sample(list(vectors), SIZE)

    assert [vector.note for vector in first] == [vector.note for vector in second]
    assert len(first) == SIZE


def test_every_divergence_is_named_in_the_engine_and_every_listed_vector_exists(vectors: list[Vector]) -> None:
    listed = divergences()

    assert set(listed.values()) <= {divergence.name for divergence in DIVERGENCES}
    assert set(listed) <= {vector.note for vector in vectors}


def test_a_module_that_needs_a_builtin_which_is_not_offered_is_refused_by_name_at_load(opa: str) -> None:
    source = 'package test\n\np := http.send({"method": "get", "url": "http://localhost"})'
    vector = Vector(note="http", file="http", query="data.test.p = x", modules=(source,), want=({"x": 1},))
    batch = compile_batch(Path(opa), opa_version(Path(opa)), [vector], alone=True, full=True)

    with pytest.raises(BundleError) as refused:
        WasmEngine(batch.wasm, b"{}", revision="r1")

    assert refused.value.code == "BUILTIN_UNSUPPORTED"
    assert "`http.send`" in refused.value.message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"wrong": 1}, ["1 wrong", "docs/conformance.md says 0 wrong, not 1"]),
        ({"not_compilable": 2}, ["2 not_compilable", "docs/conformance.md says 0 not compilable, not 2"]),
        ({"refused": 1}, ["says 350 refused, not 1"]),
        ({"pass_rate": 0.79}, ["79.0% are right, not 80%", "docs/conformance.md does not say 79.0 %"]),
    ],
)
def test_a_run_is_good_with_four_fifths_right_nothing_wrong_and_a_page_that_says_so(
    changes: dict[str, float], said: list[str]
) -> None:
    page = (
        "| class | vectors | |\n| right | 1,852 | a |\n| divergence | 87 | a |\n| wrong | 0 | a |\n"
        "| refused | 350 | a |\n| not compilable | 0 | |\n| all | 2,289 | **80.9 % right** |\n"
    )
    figures = {
        "right": 1852, "divergence": 87, "wrong": 0, "refused": 350, "not_compilable": 0, "vectors": 2289,
        "pass_rate": 0.8091,
    }  # fmt: skip

    found = shortfalls(figures | changes, page)

    assert len(found) == len(said)
    assert all(wanted in fault for wanted, fault in zip(said, found, strict=True))


def test_the_table_of_the_page_adds_up() -> None:
    """Whoever changes one figure of docs/conformance.md has to change the others."""
    rows = dict(re.findall(r"^\| ([a-z ]+) \| ([0-9,]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    count = {name: int(rows[name].replace(",", "")) for name in (*CLASSES, "all")}
    figures = {name.replace(" ", "_"): number for name, number in count.items()} | {"vectors": count["all"]}

    assert sum(number for name, number in count.items() if name != "all") == count["all"]
    assert shortfalls(figures | {"pass_rate": count["right"] / count["all"]}, PAGE.read_text(encoding="utf-8")) == []
