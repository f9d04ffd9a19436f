"""What is installed, from the databases of dpkg and rpm.

This is an inventory and no fact. It is for matching against known weaknesses where it is read; `collect` does not call
it, no report holds it, and the notice does not name it.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from msgspec import Struct

from device_inventory.collectors.machine import LARGE, Machine
from device_inventory.collectors.unseen import absent

_STATUS: Final = "/var/lib/dpkg/status"
_FIELD: Final = re.compile(r"^(Package|Version|Source|Architecture|Status): (.*)$", re.MULTILINE)
_SOURCE: Final = re.compile(r"(\S+)(?: \((\S+)\))?")
_MAX: Final = 65_536


class Package(Struct, frozen=True, kw_only=True, gc=False):
    """One installed package. Advisories name the source, which often has another name and sometimes another version."""

    ecosystem: Literal["dpkg", "rpm"]
    name: str
    version: str
    source_name: str
    source_version: str
    arch: str


def installed(machine: Machine) -> tuple[Package, ...]:
    """Every package that is unpacked and configured; raises where there is no database."""
    text = machine.optional(_STATUS, limit=LARGE)
    if text is not None:
        return tuple(package for entry in text.split("\n\n")[:_MAX] if (package := _dpkg(entry)) is not None)
    found = tuple(package for line in machine.run("rpm-all").text.splitlines()[:_MAX] if (package := _rpm(line)))
    if not found:
        raise absent("no package database tells what is installed")
    return found


def _dpkg(entry: str) -> Package | None:
    fields = dict(_FIELD.findall(entry))
    if not fields.get("Status", "").endswith(" installed") or not {"Package", "Version"} <= fields.keys():
        return None  # removed packages leave their configuration behind
    match = _SOURCE.fullmatch(fields.get("Source", ""))
    return Package(
        ecosystem="dpkg",
        name=fields["Package"],
        version=fields["Version"],
        source_name=match[1] if match else fields["Package"],
        source_version=match[2] if match and match[2] else fields["Version"],
        arch=fields.get("Architecture", ""),
    )


def _rpm(line: str) -> Package | None:
    """`name`, `epoch:version-release`, the file name of the source package, architecture."""
    words = line.split("\t")
    if len(words) != 4 or words[0] == "gpg-pubkey":
        return None
    name, version, source, arch = words
    match = re.fullmatch(r"(.+)-([^-]+-[^-]+)\.src\.rpm", source)
    return Package(
        ecosystem="rpm",
        name=name,
        version=version.removeprefix("0:"),
        source_name=match[1] if match else name,
        source_version=match[2] if match else version.removeprefix("0:"),
        arch=arch,
    )
