"""Every probe through every proxy: nothing protected is executed without an allow for that very request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corpus.proxies import CANDIDATES
from tests.corpus.world import World
from zt_engine.corpus.backend import Backend
from zt_engine.corpus.matrix import holes, matrix, wrong
from zt_engine.corpus.probe import packaged
from zt_engine.corpus.runner import Place, Report, run
from zt_engine.corpus.verdict import Scope
from zt_engine.corpus.wire import Address

SCOPE = Scope(protected=("/vault", "/safe", "/closing", "/raising", "/opening"), public="/pub")
RESULTS: dict[str, tuple[Report, ...]] = {}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The sidecar that decides for every proxy."""
    running = World(tmp_path_factory.mktemp("corpus"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    """The backend of three stacks."""
    with Backend() as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def printed(request: pytest.FixtureRequest) -> Iterator[None]:
    """The matrix at the end, for whoever reads the test's output."""
    yield
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and RESULTS:
        reporter.write_line("\n" + matrix(RESULTS))


@pytest.mark.parametrize("name", CANDIDATES)
def test_nothing_gets_past_a_proxy(name: str, world: World, backend: Backend, tmp_path: Path) -> None:
    candidate = CANDIDATES[name]
    if candidate.missing:
        if os.environ.get("CI"):
            pytest.fail(f"missing: {candidate.missing}")
        pytest.skip(reason=f"missing: {candidate.missing}")
    proxy = candidate.make()
    host, port = proxy.start(world, backend.address, tmp_path)
    try:
        place = Place(
            addresses={"front": Address(host, port), **world.listeners()},
            values=world.values(),
            scope=SCOPE,
            may_lose_identity=candidate.may_lose_identity,
        )
        reports = run(packaged(), place, records=backend.take, witness=world.decisions, change=world.change)
    finally:
        world.restore()
        proxy.stop()
    RESULTS[name] = reports

    assert list(wrong({name: reports})) == []
    assert holes({name: reports}) == []
