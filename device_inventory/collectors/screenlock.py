"""Whether the screen of the user's session locks by itself, when, and whether the user could switch that off.

These are settings. That a screen with these settings does lock is not seen by anything here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal

from device_inventory.collectors.machine import Found, Machine, seen, unknown
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.sessions import logins
from device_inventory.collectors.unseen import absent, broken

Desktop = Literal["gnome", "cinnamon", "kde"]

ENABLED: Final = "screenlock.enabled"
IDLE: Final = "screenlock.idle_seconds"
ENFORCED: Final = "screenlock.enforced"

_SETTING: Final = re.compile(r"(\S+) (\S+) (?:uint32 )?(.+)")
_SECTION: Final = re.compile(r"\[([^\]]*)\](\[\$i\])?")
# What Plasma does when nobody set anything.
_KDE_MINUTES: Final = 5
_KDE_GRACE: Final = 5


def _lock(machine: Machine) -> Found:
    desktop = _desktop(machine)
    if desktop == "kde":
        return _kde(machine)
    return _gnome(machine, desktop)


def _desktop(machine: Machine) -> Desktop:
    """The desktop of the user's graphical session; raises when there is none, or none that is known."""
    names = machine.session.desktop.split(":")
    if not machine.session.desktop and machine.exists("/run/systemd/sessions"):
        names = [login.desktop for login in logins(machine) if login.uid == machine.uid and login.graphical]
    for name in names:
        word = name.lower()
        if word in ("gnome", "ubuntu", "gnome-classic"):
            return "gnome"
        if word in ("kde", "plasma", "plasmawayland"):
            return "kde"
        if word in ("cinnamon", "x-cinnamon"):
            return "cinnamon"
    raise absent("the user has no graphical session of a kind known here")


def _gnome(machine: Machine, desktop: Desktop) -> Found:
    settings: dict[str, str] = {}
    parts = ("screensaver", "session", "lockdown")
    with ThreadPoolExecutor(len(parts)) as pool:  # each takes longer to start than everything else here
        answers = list(pool.map(machine.run, [f"{desktop}-{part}" for part in parts]))
    for part, answer in zip(parts, answers, strict=True):
        if answer.status != 0:
            raise absent(f"the settings of `{desktop}` cannot be read")
        for line in answer.text.splitlines():
            if match := _SETTING.fullmatch(line.strip()):
                settings[f"{part}/{match[2]}"] = match[3]
    locks = _truth(settings, "screensaver/lock-enabled")
    delay, idle = _seconds(settings, "screensaver/lock-delay"), _seconds(settings, "session/idle-delay")
    forbidden = settings.get("lockdown/disable-lock-screen") == "true"
    enforced = _locked(machine, desktop)
    if not locks or forbidden or idle == 0:
        why = "locking is forbidden" if forbidden else "the session never counts as idle" if locks else "it is off"
        return {ENABLED: seen(False, why), IDLE: unknown("it never locks by itself"), ENFORCED: seen(enforced)}
    return {ENABLED: seen(True), IDLE: seen(idle + delay), ENFORCED: seen(enforced)}


def _truth(settings: Mapping[str, str], name: str) -> bool:
    if settings.get(name) not in ("true", "false"):
        raise broken(f"the setting `{name}` is missing")
    return settings[name] == "true"


def _seconds(settings: Mapping[str, str], name: str) -> int:
    text = settings.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise broken(f"the setting `{name}` is missing")
    return int(text)


def _locked(machine: Machine, desktop: Desktop) -> bool:
    """Whether the administrator fixed all that matters: in a database that is compiled, and that the user's has."""
    wanted = {
        f"/org/{desktop}/desktop/screensaver/lock-enabled",
        f"/org/{desktop}/desktop/screensaver/lock-delay",
        f"/org/{desktop}/desktop/session/idle-delay",
    }
    profile = machine.optional("/etc/dconf/profile/user") or ""
    fixed: set[str] = set()
    for name in re.findall(r"^\s*system-db:(\S+)\s*$", profile, re.MULTILINE):
        if "/" in name:
            continue
        compiled = machine.status(f"/etc/dconf/db/{name}")
        folder = f"/etc/dconf/db/{name}.d/locks"
        for file in machine.listing(folder):
            status = machine.status(f"{folder}/{file}")
            # What was written and never compiled has no effect.
            if compiled is not None and status is not None and status.st_mtime_ns <= compiled.st_mtime_ns:
                fixed.update(line.strip() for line in machine.text(f"{folder}/{file}").splitlines())
    return wanted <= fixed


def _kde(machine: Machine) -> Found:
    home = machine.session.config or (f"{machine.session.home}/.config" if machine.session.home else "")
    if not home.startswith("/"):
        raise absent("the user has no home")
    system, fixed = _section(machine.optional("/etc/xdg/kscreenlockerrc") or "")
    user, _ = _section(machine.optional(f"{home}/kscreenlockerrc") or "")
    held = {**system, **user} | {name: value for name, value in system.items() if name in fixed or "" in fixed}
    # A system that never wrote the file has the defaults, and that is what its users have.
    autolock = held.get("autolock", "true").lower()
    minutes, grace = held.get("timeout", str(_KDE_MINUTES)), held.get("lockgrace", str(_KDE_GRACE))
    if autolock not in ("true", "false") or not (minutes.isascii() and minutes.isdigit() and len(minutes) < 6):
        raise broken("the settings of the screen locker are malformed")
    if not (grace.isascii() and grace.isdigit() and len(grace) < 8):
        raise broken("the settings of the screen locker are malformed")
    enforced = "" in fixed or {"autolock", "timeout"} <= fixed
    if autolock == "false" or int(minutes) == 0:
        return {ENABLED: seen(False, "it is off"), IDLE: unknown("it never locks by itself"), ENFORCED: seen(enforced)}
    return {ENABLED: seen(True), IDLE: seen(int(minutes) * 60 + int(grace)), ENFORCED: seen(enforced)}


def _section(text: str) -> tuple[dict[str, str], set[str]]:
    """Settings of `[Daemon]` in lower case, and which are fixed by `[$i]`: the empty name stands for all of them."""
    held: dict[str, str] = {}
    fixed: set[str] = set()
    inside = False
    for line in (raw.strip() for raw in text.splitlines()):
        if line == "[$i]":
            fixed.add("")  # the whole file
        elif match := _SECTION.fullmatch(line):
            inside = match[1] == "Daemon"
            if match[2] and inside:
                fixed.add("")
        elif inside and "=" in line:
            name, value = line.split("=", 1)
            plain = name.strip().lower()
            if plain.endswith("[$i]"):
                plain = plain.removesuffix("[$i]")
                fixed.add(plain)
            held[plain] = value.strip()
    return held, fixed


PROBES: Final = (Probe(facts=(ENABLED, IDLE, ENFORCED), look=_lock, scopes=("user",)),)
