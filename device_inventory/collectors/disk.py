"""Whether disks and swap are encrypted, and whether USB storage may be used."""

from __future__ import annotations

import re
from typing import Final

from device_inventory.collectors.encryption import Disks
from device_inventory.collectors.machine import Found, Machine, seen
from device_inventory.collectors.mounts import holding, mounts
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import NotObserved, absent

# What starts the machine cannot be encrypted, and holds nobody's data.
_BOOT: Final = frozenset({"/boot", "/boot/efi", "/efi", "/boot/firmware"})
_PLUGS: Final = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d")


def _disks(machine: Machine) -> Found:
    held = mounts(machine)
    disks = Disks(machine, held)
    root = holding(held, "/")
    if root is None or (root.device.startswith("0:") and root.kind == "overlay"):
        # A container or a live system: what the root really stands on is out of sight.
        raise absent("the root of the system is not on a disk that can be seen")
    answers: dict[str, bool] = {}
    puzzle: NotObserved | None = None
    for mount in held:
        if mount.writable and mount.point not in _BOOT:
            try:
                answer = disks.mount(mount)
            except NotObserved as reason:
                puzzle = reason
                continue
            if answer is not None:
                answers[mount.point] = answers.get(mount.point, True) and answer
    clear = sorted(point for point, encrypted in answers.items() if not encrypted)
    if clear:
        return {"disk.encrypted": seen(False, f"not encrypted: {', '.join(clear)}")}
    if puzzle is not None:
        raise puzzle
    if not answers:
        raise absent("no disk of this machine is mounted")
    return {"disk.encrypted": seen(True)}


def _swap(machine: Machine) -> Found:
    """Swap in memory does not count. A table without an entry shows that nothing is put aside on a disk."""
    lines = machine.text("/proc/swaps").splitlines()
    if not lines or not lines[0].startswith("Filename"):
        raise absent("the kernel does not tell where it swaps")
    held = mounts(machine)
    disks = Disks(machine, held)
    clear, used = [], 0
    for line in lines[1:]:
        words = line.split()
        name = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), words[0])
        if words[1] == "partition":
            answer = disks.device(disks.number(name))
        else:
            mount = holding(held, name)
            answer = None if mount is None else disks.mount(mount)
            if answer is None:
                raise absent(f"nobody knows on which disk `{name}` lies")
        if answer is not None:
            used += 1
            if not answer:
                clear.append(name)
    detail = f"not encrypted: {', '.join(clear)}" if clear else "" if used else "there is no swap on a disk"
    return {"swap.encrypted": seen(not clear, detail)}


def _usb_storage(machine: Machine) -> Found:
    """Whether the kernel would take a stick into use. What was plugged in is not looked at."""
    if machine.exists("/sys/module/usb_storage"):
        return {"usb_storage.allowed": seen(True, "the driver is loaded")}
    rules: dict[str, str] = {}
    for folder in reversed(_PLUGS):
        for name in machine.listing(folder):
            if name.endswith(".conf"):
                rules[name] = machine.text(f"{folder}/{name}")  # the same name in /etc replaces the others
    text = "\n".join(rules.values()).replace("_", "-")
    if re.search(r"^\s*install\s+usb-storage\s+\S*/(?:false|true)\b", text, re.MULTILINE):
        return {"usb_storage.allowed": seen(False, "its driver is never loaded")}
    if all(re.search(rf"^\s*blacklist\s+{name}\s*$", text, re.MULTILINE) for name in ("usb-storage", "uas")):
        return {"usb_storage.allowed": seen(False, "its drivers are loaded by root only")}
    release = machine.word("/proc/sys/kernel/osrelease")
    for folder in ("/usr/lib/modules", "/lib/modules"):
        modules = machine.optional(f"{folder}/{release}/modules.dep", limit=1 << 23)
        builtin = machine.optional(f"{folder}/{release}/modules.builtin", limit=1 << 23)
        if modules is not None and builtin is not None:
            present = any(f"/{name}.ko" in held for held in (modules, builtin) for name in ("usb-storage", "uas"))
            return {"usb_storage.allowed": seen(present, "" if present else "this kernel has no driver for it")}
    raise absent("the drivers of the running kernel are not here")


PROBES: Final = (
    Probe(facts=("disk.encrypted",), look=_disks),
    Probe(facts=("swap.encrypted",), look=_swap),
    Probe(facts=("usb_storage.allowed",), look=_usb_storage),
)
