"""What the path hands to Rego is what `policies/schemas/input.json` promises: every scenario of a pack is a case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from zt_engine.authoring.scenarios import read_scenarios
from zt_engine.bootstrap.activation import nobody
from zt_engine.bootstrap.deciding_ground import ground_of_pack
from zt_engine.bootstrap.packs import pack_folder, pack_names
from zt_engine.bootstrap.rehearsal import Stage, request_of
from zt_engine.core.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    return Draft7Validator(json.loads((ROOT / "policies/schemas/input.json").read_text(encoding="utf-8")))


def faults(schema: Draft7Validator, document: bytes) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in schema.iter_errors(json.loads(document))]


@pytest.mark.parametrize("pack", pack_names())
def test_the_input_of_every_scenario_is_valid(pack: str, schema: Draft7Validator) -> None:
    ground = ground_of_pack(pack)
    stage = Stage(ground.parts, ground.engine)
    documents = {}
    for scenario in read_scenarios(pack_folder(pack) / "scenarios"):
        try:
            request = request_of(scenario.question)
        except InputError:
            continue  # refused before there is an input
        documents[scenario.name("en")] = stage.outcome(scenario.question, request).document
    ground.engine.close()

    decided = {name: document for name, document in documents.items() if document}
    assert len(decided) > 20
    assert {name: faults(schema, document) for name, document in decided.items() if faults(schema, document)} == {}


def test_the_input_that_a_bundle_is_tried_with_is_valid(schema: Draft7Validator) -> None:
    assert faults(schema, nobody()) == []


def test_an_input_with_an_unknown_member_or_another_type_is_not_valid(schema: Draft7Validator) -> None:
    document = json.loads(nobody())
    document["subject"]["is_admin"] = True
    document["trust"]["score"] = "100"

    assert len(faults(schema, json.dumps(document).encode())) == 2
