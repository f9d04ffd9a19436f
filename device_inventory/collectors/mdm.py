"""Device management of others. That a client is installed does not mean that anybody manages the device."""

from __future__ import annotations

import re
from typing import Final

from device_inventory.collectors.machine import Collected, Found, Machine, seen, unknown
from device_inventory.collectors.packages import owned
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.services import active
from device_inventory.collectors.unseen import absent

ENROLLED: Final = "mdm.enrolled"
VENDOR: Final = "mdm.vendor"
INTUNE: Final = "/opt/microsoft/intune/bin/intune-portal"


def _management(machine: Machine) -> Found:
    if owned(machine, "intune-portal", INTUNE):
        return {VENDOR: seen("Microsoft Intune"), ENROLLED: seen(_intune(machine))}
    return _of_the_machine(machine)


def _management_as_root(machine: Machine) -> Found:
    if owned(machine, "intune-portal", INTUNE):
        return {VENDOR: seen("Microsoft Intune"), ENROLLED: unknown("each user enrolls for themselves")}
    return _of_the_machine(machine)


def _of_the_machine(machine: Machine) -> Found:
    if owned(machine, "fleet-osquery", "/opt/orbit/bin/orbit/orbit"):
        return {VENDOR: seen("Fleet"), ENROLLED: _fleet(machine)}
    if owned(machine, "landscape-client", "/usr/bin/landscape-client"):
        return {VENDOR: seen("Landscape"), ENROLLED: _landscape(machine)}
    raise absent("no client of a management known here is installed")


def _fleet(machine: Machine) -> Collected:
    try:
        # The key the server gave at enrollment. Its folder is root's where it was hardened.
        enrolled = machine.exists("/opt/orbit/secret-orbit-node-key.txt")
    except PermissionError:
        return unknown("only root sees whether it is enrolled")
    return seen(enrolled and "orbit" in active(machine))


def _intune(machine: Machine) -> bool:
    """Enrolled by this user: each user's enrolment is their own."""
    home = machine.session.config or f"{machine.session.home}/.config"
    return machine.exists(f"{home}/intune/registration.toml")


def _landscape(machine: Machine) -> Collected:
    if "landscape-client" not in active(machine):
        return seen(False, "its client does not run")
    try:
        text = machine.text("/etc/landscape/client.conf")
    except PermissionError:
        return unknown("only root sees whether it is registered")
    return seen(re.search(r"^\s*account_name\s*=\s*\S", text, re.MULTILINE) is not None)


PROBES: Final = (
    Probe(facts=(VENDOR, ENROLLED), look=_management, scopes=("user",)),
    Probe(facts=(VENDOR, ENROLLED), look=_management_as_root, scopes=("root",)),
)
