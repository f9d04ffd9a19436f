"""All rules for Caddy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from zt_engine.doctor.caddy import coverage, json_form, question, syntax
from zt_engine.doctor.caddy.model import CaddyConfig
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.sources import Sources
from zt_engine.doctor.trees import json_text

RULES = (*coverage.RULES, *question.RULES)


def check(paths: Sequence[str], sources: Sources) -> Iterator[Finding]:
    """Yield what is unsafe in files that belong together."""
    top: list[Directive] = []
    for path in paths:
        text = sources.read(path)
        if path.endswith(".json") or re.match(r'\s*\{\s*"', text) is not None:
            top.extend(json_form.site_blocks(json_text.read(text, path)))
        else:
            top.extend(syntax.parse(path, sources))
    config = CaddyConfig(top)
    for rule in RULES:
        yield from rule(config)
