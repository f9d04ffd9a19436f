from __future__ import annotations

import pytest

from device_inventory.collectors.unseen import NotObserved
from zt_engine.adapters import clock_system
from zt_engine.adapters.clock_system import SystemClock, kernel_is_synchronised
from zt_engine.logs import redact


def test_a_kernel_that_does_not_say_leaves_the_clock_undisciplined(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent() -> None:
        raise NotObserved("error", "nothing")

    monkeypatch.setattr(clock_system, "kernel_clock", silent)

    assert kernel_is_synchronised() is False


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
