"""The system clock: the only place that reads time, and that asks the kernel whether it follows a source."""

from __future__ import annotations

import time
from functools import partial

from device_inventory.collectors.clock import kernel_clock
from device_inventory.collectors.unseen import NotObserved

RECHECK_SECONDS = 10.0


class SystemClock:
    """Wall-clock time; `synchronised` is asked of the kernel at most every ten seconds."""

    def __init__(self) -> None:
        self.now = time.time
        self.elapsed = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
        """Seconds since the machine started, those in which it slept as well; nobody can set it."""
        self._checked_at = float("-inf")
        self._synchronised = False

    def synchronised(self) -> bool:
        """Whether the kernel says that the clock is disciplined; false when it cannot say."""
        instant = time.monotonic()
        if instant - self._checked_at > RECHECK_SECONDS:
            self._checked_at = instant
            self._synchronised = kernel_is_synchronised()
        return self._synchronised


def kernel_is_synchronised() -> bool:
    """Ask the kernel as the collectors do, changing nothing."""
    try:
        return kernel_clock().synchronised
    except (OSError, AttributeError, NotObserved):
        return False
