"""All rules for Apache httpd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zt_engine.doctor.apache import coverage, requests
from zt_engine.doctor.apache.model import ApacheConfig
from zt_engine.doctor.apache.syntax import Parser
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.sources import Sources

RULES = (*coverage.RULES, *requests.RULES)


def check(paths: Sequence[str], sources: Sources) -> Iterator[Finding]:
    """Yield what is unsafe in files that belong together."""
    parser = Parser(sources)
    lines: list[Directive] = []
    for path in paths:
        lines.extend(parser.parse(path))
    config = ApacheConfig(lines)
    for rule in RULES:
        yield from rule(config)
