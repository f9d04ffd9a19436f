"""The heart beat that cuts off endless policies: a thread that only sleeps and counts up wasmtime's epoch.

It needs the interpreter lock for a moment each period, so a CPU-bound Python thread in the same process delays every
deadline (measured: a 25 ms budget became 286 ms). Keep such work in other processes. While nothing is evaluated it
stops: two hundred beats a second are a fortieth of a processor, for nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

TICK_MS = 5
"""Period of the epoch; every deadline is a whole number of these, rounded up."""
IDLE_BEATS = 2_000
"""Beats after which it stops when nothing more is touched: ten seconds, longer than any deadline."""
BRIEF_BEATS = 256
"""The same after an evaluation whose deadline is shorter: 1.28 seconds."""


def ticks(budget_ms: int) -> int:
    """Return the epoch deadline for a budget: at least the budget, at most one tick more."""
    return -(-budget_ms // TICK_MS) + 1


class EpochTicker:
    """Calls `increment` every tick while at least one holder has acquired it; threads do not survive a fork.

    INVARIANT: whoever arms a deadline says so before it calls, or the beat could stop meanwhile: with `touch`, and for
    an evaluation, whose deadline is short, with `evaluates` and with `wake` if it is `asleep`.
    """

    def __init__(
        self,
        increment: Callable[[], None],
        *,
        period_ms: int = TICK_MS,
        idle_beats: int = IDLE_BEATS,
        brief_beats: int = BRIEF_BEATS,
    ) -> None:
        self._increment = increment
        self._period = period_ms / 1000
        self._idle_beats, self._brief_beats = idle_beats, brief_beats
        self._lock = threading.Lock()
        self._holders = 0
        self.beats = 0
        """Grows before each increment: while it is the same, a deadline armed earlier is the one armed now."""
        self.touched = True
        self.evaluates = False
        """Set before an evaluation with a deadline below `BRIEF_BEATS`: what `touched` is to longer ones."""
        self.asleep = False
        self._awake = threading.Event()
        self._stop: threading.Event | None = None

    @property
    def running(self) -> bool:
        """Whether there is a thread, that is whether a deadline would ever be reached."""
        return self._stop is not None

    def touch(self) -> None:
        """Let it beat for a while: a deadline is about to be armed."""
        # INVARIANT: first say that it is needed, then look whether it sleeps; the thread does the two the other way
        # round, so one of them sees the other.
        self.touched = True
        if self.asleep:
            self.wake()

    def wake(self) -> None:
        """Let it go on beating, if it sleeps."""
        self._awake.set()

    def acquire(self) -> None:
        """Start the thread unless somebody else has; call `release` once for each call of this."""
        with self._lock:
            self._holders += 1
            self.touch()
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
                self._awake.set()

    def _beat(self, stop: threading.Event) -> None:
        # Not `stop.wait`: it makes a lock and takes two, and a beat costs a quarter more with it.
        increment, stopped, period, sleep = self._increment, stop.is_set, self._period, time.sleep
        left = self._idle_beats
        while True:
            sleep(period)
            if stopped():
                return
            self.beats += 1
            increment()
            left -= 1
            if self.touched:
                self.touched, left = False, self._idle_beats
            if self.evaluates:
                self.evaluates, left = False, max(left, self._brief_beats)
            if left <= 0:
                self._rest(stop)
                # Who woke it is heard at the next beat; until then this is enough for either.
                left = self._idle_beats if self.touched else self._brief_beats

    def _rest(self, stop: threading.Event) -> None:
        self._awake.clear()
        self.asleep = True
        if not self.touched and not self.evaluates and not stop.is_set():
            self._awake.wait()
        self.asleep = False
