"""Whether anybody may act as root without a password. Its files are root's to read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from device_inventory.collectors.machine import Machine
from device_inventory.collectors.unseen import absent, broken

_INCLUDE: Final = re.compile(r"[@#](include|includedir)\s+(\S.*)")
_MAX_FILES: Final = 256
_SYSTEM_UIDS: Final = range(1, 1000)


def passwordless(machine: Machine) -> bool:
    """Whether a rule lets a person run anything at all as root unasked. One harmless command is often all it takes.

    Rules for a single system account do not count: that is how monitoring and backup get their rights.
    """
    services = _services(machine)
    for line in _lines(machine, "/etc/sudoers", [0]):
        if re.match(r"Defaults\S*\s.*!authenticate\b", line):
            return True
        if re.search(r"\bNOPASSWD\s*:", line) and line.split()[0] not in services:
            return True
    for line in (machine.optional("/etc/doas.conf") or "").splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["permit"] and "nopass" in words and services.isdisjoint(words):
            return True
    sources = re.search(r"^sudoers:(.*)$", machine.optional("/etc/nsswitch.conf") or "", re.MULTILINE)
    if sources and not {"sss", "ldap"}.isdisjoint(sources[1].split()):
        raise absent("some of sudo's rules are in a directory")
    return False


def _services(machine: Machine) -> set[str]:
    rows = [line.split(":") for line in machine.text("/etc/passwd", limit=1 << 22).splitlines()]
    return {row[0] for row in rows if len(row) > 2 and row[2].isdigit() and int(row[2]) in _SYSTEM_UIDS}


def _lines(machine: Machine, path: str, read: list[int]) -> Iterator[str]:
    """Rules of a file and of those it includes, without comments, continued lines joined."""
    read[0] += 1
    if read[0] > _MAX_FILES:
        raise broken("sudo's rules include each other without an end")
    text = machine.optional(path, limit=1 << 20)
    if text is None:
        return
    for raw in text.replace("\\\n", " ").splitlines():
        line = raw.strip()
        if match := _INCLUDE.fullmatch(line):
            target = match[2].strip('"')
            target = target if target.startswith("/") else f"{path.rsplit('/', 1)[0]}/{target}"
            if match[1] == "include":
                yield from _lines(machine, target, read)
                continue
            for name in machine.listing(target):
                if "." not in name and not name.endswith("~"):  # sudo passes over these
                    yield from _lines(machine, f"{target}/{name}", read)
        else:
            # `#` begins a comment, except before a number, where it is a user.
            plain = re.sub(r"(?:^|\s)#(?!\d).*", "", line).strip()
            if plain:
                yield plain
