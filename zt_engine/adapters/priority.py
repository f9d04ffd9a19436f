"""Run only when nobody else wants the processor."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

LOWEST = 19
AUTOGROUP = Path("/proc/self/autogroup")


def stand_back() -> None:
    """Give way to every other process at once, not only in the long run; for all threads that begin after this.

    Under Linux's idle policy whoever wakes up takes the processor from us in that moment. Merely being nice leaves us
    the rest of our turn, which is some milliseconds, or ten decisions.
    """
    os.nice(LOWEST)
    with suppress(OSError):  # where each session is a group with a share of its own, nice means nothing outside it
        AUTOGROUP.write_text(f"{LOWEST}\n", encoding="ascii")
    with suppress(OSError, AttributeError):  # a sandbox may forbid it, macOS lacks it; being nice is what is left
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class Crowd:
    """How long others have had the processor that this process wanted: what passed, less what it worked itself."""

    def __init__(self) -> None:
        self._passed, self._worked = time.monotonic(), time.process_time()

    def waited(self) -> float:
        """Return for how many seconds since this was asked last; 0 where they had it for less than half of the time.

        Who slept meanwhile counts as who waited. Less than half is what any machine takes now and then.
        """
        passed, worked = time.monotonic(), time.process_time()
        used = worked - self._worked
        waited = passed - self._passed - used
        self._passed, self._worked = passed, worked
        return waited if waited > used else 0.0
