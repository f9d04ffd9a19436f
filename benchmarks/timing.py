"""Timing a call within this process: many calls a batch, several batches, the median and no best case."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def per_call_us(call: Callable[[], object], *, calls: int, repeats: int) -> list[float]:
    """Return microseconds a call, one figure a batch; the first batch warms up and is thrown away."""
    found = []
    for _ in range(repeats + 1):
        gc.collect()
        started = time.perf_counter_ns()
        for _ in range(calls):
            call()
        found.append((time.perf_counter_ns() - started) / calls / 1000)
    return found[1:]
