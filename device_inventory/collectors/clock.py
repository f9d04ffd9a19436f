"""The kernel's own opinion of its clock: `adjtimex(2)`."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

from msgspec import Struct

from device_inventory.collectors.unseen import broken

_UNSYNCHRONISED: Final = 0x40  # STA_UNSYNC
_NANOSECONDS: Final = 0x2000  # STA_NANO
_TIME_ERROR: Final = 5


class KernelClock(Struct, frozen=True, kw_only=True):
    """Whether a time service has set the clock lately, and by how much it may be off at most, in microseconds."""

    synchronised: bool
    error_us: int


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("fraction", ctypes.c_long),
        ("rest", ctypes.c_byte * 128),
    )


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def kernel_clock() -> KernelClock:
    """Ask the kernel; a question with `modes` 0 changes nothing and needs no right."""
    timex = _Timex(modes=0)
    state = _library().adjtimex(ctypes.byref(timex))
    if state < 0:
        raise broken("the kernel does not tell the state of its clock")
    offset = abs(timex.offset) // (1000 if timex.status & _NANOSECONDS else 1)
    return KernelClock(
        synchronised=state != _TIME_ERROR and not timex.status & _UNSYNCHRONISED, error_us=timex.maxerror + offset
    )
