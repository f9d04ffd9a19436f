"""Every probe through every proxy: nothing protected is executed without an allow for that very request."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.corpus.printed import COLUMN
from tests.corpus.proxies import CANDIDATES, CERTIFIED, Laboratory, keyed, over_tls, with_certificates
from tests.corpus.world import World
from zt_engine.corpus.backend import Backend
from zt_engine.corpus.matrix import cells, holes, wrong
from zt_engine.corpus.probe import CLASSES, FRONTS, of_classes, packaged
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
    addresses = {"front": front} if front.tls is None else with_certificates(front, world, tmp_path)
    try:
        place = Place(
            addresses={**addresses, **world.listeners()},
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


@pytest.mark.parametrize("name", CERTIFIED)
def test_nobody_gets_past_with_a_certificate_or_the_word_of_one(
    name: str, world: World, backend: Backend, tmp_path: Path
) -> None:
    candidate = CERTIFIED[name]
    if candidate.missing:
        if os.environ.get("CI"):
            pytest.fail(f"missing: {candidate.missing}")
        pytest.skip(reason=f"missing: {candidate.missing}")
    chosen = [probe for probe in packaged() if any("device_only" in step.send for step in probe.steps)]
    chosen = [probe for probe in chosen if any(step.to in FRONTS[1:] or "cert" in step.send for step in probe.steps)]
    proxy = candidate.make()
    folder = tmp_path / "proxy"
    folder.mkdir()
    front = proxy.start(world, backend.address, folder)
    try:
        addresses = {**with_certificates(front, world, tmp_path), **world.listeners()}
        place = Place(
            addresses=addresses, values=world.values(), scope=SCOPE, may_lose_identity=candidate.may_lose_identity
        )
        reports = run(chosen, place, records=backend.take, witness=world.decisions)
    finally:
        proxy.stop()

    assert list(wrong({name: reports})) == []
    assert [report.probe.id for report in reports if report.outcome is Outcome.NOT_APPLICABLE] == []
    assert len(reports) >= 20


def test_a_proxy_that_hands_on_the_word_of_a_client_about_its_certificate_is_seen(
    world: World, backend: Backend, tmp_path: Path
) -> None:
    """The probes are worth something: Caddy without the line that says what TLS has verified."""
    candidate = CERTIFIED["Caddy"]
    if candidate.missing:
        if os.environ.get("CI"):
            pytest.fail(f"missing: {candidate.missing}")
        pytest.skip(reason=f"missing: {candidate.missing}")
    chosen = [probe for probe in packaged() if probe.id == "forged-certificate-rfc-9440"]
    proxy = Laboratory(
        "caddy",
        "caddy.CaddyLab",
        lambda given: {
            **over_tls(keyed("caddy"), lambda *files: files)(given),
            "edit": lambda text: re.sub(r"(?m)^.*header_up Client-Cert .*$", "", text),
        },
    )
    front = proxy.start(world, backend.address, tmp_path / "caddy")
    try:
        place = Place(addresses=with_certificates(front, world, tmp_path), values=world.values(), scope=SCOPE)
        (report,) = run(chosen, place, records=backend.take, witness=world.decisions)
    finally:
        proxy.stop()

    assert report.outcome is Outcome.VIOLATED


def test_without_a_proxy_every_class_gets_past(world: World, backend: Backend) -> None:
    """The corpus is worth something: where nobody decides, it says so for each class."""
    reached = [probe for probe in packaged() if {step.to for step in probe.steps} <= {"front"}]
    chosen = [probe for _, _, probes in of_classes(reached) for probe in probes[:3]]
    bare = Place(addresses={"front": Address(backend.host, backend.port)}, values=world.values(), scope=SCOPE)

    reports = run(chosen, bare, records=backend.take, witness=world.decisions, change=lambda: None)

    past = {report.probe.number for report in reports if report.outcome is Outcome.VIOLATED}
    assert past == set(CLASSES)
