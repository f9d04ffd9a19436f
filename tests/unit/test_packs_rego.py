"""The Rego of the packs by OPA's own tools: formatted, strict, typed against the input's schema, every rule tried."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.unit.packs_support import PACKS, POLICIES, stage
from zt_engine.core.policy_input import schema


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)


def test_the_schema_is_the_one_of_the_input_types() -> None:
    written = json.loads((POLICIES / "schemas/input.json").read_text(encoding="utf-8"))

    assert written == schema()


def test_all_rego_is_formatted(opa: str) -> None:
    done = run(opa, "fmt", "--list", "--fail", str(POLICIES))

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_passes_the_strict_typed_check(pack: str, opa: str, tmp_path: Path) -> None:
    folder = stage(pack, tmp_path / "p")

    done = run(opa, "check", "--strict", "--schema", str(POLICIES / "schemas/input.json"), ".", cwd=folder)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pack", PACKS)
def test_a_misspelt_input_field_is_found_by_the_check(pack: str, opa: str, tmp_path: Path) -> None:
    folder = stage(pack, tmp_path / "p")
    (folder / "zt/layer/baseline/typo.rego").write_text(
        'package zt.layer.baseline\n\n_passed contains "X_Y" if input.device.report_aeg == 1\n', encoding="utf-8"
    )

    done = run(opa, "check", "--strict", "--schema", str(POLICIES / "schemas/input.json"), ".", cwd=folder)

    assert "report_aeg" in done.stderr


@pytest.mark.parametrize("pack", PACKS)
def test_every_rego_test_passes_and_every_rule_is_covered(pack: str, opa: str, tmp_path: Path) -> None:
    folder = stage(pack, tmp_path / "p")

    covered = run(opa, "test", "--timeout", "60s", "--coverage", "--format", "json", ".", cwd=folder)

    assert covered.returncode == 0, covered.stderr  # so it is not when a test fails: it names the first that does
    coverage = json.loads(covered.stdout)
    missed = {
        name: entry["not_covered"]
        for name, entry in coverage["files"].items()
        if not name.endswith("_test.rego") and entry.get("not_covered")
    }
    assert missed == {}
