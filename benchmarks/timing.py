"""Timing a call within this process: many calls a batch, several batches.

Where a figure is compared with one that was measured beside it, what counts is the median of the time that passed, and
no best case. Where it is compared with a number that somebody wrote down, it has to be the code's own and not the
hour's: on a shared machine batches of the same code took 2.7 to 5.2 us a call within one run. Who shares a core's
caches and its clock shows in processor time too. What is added so is never negative, so the least of many short batches
is nearest to the code's cost; each batch has to ask for all there is, lest the least be that of the easiest questions.
"""

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


def processor_us(call: Callable[[], object], *, calls: int, batches: int) -> list[float]:
    """Return microseconds of this thread's processor time a call, one figure a batch; the first is thrown away."""
    found = []
    gc.collect()
    for _ in range(batches + 1):
        started = time.thread_time_ns()
        for _ in range(calls):
            call()
        found.append((time.thread_time_ns() - started) / calls / 1000)
    return found[1:]
