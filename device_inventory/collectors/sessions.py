"""Who sits at the machine: the sessions that systemd-logind keeps account of."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from device_inventory.collectors.machine import Found, Machine, seen
from device_inventory.collectors.probe import Probe

FOLDER: Final = "/run/systemd/sessions"
# They take a person in from the network and hand a session over as if it were a local one.
_FROM_AFAR: Final = frozenset({"sshd", "xrdp-sesman", "gdm-remote-login"})


class Login(Struct, frozen=True, kw_only=True):
    """One session of a person."""

    uid: int
    graphical: bool
    desktop: str
    remote: bool


def logins(machine: Machine) -> tuple[Login, ...]:
    """Sessions of people that have not ended; raises where nobody keeps account of them."""
    found = []
    for name in machine.names(FOLDER):
        if name.endswith(".ref"):
            continue  # a pipe that holds the session open
        lines = (machine.optional(f"{FOLDER}/{name}") or "").splitlines()
        held = dict(line.split("=", 1) for line in lines if "=" in line)
        if not held.get("CLASS", "user").startswith("user") or held.get("STATE") == "closing":
            continue
        uid = held.get("UID", "")
        found.append(
            Login(
                uid=int(uid) if uid.isascii() and uid.isdigit() else -1,
                graphical=held.get("TYPE") in ("x11", "wayland", "mir"),
                desktop=held.get("DESKTOP", ""),
                remote=held.get("REMOTE") == "1" or held.get("SERVICE") in _FROM_AFAR,
            )
        )
    return tuple(found)


def _remote(machine: Machine) -> Found:
    return {"remote_session_active": seen(any(login.remote for login in logins(machine)))}


PROBES: Final = (Probe(facts=("remote_session_active",), look=_remote, scopes=("user",)),)
