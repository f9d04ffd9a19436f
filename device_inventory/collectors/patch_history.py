"""When updates were last installed, from the logs of the package managers."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from device_inventory.collectors.machine import Found, Machine, seen
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import NotObserved, absent, broken
from device_inventory.facts import DAY

_LOG: Final = "/var/log/apt/history.log"
_ROTATED: Final = 12
_STAMP: Final = "/var/lib/apt/periodic/unattended-upgrades-stamp"
_DNF: Final = "/var/lib/dnf/history.sqlite"
_MAX_LOG: Final = 4 * 1024 * 1024
_END: Final = re.compile(r"^End-Date: (\d{4}-\d{2}-\d{2}) +(\d{2}:\d{2}:\d{2})$", re.MULTILINE)
# Upgraded items of transactions that came to their end (libdnf: state 1 is done, action 6 is an upgrade).
_QUERY: Final = (
    "SELECT max(dt_end) FROM trans WHERE state = 1 AND id IN (SELECT trans_id FROM trans_item WHERE action = 6)"
)


def last_upgrade(machine: Machine) -> int | None:
    """When a package was last upgraded, in epoch seconds; None where the logs go back to no upgrade."""
    for text in _apt_logs(machine):
        for entry in reversed(text.split("\n\n")):
            match = _END.search(entry)
            if match and "\nUpgrade: " in f"\n{entry}" and "\nError: " not in entry:
                return _local(f"{match[1]} {match[2]}", _zone(machine))
    return _dnf_upgrade(machine)


def _last_success(machine: Machine) -> Found:
    found = [last_upgrade(machine)]
    # A run that found nothing to do has succeeded as well, and leaves no entry in the log.
    if (stamp := machine.status(_STAMP)) is not None:
        found.append(int(stamp.st_mtime))
    times = [at for at in found if at is not None]
    if not times:
        raise absent("no update is on record")
    if max(times) > machine.now + DAY:
        raise broken("the record of updates is from the future")
    return {"patch.last_success_at": seen(max(times))}


def _apt_logs(machine: Machine) -> Iterator[str]:
    text = machine.optional(_LOG, limit=_MAX_LOG)
    if text is not None:
        yield text
    for number in range(1, _ROTATED + 1):
        if machine.exists(f"{_LOG}.{number}.gz"):
            yield machine.unzipped(f"{_LOG}.{number}.gz", limit=_MAX_LOG)


def _zone(machine: Machine) -> tzinfo | None:
    """The log is in local time and does not say which; without a readable zone that is the kernel's: UTC."""
    try:
        with machine.opened("/etc/localtime") as file:
            return ZoneInfo.from_file(file)
    except (OSError, NotObserved, ValueError):
        return None


def _local(text: str, zone: tzinfo | None) -> int:
    try:
        naive = datetime.fromisoformat(f"{text}+00:00")
    except ValueError:
        raise broken("the record of updates holds no date") from None
    return int((naive.replace(tzinfo=zone) if zone else naive).timestamp())


def _dnf_upgrade(machine: Machine) -> int | None:
    if not machine.exists(_DNF):
        return None
    try:
        # Read as it is, without a lock: its folder is not ours to write into.
        with closing(sqlite3.connect(f"file:{machine.at(_DNF)}?mode=ro&immutable=1", uri=True)) as history:
            row = history.execute(_QUERY).fetchone()
    except sqlite3.Error as error:
        raise broken(f"the history of `dnf` cannot be read: {type(error).__name__}") from None
    with suppress(TypeError, ValueError):
        return int(row[0])
    return None


PROBES: Final = (Probe(facts=("patch.last_success_at",), look=_last_success),)
