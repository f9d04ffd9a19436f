from __future__ import annotations

import ctypes

from zt_engine.adapters.clock_system import _STATUS_OFFSET, SystemClock, kernel_is_synchronised
from zt_engine.logs import redact


class Timex(ctypes.Structure):
    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
    ]


def test_the_status_stands_where_the_kernel_puts_it() -> None:
    assert Timex.status.offset == _STATUS_OFFSET


def test_the_clock_says_the_same_until_it_is_asked_again_much_later() -> None:
    clock = SystemClock()

    assert clock.synchronised() == kernel_is_synchronised()
    assert clock.now() > 1_790_000_000


def test_a_token_a_key_and_a_named_secret_never_reach_the_operational_log() -> None:
    event = {
        "event": "x eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln y",
        "Authorization": "Bearer abc",
        "error": "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
        "count": 3,
    }

    clean = redact(None, "info", event)

    assert clean == {"event": "x [redacted] y", "Authorization": "[redacted]", "error": "[redacted]", "count": 3}
