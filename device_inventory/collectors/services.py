"""Which services the system's manager runs."""

from __future__ import annotations

from device_inventory.collectors.commands import UNITS
from device_inventory.collectors.machine import Machine
from device_inventory.collectors.unseen import absent, broken


def active(machine: Machine) -> frozenset[str]:
    """Units of `commands.UNITS` that are active, without `.service`; raises where systemd does not run."""
    if not machine.exists("/run/systemd/system"):
        raise absent("systemd does not run here")
    # The exit status says whether all of them are active, which they never are.
    states = machine.run("units").text.split()
    if len(states) != len(UNITS):
        raise broken("the answer of `systemctl` is malformed")
    pairs = zip(UNITS, states, strict=True)
    return frozenset(unit.removesuffix(".service") for unit, state in pairs if state == "active")


def runs(machine: Machine, unit: str, comms: frozenset[str]) -> bool:
    """Whether the manager runs a process of one of these names in this unit.

    Names are anybody's to choose. The group of a process is not: only the manager puts one below `system.slice`.
    """
    for group in ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"):
        listed = machine.optional(f"{group}/system.slice/{unit}.service/cgroup.procs")
        if listed is not None:
            names = [machine.optional(f"/proc/{process}/comm") or "" for process in listed.split()[:256]]
            return any(name.strip() in comms for name in names)
    return False
