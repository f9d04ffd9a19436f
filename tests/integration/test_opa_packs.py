"""The packs that ship: right in every respect, tested on both engines, and compiled from exactly these sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from zt_engine.bootstrap.packs import compiled_bundle, pack_names
from zt_engine.bootstrap.workbench import Workbench
from zt_engine.core.bundle import open_bundle

POLICIES = Path(__file__).parents[2] / "policies"


@pytest.fixture(scope="module")
def workbench(opa: str) -> Workbench:
    return Workbench(opa)


@pytest.mark.parametrize("pack", pack_names())
def test_a_pack_passes_its_check_its_rego_tests_and_its_scenarios_on_both_engines(
    workbench: Workbench, pack: str
) -> None:
    tested = workbench.test(POLICIES / pack)

    assert tested.problems == ()
    assert tested.rego is not None
    assert tested.rego.coverage == 100
    by_engine = {engine: [row for row in tested.rows if row.engine == engine] for engine in ("wasm", "opa")}
    assert len(by_engine["wasm"]) == len(by_engine["opa"]) > 20


@pytest.mark.parametrize("pack", pack_names())
def test_the_compiled_bundle_equals_a_fresh_build(workbench: Workbench, pack: str) -> None:
    fresh = workbench.build(POLICIES / pack).raw

    assert fresh == compiled_bundle(pack), f"zt policy build policies/{pack} --out policies/compiled/{pack}.tar.gz"


@pytest.mark.parametrize("pack", pack_names())
def test_a_shipped_bundle_is_unsigned_and_says_what_it_reads(pack: str) -> None:
    bundle = open_bundle(compiled_bundle(pack), keys={}, require_signature=False)

    assert bundle.key_id is None
    assert bundle.reads
    assert bundle.manifest.pack == pack
