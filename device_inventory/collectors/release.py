"""Which system runs here, and until when it gets security updates."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from typing import Final

from device_inventory.collectors.machine import Collected, Found, Machine, seen, shown, unknown
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import absent

_LINE: Final = re.compile(r"""([A-Z][A-Z0-9_]*)=(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s"']*))\s*""")
_DATE: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})")

# The last day of regular security updates, for systems that do not say so themselves: neither
# in `os-release` (Fedora does) nor by the package distro-info-data. Debian's includes its LTS team, whose updates
# arrive the same way as those before.
END_OF_SUPPORT: Final = {
    ("almalinux", "8"): "2029-03-01",
    ("almalinux", "9"): "2032-05-31",
    ("almalinux", "10"): "2035-05-31",
    ("centos", "8"): "2024-05-31",
    ("centos", "9"): "2027-05-31",
    ("debian", "10"): "2024-06-30",
    ("debian", "11"): "2026-08-31",
    ("debian", "12"): "2028-06-30",
    ("debian", "13"): "2030-06-30",
    ("rhel", "7"): "2024-06-30",
    ("rhel", "8"): "2029-05-31",
    ("rhel", "9"): "2032-05-31",
    ("rhel", "10"): "2035-05-31",
    ("rocky", "8"): "2029-05-31",
    ("rocky", "9"): "2032-05-31",
    ("rocky", "10"): "2035-05-31",
    ("ubuntu", "20.04"): "2025-05-31",
    ("ubuntu", "22.04"): "2027-05-31",
    ("ubuntu", "24.04"): "2029-05-31",
}


def os_release(machine: Machine) -> dict[str, str]:
    """The assignments of `os-release` by lower-case name; raises when there is none. Other lines are passed over."""
    text = machine.optional("/etc/os-release")
    if text is None:
        text = machine.text("/usr/lib/os-release")
    found = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match:
            name, doubled, quoted, bare = match.groups()
            found[name.lower()] = re.sub(r"\\(.)", r"\1", doubled) if doubled is not None else quoted or bare or ""
    return found


def _family(machine: Machine) -> Found:
    return {"os.family": seen(machine.word("/proc/sys/kernel/ostype").lower())}


def _names(machine: Machine) -> Found:
    release = os_release(machine)
    version = release.get("version_id")
    return {
        "os.id": shown(release.get("id", "linux")),
        "os.version": shown(version) if version else unknown("a rolling release has no version"),
        "os.build": _build(machine, release),
    }


def _build(machine: Machine, release: dict[str, str]) -> Collected:
    if build := release.get("build_id") or release.get("image_version"):
        return shown(build)
    if release.get("id") == "debian":
        # Ubuntu and others have this file as well, with the Debian they were made from.
        point = (machine.optional("/etc/debian_version") or "").strip()
        if re.fullmatch(r"\d+\.\d+", point):
            return seen(point)
    return unknown("the system names no build")


def _kernel(machine: Machine) -> Found:
    return {"kernel.release": shown(machine.word("/proc/sys/kernel/osrelease"))}


def _support(machine: Machine) -> Found:
    release = os_release(machine)
    date = next(_ends(machine, release), None)
    if date is None:
        raise absent("nobody here knows until when this system is supported")
    year, month, day = map(int, date)
    end = calendar.timegm((year, month, day, 23, 59, 59))
    return {"os.eol_date": seen("-".join(date)), "os.supported": seen(machine.now <= end)}


def _ends(machine: Machine, release: dict[str, str]) -> Iterator[tuple[str, ...]]:
    name, version = release.get("id", ""), release.get("version_id", "")
    if match := _DATE.fullmatch(release.get("support_end", "")):
        yield match.groups()
    if name in ("debian", "ubuntu") and version:
        yield from _distro_info(machine, name, version)
    # Enterprise systems are supported by major version, Ubuntu and Debian by the version they name.
    for held in (version, version.split(".")[0]):
        if match := _DATE.fullmatch(END_OF_SUPPORT.get((name, held), "")):
            yield match.groups()


def _distro_info(machine: Machine, name: str, version: str) -> Iterator[tuple[str, ...]]:
    text = machine.optional(f"/usr/share/distro-info/{name}.csv")
    if text is None:
        return
    rows = [line.split(",") for line in text.splitlines()]
    for row in rows[1:]:
        held = dict(zip(rows[0], row, strict=False))
        if held.get("version", "").split(" ")[0] == version:
            dates = [match.groups() for key in ("eol-lts", "eol") if (match := _DATE.fullmatch(held.get(key, "")))]
            yield from dates[:1]


PROBES: Final = (
    Probe(facts=("os.family",), look=_family),
    Probe(facts=("os.id", "os.version", "os.build"), look=_names),
    Probe(facts=("kernel.release",), look=_kernel),
    Probe(facts=("os.eol_date", "os.supported"), look=_support),
)
