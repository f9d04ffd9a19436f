"""Package databases: who owns a file, and when a package was unpacked."""

from __future__ import annotations

import os
from typing import Final

from device_inventory.collectors.machine import Machine

DPKG: Final = "/var/lib/dpkg/info"
RPM_DATABASES: Final = (
    "/var/lib/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/var/lib/rpm/Packages",
    "/var/lib/rpm/Packages.db",
    "/usr/lib/sysimage/rpm/Packages.db",
)
_ARCHITECTURES: Final = ("", ":amd64", ":arm64")


def dpkg_list(machine: Machine, package: str) -> os.stat_result | None:
    """What is known of a package's list of files: it is as old as the package's last unpacking."""
    for architecture in _ARCHITECTURES:
        if (status := machine.status(f"{DPKG}/{package}{architecture}.list")) is not None:
            return status
    return None


def owned(machine: Machine, package: str, path: str) -> bool:
    """Whether an installed package says that it brought this file. Anybody can name a program; few can install one."""
    if not machine.exists(path):
        return False
    wanted = {path, path.removeprefix("/usr")}
    for architecture in _ARCHITECTURES:
        held = machine.optional(f"{DPKG}/{package}{architecture}.list", limit=1 << 22)
        if held is not None:
            return not wanted.isdisjoint(held.splitlines())
    if any(machine.exists(database) for database in RPM_DATABASES):
        return package in machine.run("rpm-owners").text.splitlines()
    return False


def owner(machine: Machine, path: str) -> str | None:
    """The Debian package that brought a file; None when none says so. Reads every list, so it is for rare cases."""
    wanted = {path, path.removeprefix("/usr")}
    for name in machine.listing(DPKG):
        if name.endswith(".list") and not wanted.isdisjoint(machine.text(f"{DPKG}/{name}", limit=1 << 22).splitlines()):
            return name.removesuffix(".list")
    return None
