"""What tests of a sidecar that follows a control plane begin with; modules with sites of their own replace them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stream_server import Plane, Site


@pytest.fixture
def site(tmp_path: Path, opa: str) -> Site:
    return Site(tmp_path, opa)


@pytest.fixture
def plane(site: Site) -> Iterator[Plane]:
    with site.followed() as plane:
        yield plane
