"""Real proxies: a missing one is a skip with a reason, and a failure in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.lab import Lab
from tests.peers import find_peer

NGINXES = ("nginx (wheel)", "nginx (Debian)")


@pytest.fixture(scope="module", params=NGINXES, ids=["wheel", "debian"])
def nginx(request: pytest.FixtureRequest) -> Path:
    """The executable of each nginx that the block is promised to work with."""
    found = find_peer(request.param)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"the peer `{request.param}` is missing")
        pytest.skip(reason=f"no {request.param} on this machine")
    return found


@pytest.fixture(scope="module")
def lab(nginx: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """nginx with the printed block, a gate that allows what it accepts, and a recording backend."""
    with Lab(nginx, tmp_path_factory.mktemp("nginx")) as running:
        yield running
    assert running.hook.faults == []
