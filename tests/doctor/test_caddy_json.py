"""Caddy's JSON and the Caddyfile it was made from have the same findings: a real Caddy translates."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.peers import find_peer
from zt_engine.doctor.check import check

HERE = Path(__file__).parent / "configurations" / "caddy"
SEEDS = YAML(typ="safe").load((HERE / "seeds.yaml").read_text(encoding="utf-8"))
GOOD = (HERE / "good.Caddyfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def caddy() -> Path:
    found = find_peer("caddy")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("Caddy is missing")
        pytest.skip(reason="no Caddy on this machine")
    return found


def codes(caddy: Path, text: str, folder: Path) -> set[str]:
    source, made = folder / "Caddyfile", folder / "made.json"
    source.write_text(text, encoding="utf-8")
    words = [str(caddy), "adapt", "--pretty", "--adapter", "caddyfile", "--config", str(source)]
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=home)
    assert done.returncode == 0, done.stderr
    made.write_text(done.stdout, encoding="utf-8")
    report = check([str(made)])
    assert (report.proxy, report.unreadable) == ("caddy", ())
    return {finding.code for finding in report.findings}


def test_a_safe_site_is_safe_in_json(caddy: Path, tmp_path: Path) -> None:
    assert codes(caddy, GOOD, tmp_path) == set()


@pytest.mark.parametrize("seed", SEEDS, ids=[seed["name"] for seed in SEEDS])
def test_a_seed_is_found_in_json(caddy: Path, seed: dict[str, Any], tmp_path: Path) -> None:
    text = GOOD
    for old, new in {seed["old"]: seed["new"], **seed.get("also", {})}.items():
        text = text.replace(old, new, 1)

    assert codes(caddy, text, tmp_path) == set(seed["finds"])
