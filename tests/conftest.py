"""Shared settings of the suite: derandomised properties, and the list of missing peers."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.peers import FINDERS, find_peer

settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which peers were not found, so that a skipped comparison is never silent."""
    missing = [name for name in FINDERS if find_peer(name) is None]
    terminalreporter.write_line("peers missing: " + (", ".join(missing) if missing else "none"))


@pytest.fixture(scope="session")
def opa() -> str:
    """The path of a real OPA; its absence is a failure in CI and a skip elsewhere."""
    found = find_peer("opa")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `opa` is missing")
        pytest.skip(reason="no opa on this machine: `make peers` builds one")
    return str(found)
