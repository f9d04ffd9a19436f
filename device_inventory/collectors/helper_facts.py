"""What the root helper says: the facts of a root pass, with the slow ones from the last time they were looked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from msgspec import Struct

from device_inventory.collectors.linux import HELPER_FACTS, SLOW_FACTS, collect, slow_stamp
from device_inventory.collectors.machine import Collected, Machine
from device_inventory.facts import DAY

KEPT: Final = 5
"""Seconds for which one pass answers every question: a flood of them costs no more than this."""
LOOK_EVERY: Final = 600
"""Seconds between looks at whether the slow facts may have changed."""

Statement = Mapping[str, Mapping[str, object]]


class _Pass(Struct, frozen=True, kw_only=True):
    at: int
    facts: Mapping[str, Collected]


class HelperFacts:
    """The machine as root sees it; safe to share between threads."""

    def __init__(self, machine: Callable[[int], Machine]) -> None:
        self._machine = machine
        self._lock = threading.Lock()
        self._fast = _Pass(at=-KEPT - 1, facts={})
        self._slow = _Pass(at=0, facts={})
        self._stamp = ""

    def at(self, now: int) -> Statement:
        """Every fact of HELPER_FACTS with its status, value and when it was collected.

        Before the first slow look nothing is said of the slow facts: `not_collected` would take back what was said
        before the machine was started.
        """
        with self._lock:
            if not 0 <= now - self._fast.at <= KEPT:
                self._fast = _Pass(at=now, facts=collect(self._machine(now), scope="root"))
            fast, slow = self._fast, self._slow
        said = {}
        for name in sorted(HELPER_FACTS if slow.at else HELPER_FACTS - SLOW_FACTS):
            source = slow if name in SLOW_FACTS else fast
            fact = source.facts[name]
            value = list(fact.value) if isinstance(fact.value, tuple) else fact.value
            said[name] = {"status": fact.status, "value": value, "collected_at": fact.looked_at(source.at)}
        return said

    def serial(self, now: int) -> str:
        """The hash of the serial number, or nothing."""
        value = self.at(now)["device.serial_hash"]["value"]
        return value if isinstance(value, str) else ""

    def look_slowly(self, now: int) -> bool:
        """Look for the slow facts if they may have changed or are a day old; whether that was so."""
        machine = self._machine(now)
        stamp = slow_stamp(machine)
        if stamp == self._stamp and 0 <= now - self._slow.at < DAY:
            return False
        found = collect(machine, scope="root", slow=True)
        at = min(found[name].looked_at(now) for name in SLOW_FACTS)
        with self._lock:
            self._slow, self._stamp = _Pass(at=at, facts=found), stamp
        return True

    def keep_slow(self, clock: Callable[[], float], wait: threading.Event | None = None) -> None:
        """Keep the slow facts up to date until `wait` is set."""
        pause = wait or threading.Event()
        while not pause.is_set():
            # Whatever fails here leaves the older answer with its older date.
            with suppress(OSError):
                self.look_slowly(int(clock()))
            pause.wait(LOOK_EVERY)
