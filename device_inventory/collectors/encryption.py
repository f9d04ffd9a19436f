"""Whether what a block device holds is encrypted: down its stack to the first layer that encrypts, or to the disk.

A drive that encrypts by itself (OPAL) does not show, and so it counts as a disk that does not.
"""

from __future__ import annotations

import re
from typing import Final

from device_inventory.collectors.machine import Machine
from device_inventory.collectors.mounts import Mount, holding
from device_inventory.collectors.unseen import absent

_DEPTH: Final = 16
# dm-verity and dm-integrity have names of the same family, check what they hold and hide nothing.
_CRYPT: Final = re.compile(r"CRYPT-(?!VERITY|INTEGRITY)", re.IGNORECASE)
_RAM: Final = re.compile(r"(?:zram|ram)\d+")
_NUMBER: Final = re.compile(r"\d+:\d+")


class Disks:
    """Answers for one pass; `held` is what is mounted."""

    def __init__(self, machine: Machine, held: tuple[Mount, ...]) -> None:
        self._machine = machine
        self._held = held

    def mount(self, mount: Mount, depth: int = 0) -> bool | None:
        """Whether the files of a mount are encrypted; None for what lies in memory or on another machine."""
        if not mount.device.startswith("0:"):
            return self.device(mount.device, depth)
        match mount.kind:
            case "btrfs":
                return self._all(self._btrfs(mount.source), depth)
            case "bcachefs":
                return self._all([self.number(source) for source in mount.source.split(":")], depth)
            case "zfs":
                return self._zfs(mount.source, depth)
        return None

    def device(self, number: str, depth: int = 0) -> bool | None:
        """Whether a block device is encrypted; None for one that lies in memory."""
        if depth > _DEPTH:
            raise absent("the stack of devices has no end")
        folder = f"/sys/dev/block/{number}"
        if not self._machine.exists(folder):
            raise absent(f"the kernel does not show the device {number}")
        if _CRYPT.match((self._machine.optional(f"{folder}/dm/uuid") or "").strip()):
            return True
        below = self._machine.listing(f"{folder}/slaves")
        if below:
            return self._all([self._machine.word(f"{folder}/slaves/{name}/dev") for name in below], depth)
        name = self._machine.link(folder) or ""
        if _RAM.fullmatch(name):
            return None
        backing = self._machine.optional(f"{folder}/loop/backing_file")
        if backing is not None:
            mount = holding(self._held, backing.strip())
            return None if mount is None else self.mount(mount, depth + 1)
        return False

    def _all(self, numbers: list[str], depth: int) -> bool | None:
        """One part in the clear is enough to be in the clear."""
        found = [self.device(number, depth + 1) for number in numbers]
        if not found:
            raise absent("a file system stands on no device that is known")
        if False in found:
            return False
        return True if True in found else None

    def number(self, source: str) -> str:
        """`major:minor` of a device by its name under /dev."""
        name = source.rsplit("/", 1)[-1]
        if source.startswith("/dev/mapper/"):
            for block in self._machine.listing("/sys/class/block"):
                if block.startswith("dm-") and self._machine.word(f"/sys/class/block/{block}/dm/name") == name:
                    name = block
                    break
        elif source.startswith("/dev/disk/"):
            name = self._machine.link(source) or name
        elif not source.startswith("/dev/"):
            raise absent("a file system stands on no device that is known")
        number = self._machine.word(f"/sys/class/block/{name}/dev")
        if not _NUMBER.fullmatch(number):
            raise absent(f"the device `{name}` has no number")
        return number

    def _btrfs(self, source: str) -> list[str]:
        """All the devices of a file system of which a mount names one."""
        first = self.number(source)
        for name in self._machine.listing("/sys/fs/btrfs"):
            folder = f"/sys/fs/btrfs/{name}/devices"
            numbers = [self._machine.word(f"/sys/class/block/{device}/dev") for device in self._machine.listing(folder)]
            if first in numbers:
                return numbers
        return [first]

    def _zfs(self, dataset: str, depth: int) -> bool | None:
        rows = [line.split("\t") for line in self._machine.run("zfs").text.splitlines()]
        values = {row[0]: row[1] for row in rows if len(row) == 2}
        if dataset not in values:
            raise absent(f"`zfs` does not tell whether `{dataset}` is encrypted")
        if values[dataset] not in ("off", "-"):
            return True
        return self._all(self._pool(dataset.partition("/")[0]), depth)

    def _pool(self, pool: str) -> list[str]:
        """Devices below a pool. `zpool list` gives a row for the pool, then indented rows for its parts."""
        numbers, inside = [], False
        for line in self._machine.run("zpool").text.splitlines():
            words = line.split()
            if words and not line[0].isspace():
                inside = words[0] == pool
            elif words and inside and words[0].startswith("/dev/"):
                numbers.append(self.number(words[0]))
        return numbers
