"""The decision tick: the span in which a decision is one pure function, and nothing remembered outlives it."""

from __future__ import annotations


def tick_at(now: float, *, phase: int, seconds: int) -> tuple[int, int]:
    """Return start and end (exclusive) of the tick around `now`, in epoch seconds.

    The phase comes from the device, so that the ticks of many devices do not end together.
    """
    start = int(now) - (int(now) - phase) % seconds
    return start, start + seconds
