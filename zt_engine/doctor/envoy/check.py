"""All rules for Envoy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zt_engine.doctor.envoy import question, requests
from zt_engine.doctor.envoy.model import EnvoyConfig
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.sources import Sources
from zt_engine.doctor.trees.read import read_tree

RULES = (*question.RULES, *requests.RULES)


def check(paths: Sequence[str], sources: Sources) -> Iterator[Finding]:
    """Yield what is unsafe in files that belong together."""
    config = EnvoyConfig([root for path in paths for root in read_tree(path, sources)])
    for rule in RULES:
        yield from rule(config)
