"""The system clock: the only place that reads time, and that asks the kernel whether it follows a source."""

from __future__ import annotations

import ctypes
import time
from functools import partial

STA_UNSYNC = 0x0040
TIME_ERROR = 5
_TIMEX_BYTES = 256
_STATUS_OFFSET = 40
"""`struct timex.status` on 64-bit Linux (adjtimex(2)): after `modes` and four longs."""

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
    """Ask adjtimex(2), changing nothing."""
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return False
    status = int.from_bytes(buffer.raw[_STATUS_OFFSET : _STATUS_OFFSET + 4], "little")
    return state not in (-1, TIME_ERROR) and not status & STA_UNSYNC
