"""What the slow lane remembers between its looks: since when updates wait, and what apt answered last.

To ask apt takes seconds of processor. Its answer depends on files alone, so as long as none of them is another one the
answer is the one it gave before; and it is told with the time at which apt really was asked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct

from device_inventory.collectors.machine import Machine
from device_inventory.collectors.unseen import NotObserved
from device_inventory.facts import DAY

MAX_MEMORY: Final = 1 << 20
REPEATED_FOR: Final = DAY
"""Seconds for which an answer may be told again. After them it is asked anew, whatever has not changed."""

_FILES: Final = (
    "/etc/machine-id",  # who gets an update first, where a distribution sends it to some before others
    "/etc/apt/apt.conf",
    "/etc/apt/preferences",
    "/etc/apt/sources.list",
    "/usr/bin/apt-get",
    "/var/lib/apt/extended_states",
    "/var/lib/dpkg/arch",
    "/var/lib/dpkg/status",
    "/var/lib/dpkg/updates",
)
_FOLDERS: Final = (
    "/etc/apt/apt.conf.d",
    "/etc/apt/preferences.d",
    "/etc/apt/sources.list.d",
    "/var/lib/apt/lists",
)


class Answer(Struct, frozen=True, kw_only=True):
    """What apt says is pending, by package; `at`: when it was asked; `stamp`: of which files."""

    at: int
    stamp: str
    pending: Mapping[str, str]


class Memory(Struct, frozen=True, kw_only=True):
    """`listed`: the date of the last list; `since`: since when what it had was waiting, by `package version`."""

    listed: int
    since: Mapping[str, int]
    answer: Answer | None = None


NOTHING: Final = Memory(listed=0, since={})


def remembered(machine: Machine) -> Memory:
    """Return what is remembered; nothing when there is no memory or it is not ours."""
    if machine.memory is None:
        return NOTHING
    try:
        content = machine.memory.read_bytes()
        return msgspec.json.decode(content, type=Memory) if len(content) <= MAX_MEMORY else NOTHING
    except (OSError, msgspec.DecodeError):
        return NOTHING


def remember(machine: Machine, memory: Memory) -> None:
    """Keep it for the next time, where there is a memory."""
    if machine.memory is not None:
        part = machine.memory.with_name(f"{machine.memory.name}.part")
        part.write_bytes(msgspec.json.encode(memory))
        os.replace(part, machine.memory)  # noqa: PTH105 - the atomic one


def answered(machine: Machine, held: Answer | None, ask: Callable[[], Mapping[str, str]]) -> Answer:
    """Return apt's last answer where it would be the same now; else ask it."""
    before = _stamp(machine) if machine.memory is not None else ""
    if held is not None and before == held.stamp and before and 0 <= machine.now - held.at < REPEATED_FOR:
        return held
    pending = ask()
    # Whatever changed while apt looked may be in its answer or not: it is not told a second time.
    return Answer(at=machine.now, stamp=before if before and _stamp(machine) == before else "", pending=pending)


def _stamp(machine: Machine) -> str:
    """Return what is another text when any file that apt looks at is another one; empty where one cannot be seen."""
    digest = hashlib.sha256()
    with suppress(OSError, NotObserved):
        for path in (*_FILES, *_FOLDERS):
            digest.update(_line(machine, path))
        for folder in _FOLDERS:
            for name in machine.listing(folder):
                digest.update(_line(machine, f"{folder}/{name}"))
        return digest.hexdigest()
    return ""


def _line(machine: Machine, path: str) -> bytes:
    held = machine.status(path)
    # Nobody sets the time of a file's last change of any kind, and one that takes another's place is another one.
    known = () if held is None else (held.st_ino, held.st_size, held.st_mtime_ns, held.st_ctime_ns)
    return f"{path}\0{known}\n".encode("utf-8", "surrogateescape")
