"""The settings of the Wasm engine are rules, not preferences: each was learned by an experiment that went wrong."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from typing import Any

import pytest
import wasmtime

from tests.peers import ROOT
from zt_engine.adapters import wasm_module


class Recording:
    """A configuration of wasmtime that remembers what it was told."""

    def __init__(self) -> None:
        object.__setattr__(self, "told", {})

    def __setattr__(self, name: str, value: object) -> None:
        self.told[name] = value  # type: ignore[attr-defined]


def test_rule_4_memory_does_not_move_and_one_module_is_compiled_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def config() -> Recording:
        made.append(Recording())
        return made[-1]

    monkeypatch.setattr(wasmtime, "Config", config)
    monkeypatch.setattr(wasmtime, "Engine", lambda given: given)

    wasm_module.shared_engine.__wrapped__()

    (told,) = (config.told for config in made)
    assert told["memory_may_move"] is False
    assert told["parallel_compilation"] is False
    assert told["epoch_interruption"] is True
    assert told["wasm_threads"] is False
    assert told["wasm_memory64"] is False
    assert not {name for name in told if "reservation" in name or "guard" in name}


def test_rule_1_only_versions_of_wasmtime_that_were_looked_at_are_installed() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]

    assert "wasmtime>=50.0.1,<51" in wanted
    assert version("wasmtime").startswith("50.")


def test_rule_4_no_part_of_the_engine_limits_its_own_address_space() -> None:
    """A wasm instance reserves 4 GiB of it."""
    found = [
        path.name
        for path in (ROOT / "zt_engine").rglob("*.py")
        if "resource.RLIMIT_AS" in path.read_text(encoding="utf-8")
    ]

    assert found == []
