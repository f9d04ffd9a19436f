"""A release is asked what its own scenarios say before it decides anything: what is to be refused must be refused here.

Its publisher had them answered with the version and the engine that stood there; here others may stand. A few tables of
each release are asked, those that must deny and must allow before all others, in a thread beside the requests.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

import structlog

from zt_engine.authoring.scenarios import FIXTURES, Scenario, scenarios_in
from zt_engine.bootstrap.activation import Parts
from zt_engine.bootstrap.rehearsal import Stage
from zt_engine.core.bundle import Bundle
from zt_engine.core.errors import BundleError, ConfigError, ZtError
from zt_engine.ports import PolicyEngine

log = structlog.get_logger()

MAX_BYTES: Final = 16_384
"""Of tables. To read them takes longer than to have them decided."""
MAX_SCENARIOS: Final = 48
KEPT: Final = 16
_FIRST: Final = ("must_deny", "must_allow")
_OPENS: Final = frozenset({"allow", "observe"})


class Smoke:
    """Asks the scenarios of releases, those of the same content once. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passed: dict[str, None] = {}

    def check(self, parts: Parts, engine: PolicyEngine) -> int:
        """Ask a release and return how many scenarios were asked; BundleError BUNDLE_SMOKE.

        It is refused for what it opens and should not. What it refuses and should not is no danger, and may be a busy
        machine: it is logged.
        """
        content = parts.bundle.content_digest
        with self._lock:
            if content in self._passed:
                return 0
        stage = Stage(parts, engine)
        asked = chosen(parts.bundle)
        closed = 0
        for scenario in asked:
            wanted = str(scenario.expect.get("effect", ""))
            effect = _decided(stage, scenario)
            if effect in _OPENS and wanted and wanted not in _OPENS:
                message = f"{scenario.name('en')}: `{effect}`, and its author says `{wanted}`"
                raise BundleError("BUNDLE_SMOKE", message, where=scenario.question.where)
            closed += effect not in _OPENS and wanted in _OPENS
        if closed:
            log.warning("release.stricter_than_tested", revision=parts.bundle.revision, scenarios=closed)
        with self._lock:
            self._passed[content] = None
            while len(self._passed) > KEPT:
                del self._passed[next(iter(self._passed))]
        return len(asked)


def chosen(bundle: Bundle) -> tuple[Scenario, ...]:
    """Return the scenarios that are asked; BundleError BUNDLE_SMOKE for tables that cannot be read."""
    try:
        return scenarios_in(_tables(bundle.scenarios))[:MAX_SCENARIOS]
    except ConfigError as error:
        raise BundleError("BUNDLE_SMOKE", f"{error.code}: {error.message}", where=error.where) from None


def _tables(files: Mapping[str, bytes]) -> dict[str, bytes]:
    found = {name: raw for name, raw in files.items() if _stem(name) == _stem(FIXTURES)}
    size = 0
    for name in sorted(files.keys() - found.keys(), key=_order):
        size += len(files[name])
        if size > MAX_BYTES:
            break
        found[name] = files[name]
    return found


def _decided(stage: Stage, scenario: Scenario) -> str:
    try:
        return stage.decide(scenario.question).effect
    except ZtError:
        return "deny"


def _order(name: str) -> tuple[int, str]:
    stem = _stem(name)
    return (_FIRST.index(stem) if stem in _FIRST else len(_FIRST), name)


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".yaml")
