"""How up to date the machine is, as far as files tell it at once. What is pending is counted in the slow lane."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from device_inventory.collectors.boot import booted_at
from device_inventory.collectors.kernels import newer_kernel
from device_inventory.collectors.machine import Found, Machine, seen
from device_inventory.collectors.packages import RPM_DATABASES, dpkg_list
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import NotObserved, absent, broken
from device_inventory.facts import DAY

LISTS: Final = "/var/lib/apt/lists"
# Where dnf (4 and 5) keeps what it knows of its repositories.
_DNF: Final = ("/var/cache/dnf", "/var/cache/libdnf5")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE: Final = re.compile(
    r"^Date: \w{3}, (\d{1,2}) (\w{3}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) (?:UTC|GMT|\+0000)", re.MULTILINE
)
_NAMED: Final = re.compile(r"^(?:Label|Suite|Codename): .*security", re.MULTILINE | re.IGNORECASE)
_REVISION: Final = re.compile(r"<revision>(\d{10})</revision>")
_HEAD: Final = 8192
"""The fields of a release file come before its long list of digests."""
# What a system that runs does not take into use when it is replaced.
_CORE: Final = (
    "libc6", "systemd", "dbus", "dbus-daemon", "dbus-broker", "libssl1.1", "libssl3", "libssl3t64", "libgnutls30",
    "libgnutls30t64", "intel-microcode", "amd64-microcode", "linux-firmware", "firmware-linux-nonfree",
    "firmware-linux-free",
)  # fmt: skip


def _reboot(machine: Machine) -> Found:
    if machine.exists("/run/reboot-required"):
        return {"patch.reboot_required": seen(True, "`/run/reboot-required` asks for it")}
    with suppress(NotObserved, OSError):
        if (newer := newer_kernel(machine)) is not None:
            return {"patch.reboot_required": seen(True, f"the kernel `{newer}` is installed and does not run")}
    # That file is written by packages which not every system has, so its absence alone means nothing.
    boot = booted_at(machine)
    for replaced in (_dpkg_replaced, _rpm_replaced):
        found = replaced(machine, boot)
        if found is not None:
            return {"patch.reboot_required": seen(bool(found), f"replaced since: {', '.join(found)}" if found else "")}
    raise absent("this system does not tell whether it has to be restarted")


def _dpkg_replaced(machine: Machine, boot: int) -> list[str] | None:
    """Core packages that were unpacked after the boot; None where there is no dpkg."""
    times = {name: int(held.st_mtime) for name in _CORE if (held := dpkg_list(machine, name)) is not None}
    return [name for name, at in times.items() if at > boot] if times else None


def _rpm_replaced(machine: Machine, boot: int) -> list[str] | None:
    databases = [status for path in RPM_DATABASES if (status := machine.status(path)) is not None]
    if not databases:
        return None
    if all(int(status.st_mtime) <= boot for status in databases):
        return []
    installed = [line.split(" ") for line in machine.run("rpm-core").text.splitlines()]
    times = [(words[0], int(words[1])) for words in installed if len(words) == 2 and words[1].isdigit()]
    if not times:
        raise absent("`rpm` does not tell when packages were installed")
    return [name for name, at in times if at > boot]


def _metadata_age(machine: Machine) -> Found:
    """Whole days. The age of what is known, not of the last try to know more: a mirror may stand still."""
    at = metadata_date(machine)
    if at > machine.now + DAY:
        raise broken("the list of updates is from the future")
    return {"patch.metadata_age": seen(max(machine.now - at, 0) // DAY)}


def metadata_date(machine: Machine) -> int:
    """When the newest list of security updates that is held here was made; raises when there is none."""
    security: list[int] = []
    others: list[int] = []
    for at, secure in _apt_dates(machine):
        (security if secure else others).append(at)
    # A base suite is made once for each point release, and says nothing about how lately anybody asked.
    dates = security or others or list(_dnf_dates(machine))
    if not dates:
        raise absent("there is no list of updates")
    return max(dates)


def has_security_suite(machine: Machine) -> bool:
    """Whether any list that apt holds is one of security updates."""
    return any(secure for _, secure in _apt_dates(machine))


def _apt_dates(machine: Machine) -> Iterator[tuple[int, bool]]:
    for name in machine.listing(LISTS):
        if name.endswith("Release"):
            head = machine.text(f"{LISTS}/{name}", limit=_HEAD, head=True)
            match = _DATE.search(head)
            if match and match[2] in _MONTHS:
                day, year, hour, minute, second = (int(match[place]) for place in (1, 3, 4, 5, 6))
                at = calendar.timegm((year, _MONTHS.index(match[2]) + 1, day, hour, minute, second))
                yield at, "security" in name or _NAMED.search(head) is not None


def _dnf_dates(machine: Machine) -> Iterator[int]:
    for folder in _DNF:
        for name in machine.listing(folder):
            path = f"{folder}/{name}/repodata/repomd.xml"
            text = machine.optional(path, limit=_HEAD, head=True)
            if text is not None and (match := _REVISION.search(text)):
                yield int(match[1])


PROBES: Final = (
    Probe(facts=("patch.reboot_required",), look=_reboot),
    Probe(facts=("patch.metadata_age",), look=_metadata_age),
)
