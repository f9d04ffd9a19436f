"""Whether the clock is kept right, as the kernel sees it."""

from __future__ import annotations

from typing import Final

from device_inventory.collectors.machine import Found, Machine, seen, unknown
from device_inventory.collectors.probe import Probe


def _synchronised(machine: Machine) -> Found:
    clock = machine.clock()
    if not clock.synchronised:
        return {"clock.synchronised": seen(False), "clock.skew_s": unknown("nothing keeps the clock right")}
    # The bound the kernel gives: it grows from each setting of the clock to the next.
    return {"clock.synchronised": seen(True), "clock.skew_s": seen(clock.error_us // 1_000_000)}


PROBES: Final = (Probe(facts=("clock.synchronised", "clock.skew_s"), look=_synchronised),)
