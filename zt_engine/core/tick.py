"""The decision tick: the span in which a decision is one pure function, and nothing remembered outlives it.

A tick begins at an instant that its device's id gives, to the millisecond, so that the ticks of a fleet do not end
together and the decisions that have to be made anew come evenly. The policy sees whole seconds: `start` is at or before
the tick, `end` at or after it, so that every age is measured to an instant at which the tick is over.
"""

from __future__ import annotations

from typing import NamedTuple


class Tick(NamedTuple):
    """From `since` to `until` (exclusive), in epoch seconds; `start` and `end` are the whole seconds around it."""

    start: int
    end: int
    since: float
    until: float


def tick_at(now: float, *, phase: int, seconds: int) -> Tick:
    """Return the tick around `now`. The phase is any number; what is left of it modulo the length is milliseconds."""
    length = seconds * 1000
    millisecond = int(now * 1000)
    first = millisecond - (millisecond - phase) % length
    last = first + length
    return Tick(first // 1000, -(-last // 1000), first / 1000, last / 1000)
