"""What is mounted where, and what the mounts stand on."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from device_inventory.collectors.machine import Machine
from device_inventory.collectors.unseen import absent

MAX_MOUNTS: Final = 1 << 22
# File systems that keep files on local disks behind a device number of their own.
ANONYMOUS: Final = frozenset({"btrfs", "zfs", "bcachefs"})


class Mount(Struct, frozen=True, kw_only=True):
    """One line of `mountinfo`. `writable` is the file system's: that this view of it is read-only protects no data."""

    device: str
    """`major:minor`."""
    point: str
    kind: str
    source: str
    writable: bool


def mounts(machine: Machine) -> tuple[Mount, ...]:
    """Every mount this process sees; raises when there is none."""
    found = []
    for line in machine.text("/proc/self/mountinfo", limit=MAX_MOUNTS).splitlines():
        words = line.split(" ")
        if "-" not in words[6:] or len(words) < 10:
            continue
        kind, source, options = words[words.index("-", 6) + 1 :][:3]
        found.append(
            Mount(
                device=words[2],
                point=_plain(words[4]),
                kind=kind,
                source=_plain(source),
                # An agent confined by systemd sees everything read-only, so the view's own options are of no use.
                writable="ro" not in options.split(","),
            )
        )
    if not found:
        raise absent("nothing is mounted")
    return tuple(found)


def holding(held: tuple[Mount, ...], path: str) -> Mount | None:
    """The mount on which a path lies: of those with the longest prefix the one that came last."""
    best: Mount | None = None
    for mount in held:
        inside = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _plain(word: str) -> str:
    """The kernel writes blanks, tabs, newlines and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)
