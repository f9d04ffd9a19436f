"""What tests of a sidecar that follows a control plane, or that is asked over gRPC, begin with; some replace them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.grpc_support import Listening
from tests.stream_server import Plane, Site


@pytest.fixture
def site(tmp_path: Path, opa: str) -> Site:
    return Site(tmp_path, opa)


@pytest.fixture
def plane(site: Site) -> Iterator[Plane]:
    with site.followed() as plane:
        yield plane


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Listening]:
    running = Listening(tmp_path)
    yield running
    running.close()
