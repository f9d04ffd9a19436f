"""What a sidecar says about itself, read as an operator would read it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from msgspec.structs import astuple

from benchmarks.processes import text_of

_LINE = re.compile(r"^(\w+)(\{[^}]*\})? (\S+)$", re.MULTILINE)


class Counts(msgspec.Struct, frozen=True):
    """Counters of one moment; the difference of two is what happened between them."""

    hits: float
    misses: float
    allowed: float
    decisions: float
    log_records: float
    engine_seconds: float
    engine_calls: float

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, name) - getattr(other, name) for name in self.__struct_fields__))

    @property
    def hit_rate(self) -> float:
        """The share of decisions that were remembered."""
        return self.hits / max(1.0, self.hits + self.misses)


def share_remembered(counts: Sequence[Counts]) -> float:
    """Return the hit rate over several rounds."""
    return Counts(*(sum(values) for values in zip(*map(astuple, counts), strict=True))).hit_rate


def parse(text: str) -> Counts:
    """Read the Prometheus text of a sidecar."""
    values: dict[str, float] = {}
    allowed = decisions = 0.0
    for name, labels, value in _LINE.findall(text):
        values[name + labels] = float(value)
        if name == "zt_decisions_total":
            decisions += float(value)
            allowed += float(value) if 'effect="allow"' in labels else 0.0
    return Counts(
        hits=values.get('zt_decision_cache_total{result="hit"}', 0.0),
        misses=values.get('zt_decision_cache_total{result="miss"}', 0.0),
        allowed=allowed,
        decisions=decisions,
        log_records=values.get("zt_log_records", 0.0),
        engine_seconds=values.get("zt_engine_seconds_total", 0.0),
        engine_calls=values.get("zt_engine_calls_total", 0.0),
    )


def read(url: str) -> Counts:
    """Fetch and read them."""
    return parse(text_of(url))
