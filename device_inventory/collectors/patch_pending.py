"""Security updates that wait to be installed, and for how long: the slow lane.

apt knows no dates. An update cannot have been waiting for longer than what it replaces has been installed, nor, when
it was not waiting at the time of an earlier list, for longer than since that list. Until such a list is remembered the
age is therefore the worst it can be. It is never better than the truth, and installing the updates mends it at once.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from typing import Final

from device_inventory.collectors.machine import Found, Machine, seen
from device_inventory.collectors.packages import dpkg_list
from device_inventory.collectors.patch import has_security_suite, metadata_date
from device_inventory.collectors.patch_memory import Memory, answered, remember, remembered
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import absent, broken
from device_inventory.facts import DAY

TRUSTED_FOR: Final = 7 * DAY
"""A list older than this does not show that nothing is pending."""

# Only what replaces something: a kernel comes as a new package beside the one that pulls it in.
_INSTALLED: Final = re.compile(r"Inst (\S+) \[[^\]]+\] \((\S+) ([^)]*)\)")
_SECURITY: Final = re.compile(r"Debian-Security:|[\w-]+-security\b")
_ADVISORY: Final = re.compile(r"^ *Updated *: (\d{4}-\d{2}-\d{2})", re.MULTILINE)


def _pending(machine: Machine) -> Found:
    if machine.exists("/var/lib/dpkg/status"):
        return _apt(machine)
    return _dnf(machine)


def _apt(machine: Machine) -> Found:
    if not has_security_suite(machine):
        raise absent("no list of security updates is held here")
    listed = metadata_date(machine)
    memory = remembered(machine)
    answer = answered(machine, memory.answer, lambda: _asked(machine))
    if not answer.pending:
        _must_be_new(machine, listed)
    since = _since(machine, answer.pending, memory)
    if listed >= memory.listed:
        remember(machine, Memory(listed=listed, since=since, answer=answer if answer.stamp else None))
    oldest = max((answer.at - at for at in since.values()), default=0)
    return {
        "patch.pending_security": seen(len(answer.pending), at=answer.at),
        "patch.oldest_pending_days": seen(max(oldest, 0) // DAY, at=answer.at),
    }


def _asked(machine: Machine) -> dict[str, str]:
    """Ask apt which installed packages have a security update, and which version that is."""
    output = machine.run("apt-pending")
    if output.status != 0:
        raise broken("`apt-get` failed")
    pending = {}
    for line in output.text.splitlines():
        match = _INSTALLED.match(line)
        if match and _SECURITY.search(match[3]):
            pending[match[1]] = match[2]
    return pending


def _must_be_new(machine: Machine, listed: int) -> None:
    if machine.now - listed > TRUSTED_FOR:
        raise absent("the list of updates is too old to show that nothing is pending")


def _since(machine: Machine, pending: Mapping[str, str], memory: Memory) -> dict[str, int]:
    """Since when each update waits at the longest, by `package version`."""
    since = {}
    for package, version in pending.items():
        key = f"{package} {version}"
        held = dpkg_list(machine, package.split(":")[0])
        replaced = int(held.st_mtime) if held is not None else 0
        since[key] = memory.since.get(key, max(replaced, memory.listed))
    return since


def _dnf(machine: Machine) -> Found:
    listed = metadata_date(machine)
    output = machine.run("dnf-pending")
    if output.status != 0:
        raise absent("`dnf` holds no list of updates for this user")
    dates = [_day(text) for text in _ADVISORY.findall(output.text)]
    if not dates:
        if output.text.strip():
            raise broken("the answer of `dnf` is malformed")
        _must_be_new(machine, listed)
    oldest = max((machine.now - at for at in dates), default=0)
    return {"patch.pending_security": seen(len(dates)), "patch.oldest_pending_days": seen(max(oldest, 0) // DAY)}


def _day(text: str) -> int:
    year, month, day = map(int, text.split("-"))
    return calendar.timegm((year, month, day, 0, 0, 0))


PROBES: Final = (Probe(facts=("patch.pending_security", "patch.oldest_pending_days"), look=_pending, slow=True),)
