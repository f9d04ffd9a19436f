"""What a tree of files says about its updates."""

from __future__ import annotations

from pathlib import Path

from device_inventory.collectors.linux import collect
from device_inventory.collectors.machine import Collected
from tests.device_trees import NOW, Tree

SECURITY = "/var/lib/apt/lists/deb.debian.org_debian-security_dists_bookworm-security_InRelease"
"""The list of security updates."""


def fact(tree: Tree, name: str, *, slow: bool = False, memory: Path | None = None, now: int = NOW) -> Collected:
    return collect(tree.machine(memory=memory, now=now), slow=slow)[name]


def pair(tree: Tree, **more: object) -> tuple[object, object]:
    found = collect(tree.machine(**more), slow=True)
    return found["patch.pending_security"].value, found["patch.oldest_pending_days"].value
