"""What a Linux machine tells of itself.

Three things hold whatever is found. What could not be looked at is `not_collected` and never a good value. Nothing
outside the catalogue leaves this module, nor a value of another type than the catalogue's. A look that fails, fails
for its own facts.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from msgspec.structs import replace

from device_inventory.collectors import (
    boot,
    disk,
    firewall,
    hardware,
    integrity,
    itself,
    kernels,
    listeners,
    mdm,
    patch,
    patch_history,
    patch_pending,
    privilege,
    protection,
    release,
    screenlock,
    sessions,
    time_sync,
)
from device_inventory.collectors.boot import boot_id
from device_inventory.collectors.machine import Collected, Found, Machine, Scope
from device_inventory.collectors.packages import RPM_DATABASES
from device_inventory.collectors.probe import Probe, ask

__all__ = ["FACTS", "HELPER_FACTS", "SLOW_FACTS", "boot_id", "collect", "slow_stamp"]

PROBES: Final[tuple[Probe, ...]] = (
    *itself.PROBES,
    *release.PROBES,
    *hardware.PROBES,
    *boot.PROBES,
    *kernels.PROBES,
    *patch.PROBES,
    *patch_history.PROBES,
    *patch_pending.PROBES,
    *disk.PROBES,
    *firewall.PROBES,
    *listeners.PROBES,
    *protection.PROBES,
    *screenlock.PROBES,
    *sessions.PROBES,
    *privilege.PROBES,
    *integrity.PROBES,
    *mdm.PROBES,
    *time_sync.PROBES,
)

FACTS: Final = frozenset(name for probe in PROBES for name in probe.facts)
"""Every fact that `collect` may answer, in any scope and lane."""
SLOW_FACTS: Final = frozenset(name for probe in PROBES if probe.slow for name in probe.facts)
"""Facts of the slow lane: seconds of work, so once a day."""
HELPER_FACTS: Final = frozenset(name for probe in PROBES if "root" in probe.scopes for name in probe.facts) - {
    "agent.version",
    "agent.hash",
    "collector_scope",
}
"""What the root helper speaks of: the machine, and neither a person's session nor the agent."""

_SLOW_SOURCES: Final = (
    "/var/lib/dpkg/status",
    "/var/lib/apt/lists",
    *RPM_DATABASES,
    "/var/cache/dnf",
    "/var/cache/libdnf5",
)


def collect(machine: Machine, *, scope: Scope = "user", slow: bool = False) -> Found:
    """Look at the machine once; with `slow` also at what takes seconds.

    `user`: an ordinary user's pass over the machine and the session, facts that need root being `not_collected`.
    `root`: the machine only. The answer holds every fact of the lane and scope, observed or not.
    """
    # Several looks ask the same command, and its answer has to be one answer.
    machine = replace(machine, run=cache(machine.run))
    found: dict[str, Collected] = {}
    for probe in PROBES:
        if scope in probe.scopes and (slow or not probe.slow):
            found.update(ask(probe, machine))
    return found


def slow_stamp(machine: Machine) -> str:
    """Changes when the slow lane's answers may have: with what is installed, and with the list of updates."""
    parts = []
    for path in _SLOW_SOURCES:
        try:
            status = machine.status(path)
        except OSError:
            status = None
        parts.append(str(status.st_mtime_ns) if status else "")
    return "/".join(parts)
