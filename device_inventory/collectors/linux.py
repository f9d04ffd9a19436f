"""What a Linux machine tells of itself.

Three things hold whatever is found. What could not be looked at is `not_collected` and never a good value. Nothing
outside the catalogue leaves this module, nor a value of another type than the catalogue's. A look that fails, fails
for its own facts.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import NotObserved
from device_inventory.facts import CATALOGUE, FactKind, FactValue

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
            found.update(_look(probe, machine))
    return found


def _look(probe: Probe, machine: Machine) -> Iterator[tuple[str, Collected]]:
    try:
        answers = probe.look(machine)
        trouble = Collected("error", None, "the collector said nothing of it")
    except NotObserved as reason:
        answers, trouble = {}, Collected(reason.status, None, reason.detail)
    except FileNotFoundError as error:
        answers, trouble = {}, Collected("not_collected", None, f"there is no `{error.filename}`")
    except PermissionError as error:
        answers, trouble = {}, Collected("not_collected", None, f"`{error.filename}` may not be read")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is these facts that are not known
        answers, trouble = {}, Collected("error", None, f"the collector failed with {type(error).__name__}")
    for name in probe.facts:
        yield name, _checked(CATALOGUE[name], answers.get(name, trouble))


def _checked(kind: FactKind, answer: Collected) -> Collected:
    if answer.status == "observed" and not _fits(kind, answer.value):
        return Collected("error", None, "the collector found a value of the wrong type")
    return answer


def _fits(kind: FactKind, value: FactValue) -> bool:
    match kind.type, value:
        case "boolean", bool():
            return True
        case (("count" | "instant" | "number"), int()):
            return not isinstance(value, bool) and 0 <= value < 2**53
        case "choice", str():
            return value in kind.choices
        case "text", str():
            return 0 < len(value) <= 256 and value.isprintable()
        case "list", tuple():
            return len(value) <= 256 and all(0 < len(item) <= 256 and item.isprintable() for item in value)
    return False


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
