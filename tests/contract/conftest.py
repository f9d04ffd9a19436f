"""What contracts of the store share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store_support import KINDS, Watcher, opened
from zt_engine.adapters.store_sql import SqlStore


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    """A store whose every statement is found to name the tenant when the test is over."""
    with opened(request.param, tmp_path) as opened_store:
        watcher = Watcher(opened_store)
        yield opened_store
        assert watcher.without_tenant() == []
