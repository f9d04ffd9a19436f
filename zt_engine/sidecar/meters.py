"""What is counted on the request path: plain integers, turned into Prometheus text only when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from zt_engine.sidecar.outcomes import Outcome

DOUBLINGS = range(12, 28)
"""Latency is counted by the number of bits of its nanoseconds: buckets end at 4 us, 8 us, ... 134 ms."""


class Meters:
    """Counters of one decision process."""

    __slots__ = ("buckets", "by_kind", "hits", "latency_ns", "misses", "strangers")

    def __init__(self) -> None:
        self.by_kind: dict[tuple[str, str, str], list[int]] = {}
        """(effect, first reason, label) -> a cell with the number of decisions."""
        self.buckets = [0] * 65
        self.latency_ns = 0
        self.hits = 0
        self.misses = 0
        self.strangers = 0

    @property
    def asked(self) -> int:
        """How many requests came."""
        return self.hits + self.misses + self.strangers

    def decided(self, outcome: Outcome, spent_ns: int, *, hit: bool) -> None:
        """Count one decision."""
        cell = outcome.cell
        if cell is None:
            cell = outcome.cell = self.by_kind.setdefault(outcome.kind, [0])
        cell[0] += 1
        self.buckets[spent_ns.bit_length()] += 1
        self.latency_ns += spent_ns
        if hit:
            self.hits += 1
        else:
            self.misses += 1

    def stranger(self) -> None:
        """Count a request without a proxy's credential; it is not decided, so it is not in the decision log."""
        self.strangers += 1


class MetersCollector(Collector):
    """Shows the counters, and whatever gauges the composition root adds, under `zt_` names."""

    def __init__(self, meters: Meters, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self._meters = meters
        self._gauges = gauges

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """Yield every metric."""
        meters = self._meters
        decisions = CounterMetricFamily(
            "zt_decisions", "Decisions by effect, first reason and label.", labels=("effect", "reason", "label")
        )
        for (effect, reason, label), count in list(meters.by_kind.items()):
            decisions.add_metric((effect, reason, label), count[0])
        yield decisions
        cumulative = [(str(2**bits / 1e9), sum(meters.buckets[: bits + 1])) for bits in DOUBLINGS]
        cumulative.append(("+Inf", sum(meters.buckets)))
        yield HistogramMetricFamily(
            "zt_decision_seconds", "From the read request to the decision.", buckets=cumulative,
            sum_value=meters.latency_ns / 1e9,
        )  # fmt: skip
        cache = CounterMetricFamily("zt_decision_cache", "Decisions by use of the cache.", labels=("result",))
        cache.add_metric(("hit",), meters.hits)
        cache.add_metric(("miss",), meters.misses)
        yield cache
        yield CounterMetricFamily("zt_strangers", "Requests without a proxy's credential.", value=meters.strangers)
        for name, (help_text, value) in self._gauges.items():
            yield GaugeMetricFamily(name, help_text, value=value())


def exposition(meters: Meters, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> bytes:
    """Return the Prometheus text."""
    registry = CollectorRegistry()
    registry.register(MetersCollector(meters, gauges))
    return generate_latest(registry)
