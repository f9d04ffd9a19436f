"""The program that reports: its version, a digest of what runs, and with what rights it looks."""

from __future__ import annotations

import hashlib
import sys
import zipimport
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

from device_inventory.collectors.machine import Found, Machine, seen, shown
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import absent

_DISTRIBUTION: Final = "zt-engine"


@cache
def program_version() -> str:
    """The installed version; raises `metadata.PackageNotFoundError` in a bare source tree."""
    return metadata.version(_DISTRIBUTION)


@cache
def program_hash() -> str:
    """SHA-256 over the names and contents of the device package: once, for what was loaded is what runs."""
    package = sys.modules["device_inventory"]
    loader = package.__spec__.loader if package.__spec__ else None
    if isinstance(loader, zipimport.zipimporter):
        return hashlib.sha256(Path(loader.archive).read_bytes()).hexdigest()
    folder = Path(package.__path__[0])
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _version(machine: Machine) -> Found:
    try:
        return {"agent.version": shown(program_version())}
    except metadata.PackageNotFoundError:
        raise absent("the program was not installed") from None


def _hash(machine: Machine) -> Found:
    return {"agent.hash": seen(program_hash())}


def _as_user(machine: Machine) -> Found:
    return {"collector_scope": seen("user")}


def _as_root(machine: Machine) -> Found:
    return {"collector_scope": seen("root")}


PROBES: Final = (
    Probe(facts=("agent.version",), look=_version),
    Probe(facts=("agent.hash",), look=_hash),
    Probe(facts=("collector_scope",), look=_as_user, scopes=("user",)),
    Probe(facts=("collector_scope",), look=_as_root, scopes=("root",)),
)
