"""What is counted on the request path: plain integers, turned into Prometheus text only when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from zt_engine.sidecar.recorder import Outcome

BOUNDS_US = (10, 25, 50, 75, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000)


class Meters:
    """Counters of one decision process."""

    __slots__ = ("buckets", "by_kind", "hits", "latency_ns", "misses", "strangers")

    def __init__(self) -> None:
        self.by_kind: dict[tuple[str, str, str], int] = {}
        """(effect, first reason, label) -> decisions."""
        self.buckets = [0] * (len(BOUNDS_US) + 1)
        self.latency_ns = 0
        self.hits = 0
        self.misses = 0
        self.strangers = 0

    def decided(self, outcome: Outcome, spent_ns: int, *, hit: bool) -> None:
        """Count one decision."""
        kind = outcome.kind
        self.by_kind[kind] = self.by_kind.get(kind, 0) + 1
        self.buckets[bisect_left(BOUNDS_US, spent_ns // 1000)] += 1
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
            decisions.add_metric((effect, reason, label), count)
        yield decisions
        total, cumulative = 0, []
        for bound, count in zip((*BOUNDS_US, None), meters.buckets, strict=True):
            total += count
            cumulative.append(("+Inf" if bound is None else str(bound / 1e6), total))
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
