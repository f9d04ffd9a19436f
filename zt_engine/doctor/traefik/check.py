"""All rules for Traefik."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zt_engine.doctor.finding import Finding
from zt_engine.doctor.sources import Sources
from zt_engine.doctor.traefik import coverage, requests
from zt_engine.doctor.traefik.model import TraefikConfig
from zt_engine.doctor.trees.read import read_tree

RULES = (*coverage.RULES, *requests.RULES)


def check(paths: Sequence[str], sources: Sources) -> Iterator[Finding]:
    """Yield what is unsafe in files that belong together, static and dynamic ones alike."""
    config = TraefikConfig([root for path in paths for root in read_tree(path, sources)])
    for rule in RULES:
        yield from rule(config)
