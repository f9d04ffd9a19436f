"""What was seen and not told yet: the newest word on every fact, with the time it was looked at.

Old reports are worth nothing to the server, which keeps the newest value of a fact only; so there is one file, and what
was seen later replaces what was seen before. The slow facts of the last day live here as well.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from device_inventory.agent.state import SPOOL, Home, Told

QUOTA: Final = 256 * 1024
"""Bytes on disk. Beyond it what was looked at longest ago goes first."""


class Spool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`boot_id`: the boot everything was seen in. `missed`: reports that could not be sent since the last one."""

    boot_id: str = ""
    slow_at: int = 0
    missed: int = 0
    facts: dict[str, Told] = {}


def read_spool(home: Home, *, boot_id: str) -> Spool:
    """Return what is spooled of this boot. What cannot be read was evidence, and is collected anew: nothing is lost."""
    raw = home.read(SPOOL)
    if raw is None:
        return Spool(boot_id=boot_id)
    try:
        held = msgspec.json.decode(raw, type=Spool)
    except msgspec.DecodeError:
        return Spool(boot_id=boot_id)
    if held.boot_id != boot_id:
        # What was true of another boot need not be true of this one, and looking again is cheap.
        return Spool(boot_id=boot_id, missed=held.missed)
    return held


def write_spool(home: Home, spool: Spool) -> None:
    """Keep a spool within its quota."""
    raw = msgspec.json.encode(spool)
    if len(raw) > QUOTA:
        newest = sorted(spool.facts.items(), key=lambda item: item[1].collected_at, reverse=True)
        while len(raw) > QUOTA and newest:
            del newest[-max(1, len(newest) // 8) :]
            raw = msgspec.json.encode(msgspec.structs.replace(spool, facts=dict(newest)))
    home.write(SPOOL, raw)
