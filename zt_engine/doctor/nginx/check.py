"""All rules for nginx."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.nginx import coverage, errors, question, requests
from zt_engine.doctor.nginx.model import NginxConfig
from zt_engine.doctor.nginx.syntax import Parser
from zt_engine.doctor.sources import Sources

RULES = (*coverage.RULES, *errors.RULES, *question.RULES, *requests.RULES)


def check(paths: Sequence[str], sources: Sources) -> Iterator[Finding]:
    """Yield what is unsafe in files that belong together."""
    parser = Parser(sources)
    directives: list[Directive] = []
    for path in paths:
        directives.extend(parser.parse(path))
    config = NginxConfig(directives)
    for rule in RULES:
        yield from rule(config)
