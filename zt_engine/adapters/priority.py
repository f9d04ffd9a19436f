"""Run only when nobody else wants the processor."""

from __future__ import annotations

import ctypes
import os
import platform
import time
from contextlib import suppress
from pathlib import Path

LOWEST = 19
AUTOGROUP = Path("/proc/self/autogroup")
TURN_NANOSECONDS = 100_000
"""The shortest turn that Linux gives."""
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The system call by machine; no C library before glibc 2.41 has a function for it."""


class _Attributes(ctypes.Structure):
    """`struct sched_attr` of Linux in its first version, sched_setattr(2)."""

    _fields_ = (
        ("size", ctypes.c_uint32), ("policy", ctypes.c_uint32), ("flags", ctypes.c_uint64), ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32), ("runtime", ctypes.c_uint64), ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )  # fmt: skip


def stand_back() -> None:
    """Give way to every other process at once, not only in the long run; for all threads that begin after this.

    Under Linux's idle policy whoever wakes up takes the processor from us in that moment. Merely being nice leaves us
    the rest of our turn, which is some milliseconds, or ten decisions. Where each session is a group, that policy
    holds within ours alone, and among groups we have a seventieth of the processor; so our turns are short as well.
    """
    os.nice(LOWEST)
    with suppress(OSError):  # where each session is a group with a share of its own, nice means nothing outside it
        AUTOGROUP.write_text(f"{LOWEST}\n", encoding="ascii")
    _take_short_turns()
    with suppress(OSError, AttributeError):  # a sandbox may forbid it, macOS lacks it; being nice is what is left
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _take_short_turns() -> None:
    """Ask for the shortest turns there are; they stay when the policy is changed afterwards, which asks for none.

    Before Linux 6.12, or where a sandbox refuses, turns are as long as anybody's.
    """
    number = SCHED_SETATTR.get(platform.machine())
    if number is None or platform.system() != "Linux":
        return
    wanted = _Attributes(size=ctypes.sizeof(_Attributes), nice=LOWEST, runtime=TURN_NANOSECONDS)
    ctypes.CDLL(None).syscall(number, 0, ctypes.byref(wanted), 0)


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
