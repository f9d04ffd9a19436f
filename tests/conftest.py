"""Shared settings of the suite: derandomised properties, and the list of missing peers."""

from __future__ import annotations

import functools
import gc
import os
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests import key_cost, read_once
from tests.corpus.printed import matrix_of
from tests.peers import find_peer, missing_peers, skipped_tests
from zt_engine.adapters import wasm_module

settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")
key_cost.lower()
read_once.remember()

# The engine lets go of a compiled policy with its last user; here the next test decides by the same one. Modules that
# tests write by hand are small, and are let go.
_compile = wasm_module._compile
_kept = functools.lru_cache(maxsize=16)(_compile)
wasm_module._compile = lambda wasm: (_kept if len(wasm) > 2**16 else _compile)(wasm)

_configure = structlog.configure


def _uncached(**settings: Any) -> None:
    """Configure loggers that ask for their settings each time: one that keeps them is heard by no later test."""
    _configure(**settings | {"cache_logger_on_first_use": False})


structlog.configure = _uncached

UNIT = Path(__file__).resolve().parent / "unit"


def pytest_collectstart() -> None:
    """Collecting makes what stays: whether it is garbage need not be asked a thousand times."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave what ten thousand tests are made of out of later searches for garbage, and search less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A unit test opens no network socket: what it would reach is not under its control."""
    for item in items:
        if UNIT in item.path.parents:
            item.add_marker(pytest.mark.disable_socket)


def pytest_unconfigure() -> None:
    """Let go of compiled policies while there is still somebody to free them."""
    _kept.cache_clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which peers were not found and what was therefore skipped: a skipped comparison is never silent."""
    terminalreporter.write_line("peers missing: " + (", ".join(missing_peers()) or "none"))
    for line in skipped_tests(
        (report.nodeid, report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ())
    ):
        terminalreporter.write_line(line)
    if matrix := matrix_of(terminalreporter.stats):
        terminalreporter.write_line(f"\nrequests that try to get past a proxy (docs/corpus.md):\n{matrix}")


@pytest.fixture(scope="session")
def opa() -> str:
    """The path of a real OPA; its absence is a failure in CI and a skip elsewhere."""
    found = find_peer("opa")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `opa` is missing")
        pytest.skip(reason="no opa on this machine: `make peers` builds one")
    return str(found)
