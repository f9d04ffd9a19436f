"""The commands a collector may run: a closed list, each with its arguments, its time limit and an empty environment.

No caller can add an argument, and nothing that was read from the machine becomes one. Programs are looked for in the
folders of the system only, never along the user's PATH.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import IO, Final

from msgspec import Struct

from device_inventory.collectors.unseen import NotObserved

# The last one is where NixOS has what others have in /usr/bin.
FOLDERS: Final = ("/usr/bin", "/usr/sbin", "/bin", "/sbin", "/run/current-system/sw/bin")
MAX_OUTPUT: Final = 16 * 1024 * 1024

_SESSION: Final = "DBUS_SESSION_BUS_ADDRESS HOME XDG_CONFIG_HOME XDG_RUNTIME_DIR"


class Output(Struct, frozen=True, kw_only=True):
    """What a command printed, and how it ended."""

    status: int
    text: str


class Command(Struct, frozen=True, kw_only=True):
    """Program and arguments; `session`: it asks the user's session, and is told where that is."""

    words: tuple[str, ...]
    seconds: int = 2
    session: bool = False
    slow: bool = False
    """Runs for seconds: once a day, and behind everything else."""


def _table() -> Mapping[str, Command]:
    def fast(words: str, *, session: bool = False) -> Command:
        return Command(words=tuple(words.split()), session=session)

    def slow(words: str) -> Command:
        return Command(words=tuple(words.split()), seconds=300, slow=True)

    return MappingProxyType(
        {
            "units": fast(f"systemctl --no-pager is-active {' '.join(UNITS)}"),
            "groups": fast(f"getent group {' '.join(GROUPS)}"),
            "nft": fast("nft -j list ruleset"),
            "iptables": fast("iptables-legacy-save -t filter"),
            "ip6tables": fast("ip6tables-legacy-save -t filter"),
            "zfs": fast("zfs get -H -o name,value -t filesystem,volume encryption"),
            "zpool": fast("zpool list -v -H -P -L"),
            "mdatp": fast("mdatp health --output json"),
            "falconctl": Command(words=("/opt/CrowdStrike/falconctl", "-g", "--rfm-state", "--aid")),
            "gnome-screensaver": fast("gsettings list-recursively org.gnome.desktop.screensaver", session=True),
            "gnome-session": fast("gsettings list-recursively org.gnome.desktop.session", session=True),
            "gnome-lockdown": fast("gsettings list-recursively org.gnome.desktop.lockdown", session=True),
            "cinnamon-screensaver": fast("gsettings list-recursively org.cinnamon.desktop.screensaver", session=True),
            "cinnamon-session": fast("gsettings list-recursively org.cinnamon.desktop.session", session=True),
            "cinnamon-lockdown": fast("gsettings list-recursively org.cinnamon.desktop.lockdown", session=True),
            "rpm-owners": Command(words=("rpm", "-q", "-f", "--qf", r"%{NAME}\n", *BINARIES)),
            "rpm-core": Command(words=("rpm", "-q", "--qf", r"%{NAME} %{INSTALLTIME}\n", *RPM_CORE)),
            "rpm-all": slow(r"rpm -qa --qf %{NAME}\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\t%{SOURCERPM}\t%{ARCH}\n"),
            "apt-pending": slow("apt-get -q -s -o Debug::NoLocking=true --with-new-pkgs upgrade"),
            "dnf-pending": slow("dnf -q -C updateinfo info --security"),
        }
    )


UNITS: Final = (
    "nftables.service",
    "ufw.service",
    "firewalld.service",
    "netfilter-persistent.service",
    "iptables.service",
    "ip6tables.service",
    "shorewall.service",
    "ferm.service",
    "falcon-sensor.service",
    "mdatp.service",
    "ds_agent.service",
    "sentinelone.service",
    "wazuh-agent.service",
    "clamav-daemon.service",
    "clamd@scan.service",
    "clamav-clamonacc.service",
    "clamonacc.service",
    "landscape-client.service",
    "intune-daemon.service",
    "orbit.service",
)
GROUPS: Final = ("sudo", "wheel", "admin", "docker", "lxd", "incus-admin", "libvirt", "libvirtd", "disk")
BINARIES: Final = (
    "/opt/CrowdStrike/falcon-sensor",
    "/opt/microsoft/mdatp/sbin/wdavdaemon",
    "/opt/ds_agent/ds_agent",
    "/opt/sentinelone/bin/sentinelone-agent",
    "/var/ossec/bin/wazuh-agentd",
    "/usr/sbin/clamd",
    "/usr/sbin/clamonacc",
    "/usr/bin/clamonacc",
    "/opt/microsoft/intune/bin/intune-portal",
    "/usr/bin/landscape-client",
    "/opt/orbit/bin/orbit/orbit",
)
# What `needs-restarting -r` looks at: a running system does not take a new one of these into use.
RPM_CORE: Final = (
    "kernel-core", "kernel", "glibc", "systemd", "dbus", "dbus-daemon", "dbus-broker", "linux-firmware", "openssl-libs",
    "gnutls", "microcode_ctl",
)  # fmt: skip

COMMANDS: Final = _table()


def run_command(name: str) -> Output:
    """Run one of COMMANDS; NotObserved when the program is not there, takes too long or prints too much."""
    command = COMMANDS[name]
    program = _find(command.words[0])
    if program is None:
        raise NotObserved("not_collected", f"there is no `{command.words[0]}` here")
    words = [program, *command.words[1:]]
    if command.slow:
        words = [*_behind_everything(), *words]
    process = subprocess.Popen(  # noqa: S603 - a program by absolute path, fixed arguments, limits
        words,
        cwd="/",
        env=_environment(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        deadline = time.monotonic() + command.seconds
        text = _drain(process.stdout, name, deadline)
        status = process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise NotObserved("error", f"the command `{name}` took more than {command.seconds} s") from None
    finally:
        if process.returncode is None:
            # It has not been waited for, so its number is still its own. Its children go too: one may keep the pipe.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
    return Output(status=status, text=text.decode("utf-8", "replace"))


def _behind_everything() -> list[str]:
    """What stands before a command that is to hold up nobody: the last in line for the processor and for the disk."""
    words: list[str] = []
    if (nice := _find("nice")) is not None:
        words += [nice, "-n", "19"]
    if (ionice := _find("ionice")) is not None:
        words += [ionice, "-t", "-c", "3"]  # -t: where that cannot be set, the command runs all the same
    return words


def _find(program: str) -> str | None:
    if program.startswith("/"):
        return program if os.access(program, os.X_OK) else None
    for folder in FOLDERS:
        path = f"{folder}/{program}"
        if os.access(path, os.X_OK):
            return path
    return None


def _environment(command: Command) -> dict[str, str]:
    told = {"LC_ALL": "C", "PATH": ":".join(FOLDERS)}
    if command.session:
        told |= {name: os.environ[name] for name in _SESSION.split() if name in os.environ}
    return told


def _drain(pipe: IO[bytes], name: str, deadline: float) -> bytes:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    parts: list[bytes] = []
    held = 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(int(left * 1000) + 1):
            raise NotObserved("error", f"the command `{name}` took too long")
        part = os.read(pipe.fileno(), 65_536)
        if not part:
            return b"".join(parts)
        parts.append(part)
        held += len(part)
        if held > MAX_OUTPUT:
            raise NotObserved("error", f"the command `{name}` printed too much")
