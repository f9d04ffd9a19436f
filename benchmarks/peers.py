"""The programs measured beside us, and where they are. A missing one takes its figures with it, and is named."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import msgspec

from tests.peers import find_peer

ROOT = Path(__file__).resolve().parent.parent


class Peers(msgspec.Struct, frozen=True):
    """What this machine has."""

    opa: Path | None
    wrk: Path | None
    nginx: Path | None
    granian: Path | None

    def missing(self, *names: str) -> list[str]:
        """Return which of these are not here."""
        return [name for name in names if getattr(self, name) is None]


def find_peers() -> Peers:
    """Look for all of them."""
    granian = Path(sys.executable).with_name("granian")
    return Peers(
        opa=find_peer("opa"),
        wrk=find_peer("wrk"),
        nginx=find_peer("nginx (wheel)") or find_peer("nginx (Debian)"),
        granian=granian if granian.exists() else None,
    )


def versions(peers: Peers) -> dict[str, str]:
    """Return the versions of everything whose speed is measured."""
    named = ("granian", "httptools", "msgspec", "uvloop", "wasmtime")
    found = {name: metadata.version(name) for name in named if installed(name)}
    found["python"] = sys.version.split()[0]
    if peers.opa is not None:
        found["opa"] = first_line(peers.opa, "version").removeprefix("Version: ")
    if peers.nginx is not None:
        found["nginx"] = first_line(peers.nginx, "-v").rpartition("/")[2]
    if peers.wrk is not None:
        found["wrk"] = first_line(peers.wrk, "-v").partition(" [")[0].removeprefix("wrk ")
    return found


def installed(name: str) -> bool:
    """Whether a distribution is in this environment."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def first_line(executable: Path, option: str) -> str:
    """Return the first line a program says about itself."""
    done = subprocess.run([str(executable), option], capture_output=True, text=True, timeout=10, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip()
