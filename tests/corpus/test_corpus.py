"""Every probe through every proxy: nothing protected is executed without an allow for that very request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.corpus.printed import COLUMN
from tests.corpus.proxies import CANDIDATES
from tests.corpus.world import World
from zt_engine.corpus.backend import Backend
from zt_engine.corpus.matrix import cells, holes, wrong
from zt_engine.corpus.probe import CLASSES, of_classes, packaged
from zt_engine.corpus.runner import Place, run
from zt_engine.corpus.verdict import Outcome, Scope
from zt_engine.corpus.wire import Address

SCOPE = Scope(protected=("/vault", "/safe", "/closing", "/raising", "/opening"), public="/pub")


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


@pytest.mark.parametrize("name", CANDIDATES)
def test_nothing_gets_past_a_proxy(
    name: str, world: World, backend: Backend, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    candidate = CANDIDATES[name]
    if candidate.missing:
        if os.environ.get("CI"):
            pytest.fail(f"missing: {candidate.missing}")
        pytest.skip(reason=f"missing: {candidate.missing}")
    proxy = candidate.make()
    front = proxy.start(world, backend.address, tmp_path)
    try:
        place = Place(
            addresses={"front": front, **world.listeners()},
            values=world.values(),
            scope=SCOPE,
            may_lose_identity=candidate.may_lose_identity,
        )
        reports = run(packaged(), place, records=backend.take, witness=world.decisions, change=world.change)
    finally:
        world.restore()
        proxy.stop()
    record_property(COLUMN, [name, *cells(reports)])

    assert list(wrong({name: reports})) == []
    assert holes({name: reports}) == []


def test_without_a_proxy_every_class_gets_past(world: World, backend: Backend) -> None:
    """The corpus is worth something: where nobody decides, it says so for each class."""
    chosen = [probe for _, _, probes in of_classes(packaged()) for probe in probes[:3]]
    bare = Place(addresses={"front": Address(backend.host, backend.port)}, values=world.values(), scope=SCOPE)

    reports = run(chosen, bare, records=backend.take, witness=world.decisions, change=lambda: None)

    past = {report.probe.number for report in reports if report.outcome is Outcome.VIOLATED}
    assert past == set(CLASSES)
