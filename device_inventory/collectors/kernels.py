"""Which kernel runs, and whether a newer one of its kind is installed."""

from __future__ import annotations

import re
from typing import Final

from device_inventory.collectors.machine import Found, Machine, seen
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import absent

_PART: Final = re.compile(r"\d+|[A-Za-z]+|~")


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """A key by which versions sort as package managers sort them: numbers as numbers, `~` before the end."""
    parts = _PART.findall(version.replace("-rc", "~rc"))
    keys = [(-1, 0, "") if part == "~" else (2, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
    return (*keys, (0, 0, ""))


def flavour(release: str) -> str:
    """The kind of a kernel (`amd64`, `cloud-amd64`, `generic`): another kind's version says nothing about it."""
    parts = release.split("-")
    kept: list[str] = []
    while len(parts) > 1 and re.fullmatch(r"[a-z][a-z0-9_]*", parts[-1]) and not re.fullmatch(r"rc\d+", parts[-1]):
        kept.insert(0, parts.pop())
    return "-".join(kept)


def installed_kernels(machine: Machine) -> set[str]:
    """Releases of the kernels that could be started. Folders of modules alone are what removed kernels leave."""
    found = set()
    for name in machine.listing("/boot"):
        if name.startswith(("vmlinuz-", "vmlinux-")) and "-rescue" not in name:
            found.add(name.split("-", 1)[1])
    for folder in ("/usr/lib/modules", "/lib/modules"):
        for release in machine.listing(folder):
            if machine.exists(f"{folder}/{release}/vmlinuz"):
                found.add(release)
    return found


def newer_kernel(machine: Machine) -> str | None:
    """The newest installed kernel of the running one's kind if it is newer; raises when that cannot be told."""
    running = machine.word("/proc/sys/kernel/osrelease")
    installed = installed_kernels(machine)
    if running not in installed:
        # A container, or a machine whose kernel comes from outside: what is installed here is not what would run.
        raise absent("the running kernel is none of the installed ones")
    same = [release for release in installed if flavour(release) == flavour(running)]
    newest = max(same, key=version_order)
    return newest if version_order(newest) > version_order(running) else None


def _latest(machine: Machine) -> Found:
    newer = newer_kernel(machine)
    return {"kernel.running_is_latest": seen(newer is None, f"`{newer}` is installed" if newer else "")}


PROBES: Final = (Probe(facts=("kernel.running_is_latest",), look=_latest),)
