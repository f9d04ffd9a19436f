"""What the user of the session may do beyond a user's work."""

from __future__ import annotations

import re
from typing import Final

from device_inventory.collectors.commands import GROUPS
from device_inventory.collectors.machine import Found, Machine, seen
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.sudoers import passwordless
from device_inventory.collectors.unseen import absent, broken

ADMIN: Final = frozenset({"sudo", "wheel", "admin"})
ROOT_EQUIVALENT: Final = frozenset(GROUPS) - ADMIN
"""Whoever is in one of these needs one command to be root."""
_MAX: Final = 1 << 22


def _groups(machine: Machine) -> tuple[set[str], bool]:
    """The groups of `commands.GROUPS` the user is in, and whether the user is root under any name."""
    if machine.uid == 0:
        return set(), True
    accounts = [line.split(":") for line in machine.text("/etc/passwd", limit=_MAX).splitlines()]
    mine = [row for row in accounts if len(row) >= 7 and row[2] == str(machine.uid)]
    names, gids = {row[0] for row in mine}, {row[3] for row in mine} | _kernel_gids(machine)
    if not gids:
        raise absent("nobody knows the groups of this user")
    found = set()
    for line in _group_lines(machine):
        row = line.split(":")
        if len(row) >= 4 and row[0] in GROUPS and (row[2] in gids or not names.isdisjoint(row[3].split(","))):
            found.add(row[0])
    return found, False


def _kernel_gids(machine: Machine) -> set[str]:
    """What this process may do now. The files say what it may do after the next login; the worse of both counts."""
    text = machine.text("/proc/self/status")
    owner = re.search(r"^Uid:\s+(\d+)", text, re.MULTILINE)
    groups = re.search(r"^Groups:(.*)$", text, re.MULTILINE)
    if owner is None or groups is None:
        raise broken("the kernel does not tell the groups of this process")
    return set(groups[1].split()) if owner[1] == str(machine.uid) else set()


def _group_lines(machine: Machine) -> list[str]:
    lines = machine.text("/etc/group", limit=_MAX).splitlines()
    sources = re.search(r"^group:(.*)$", machine.optional("/etc/nsswitch.conf") or "", re.MULTILINE)
    if sources and not {"sss", "ldap", "winbind"}.isdisjoint(sources[1].split()):
        # A directory's groups are in no file. The names that are asked for are fixed.
        lines += machine.run("groups").text.splitlines()
    return lines


def _rights(machine: Machine) -> Found:
    groups, root = _groups(machine)
    equivalent = tuple(sorted(groups & ROOT_EQUIVALENT))
    return {
        "user.is_admin": seen(root or bool(groups & ADMIN)),
        "root_equiv_groups": seen(equivalent),
    }


def _nopasswd(machine: Machine) -> Found:
    return {"sudo.nopasswd": seen(passwordless(machine))}


PROBES: Final = (
    Probe(facts=("user.is_admin", "root_equiv_groups"), look=_rights, scopes=("user",)),
    Probe(facts=("sudo.nopasswd",), look=_nopasswd),
)
