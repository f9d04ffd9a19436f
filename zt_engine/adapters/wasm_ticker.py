"""The heart beat that cuts off endless policies: a thread that only sleeps and counts up wasmtime's epoch.

It needs the interpreter lock for a moment each period, so a CPU-bound Python thread in the same process delays every
deadline (measured: a 25 ms budget became 286 ms). Keep such work in other processes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

TICK_MS = 5
"""Period of the epoch; every deadline is a whole number of these, rounded up."""


def ticks(budget_ms: int) -> int:
    """Return the epoch deadline for a budget: at least the budget, at most one tick more."""
    return -(-budget_ms // TICK_MS) + 1


class EpochTicker:
    """Calls `increment` every tick while at least one holder has acquired it; threads do not survive a fork."""

    def __init__(self, increment: Callable[[], None], *, period_ms: int = TICK_MS) -> None:
        self._increment = increment
        self._period = period_ms / 1000
        self._lock = threading.Lock()
        self._holders = 0
        self.beats = 0
        """Grows before each increment: while it is the same, a deadline armed earlier is the one armed now."""
        self._stop: threading.Event | None = None

    @property
    def running(self) -> bool:
        """Whether the thread beats, that is whether a deadline would ever be reached."""
        return self._stop is not None

    def acquire(self) -> None:
        """Start the thread unless somebody else has; call `release` once for each call of this."""
        with self._lock:
            self._holders += 1
            if self._stop is None:
                stop = self._stop = threading.Event()
                threading.Thread(target=self._beat, args=(stop,), name="zt-wasm-ticker", daemon=True).start()

    def release(self) -> None:
        """Stop the thread when the last holder is gone."""
        with self._lock:
            self._holders -= 1
            if self._holders == 0 and self._stop is not None:
                self._stop.set()
                self._stop = None

    def _beat(self, stop: threading.Event) -> None:
        increment, wait, period = self._increment, stop.wait, self._period
        while not wait(period):
            self.beats += 1
            increment()
