"""All rules for HAProxy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.haproxy import lua, question, requests
from zt_engine.doctor.haproxy.model import HaproxyConfig, scripts
from zt_engine.doctor.haproxy.syntax import parse
from zt_engine.doctor.sources import Sources

RULES = (*question.RULES, *requests.RULES)


def check(paths: Sequence[str], sources: Sources) -> Iterator[Finding]:
    """Yield what is unsafe in files that belong together: configuration, and Lua that is named or loaded."""
    directives: list[Directive] = []
    named: list[lua.Script] = []
    for path in paths:
        text = sources.read(path)
        if path.endswith(".lua"):
            named.append(lua.read(path, text))
        else:
            directives.extend(parse(text, path))
    loaded = [script for script in scripts(directives, sources) if script.path not in paths]
    config = HaproxyConfig(directives, [*named, *loaded])
    for rule in RULES:
        yield from rule(config)
