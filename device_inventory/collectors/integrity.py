"""Signs that the system's own protection was taken off or got round."""

from __future__ import annotations

import re
from typing import Final

from device_inventory.collectors.machine import Found, Machine, seen
from device_inventory.collectors.packages import owner
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import absent, broken

_FORCED: Final = 1 << 1
"""A module that was made for another kernel was loaded by force. Foreign and unsigned modules are common."""


def _taint(machine: Machine) -> Found:
    return {"kernel.taint": seen(machine.number("/proc/sys/kernel/tainted"))}


def _preload(machine: Machine) -> Found:
    listed = _preloaded(machine)
    if machine.session.preload.strip():
        return {"ld_preload": seen(True, "this session has LD_PRELOAD set")}
    return {"ld_preload": seen(bool(listed), f"for every program: {', '.join(listed)}" if listed else "")}


def _preloaded(machine: Machine) -> list[str]:
    """Libraries that are loaded into every program. A folder that can be read shows that there is no such list."""
    if not machine.exists("/etc"):
        raise absent("there is no `/etc`")
    text = machine.optional("/etc/ld.so.preload") or ""
    return re.sub(r"#.*", "", text).replace(":", " ").split()


def _debugger(machine: Machine) -> Found:
    match = re.search(r"^TracerPid:\s*(\d+)$", machine.text("/proc/self/status"), re.MULTILINE)
    if match is None:
        raise broken("the kernel does not tell who traces this process")
    return {"debugger": seen(int(match[1]) != 0)}


def _rooted(machine: Machine) -> Found:
    """False says that these signs are missing, and proves nothing."""
    signs = []
    rows = [line.split(":") for line in machine.text("/etc/passwd", limit=1 << 22).splitlines()]
    if not any(row[0] == "root" for row in rows):
        raise broken("the list of accounts is malformed")
    others = sorted(row[0] for row in rows if len(row) > 2 and row[2].strip("0") == "" and row[2] and row[0] != "root")
    if others:
        signs.append("other accounts are root")
    if machine.number("/proc/sys/kernel/tainted") & _FORCED:
        signs.append("a module was loaded by force")
    # Where no package database tells, a library is nobody's: what is preloaded there is a sign as well.
    if any(owner(machine, path) is None for path in _preloaded(machine)):
        signs.append("a library that no package brought is loaded into every program")
    return {"integrity.rooted": seen(bool(signs), ", ".join(signs))}


def _confinement(machine: Machine) -> Found:
    """Whether programs are confined. A mode that only records is not."""
    selinux = machine.optional("/sys/fs/selinux/enforce")
    if selinux is not None:
        return {"mac.enforcing": seen(selinux.strip() == "1", "by SELinux")}
    modules = machine.optional("/sys/kernel/security/lsm")
    apparmor = machine.optional("/sys/module/apparmor/parameters/enabled")
    if (apparmor or "").strip() == "Y" and (modules is None or "apparmor" in modules.split(",")):
        return {"mac.enforcing": seen(_profiles(machine), "by AppArmor")}
    if modules is None:
        raise absent("the kernel does not tell what confines programs")
    return {"mac.enforcing": seen(not {"smack", "tomoyo"}.isdisjoint(modules.strip().split(",")))}


def _profiles(machine: Machine) -> bool:
    """Whether any profile is enforced. Only root sees which are loaded; to others being enabled has to do."""
    try:
        text = machine.optional("/sys/kernel/security/apparmor/profiles", limit=1 << 22)
    except PermissionError:
        return True
    return text is None or "(enforce)" in text


PROBES: Final = (
    Probe(facts=("kernel.taint",), look=_taint),
    Probe(facts=("ld_preload",), look=_preload),
    Probe(facts=("debugger",), look=_debugger, scopes=("user",)),
    Probe(facts=("integrity.rooted",), look=_rooted),
    Probe(facts=("mac.enforcing",), look=_confinement),
)
