"""A Mac, from the recorded output of its own commands. Nothing here runs on a Mac.

What stands in none of these outputs is not answered, and a word that is not known is never a good one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from device_inventory.collectors.machine import Collected, Found, seen, shown, unknown
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.recorded import Recording, read_all
from device_inventory.collectors.unseen import NotObserved, absent, broken
from device_inventory.serial import serial_hash

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sw_vers": "sw_vers",
        "uname": "uname -r",
        "hardware": "system_profiler SPHardwareDataType",
        "hypervisor": "sysctl -n kern.hv_vmm_present",
        "fdesetup": "fdesetup status",
        "firewall": "/usr/libexec/ApplicationFirewall/socketfilterfw --getglobalstate",
        "csrutil": "csrutil status",
        "spctl": "spctl --status",
        "bputil": "bputil -d",
        "screenlock": "sysadminctl -screenLock status",
        "idle": "defaults -currentHost read com.apple.screensaver idleTime",
        "profiles": "profiles status -type enrollment",
        "admin": "dseditgroup -o checkmember -m $USER admin",
    }
)
"""What has to be run under LC_ALL=C, by the name its output goes by. `bputil` and `profiles` want root."""

_SERVERS: Final = (("jamf", "Jamf"), ("manage.microsoft.com", "Microsoft Intune"), ("kandji", "Kandji"))


def collect(outputs: Mapping[str, str], *, now: int) -> Found:
    """Facts from outputs by their name in COMMANDS; one that is missing leaves its facts `not_collected`."""
    return read_all(PROBES, Recording(now=now, outputs=outputs))


def _line(recording: Recording, command: str, label: str) -> str:
    match = re.search(rf"^\s*{re.escape(label)}:\s*(\S.*?)\s*$", recording.text(command), re.MULTILINE)
    if match is None:
        raise absent(f"`{command}` does not tell `{label}`")
    return match[1]


def _release(recording: Recording) -> Found:
    return {
        "os.family": seen("macos"),
        "os.id": seen("macos"),
        "os.version": shown(_line(recording, "sw_vers", "ProductVersion")),
        "os.build": shown(_line(recording, "sw_vers", "BuildVersion")),
    }


def _kernel(recording: Recording) -> Found:
    return {"kernel.release": shown(recording.text("uname").split("\n")[0])}


def _model(recording: Recording) -> Found:
    return {"device.model": shown(_line(recording, "hardware", "Model Identifier"))}


def _serial(recording: Recording) -> Found:
    hashed = serial_hash(_line(recording, "hardware", "Serial Number (system)"))
    if not hashed:
        raise absent("this Mac names no serial number")
    return {"device.serial_hash": seen(hashed)}


def _vm(recording: Recording) -> Found:
    text = recording.text("hypervisor")
    if text not in ("0", "1"):
        raise broken("`sysctl` answers neither 0 nor 1")
    return {"vm": seen(text == "1")}


def _filevault(recording: Recording) -> Found:
    """On, and done: while a disk is being encrypted or decrypted a part of it is in the clear."""
    text = recording.text("fdesetup")
    if re.search(r"(?:Encryption|Decryption) in progress", text):
        return {"disk.encrypted": seen(False, "it is not finished")}
    match = re.search(r"^FileVault is (On|Off)\b", text, re.MULTILINE)
    if match is None:
        raise broken("`fdesetup` answers neither on nor off")
    return {"disk.encrypted": seen(match[1] == "On")}


def _firewall(recording: Recording) -> Found:
    match = re.search(r"\(State = (\d)\)", recording.text("firewall"))
    if match is None or match[1] not in "012":
        raise broken("`socketfilterfw` answers no state")
    inbound = {
        "0": seen("allow"),
        "1": unknown("each program decides for itself"),
        "2": seen("drop"),
    }[match[1]]
    return {"firewall.enabled": seen(match[1] != "0"), "firewall.default_inbound": inbound}


def _protection(recording: Recording) -> bool:
    """Whether System Integrity Protection is on as a whole; a configuration of one's own has some of it off."""
    match = re.search(r"System Integrity Protection status: (enabled|disabled|unknown)", recording.text("csrutil"))
    if match is None:
        raise broken("`csrutil` answers no status")
    return match[1] == "enabled"


def _gatekeeper(recording: Recording) -> bool:
    match = re.search(r"^assessments (enabled|disabled)$", recording.text("spctl"), re.MULTILINE)
    if match is None:
        raise broken("`spctl` answers no status")
    return match[1] == "enabled"


def _boots_signed(recording: Recording) -> bool:
    """Reduced security still starts only what Apple has signed; permissive starts anything."""
    match = re.search(r"^\s*Security Mode:\s*(Full|Reduced|Permissive)\b", recording.text("bputil"), re.MULTILINE)
    if match is None:
        raise broken("`bputil` answers no mode")
    return match[1] != "Permissive"


def _confinement(recording: Recording) -> Found:
    return {"mac.enforcing": seen(_protection(recording))}


def _secure_boot(recording: Recording) -> Found:
    return {"boot.secure_boot": seen(_boots_signed(recording))}


def _rooted(recording: Recording) -> Found:
    """Any sign is enough for yes; no takes all of them."""
    puzzle: NotObserved | None = None
    for good in (_protection, _gatekeeper, _boots_signed):
        try:
            if not good(recording):
                return {"integrity.rooted": seen(True)}
        except NotObserved as reason:
            puzzle = reason
    if puzzle is not None:
        raise puzzle
    return {"integrity.rooted": seen(False)}


def _lock(recording: Recording) -> Found:
    """The delay counts from the start of the screen saver, so the idle time is both together."""
    text = recording.text("screenlock")
    never = {"screenlock.enabled": seen(False), "screenlock.idle_seconds": unknown("it never locks by itself")}
    if re.search(r"screenLock is off\b", text):
        return never
    match = re.search(r"screenLock delay is (?:(immediate)|(\d{1,9}) seconds?)\b", text)
    if match is None:
        raise broken("`sysadminctl` answers no delay")
    try:
        idle = recording.text("idle")
    except NotObserved:
        return {"screenlock.enabled": seen(True), "screenlock.idle_seconds": unknown("`idle` was not recorded")}
    if not re.fullmatch(r"\d{1,9}", idle):
        raise broken("the idle time is no number")
    if int(idle) == 0:
        return never
    seconds = int(idle) + (0 if match[1] else int(match[2]))
    return {"screenlock.enabled": seen(True), "screenlock.idle_seconds": seen(seconds)}


def _management(recording: Recording) -> Found:
    word = _line(recording, "profiles", "MDM enrollment")
    if not re.match(r"(?:Yes|No)\b", word):
        raise broken("`profiles` answers neither yes nor no")
    if word.startswith("No"):
        return {"mdm.enrolled": seen(False), "mdm.vendor": unknown("it is not enrolled")}
    return {"mdm.enrolled": seen(True), "mdm.vendor": _vendor(recording)}


def _vendor(recording: Recording) -> Collected:
    try:
        server = _line(recording, "profiles", "MDM server").lower()
    except NotObserved as reason:
        return unknown(reason.detail)
    for part, vendor in _SERVERS:
        if part in server:
            return seen(vendor)
    return unknown("the server is of no vendor known here")


def _admin(recording: Recording) -> Found:
    match = re.match(r"(yes|no) \S+ is (NOT )?a member of admin\b", recording.text("admin"))
    if match is None or (match[1] == "no") is not (match[2] is not None):
        raise broken("`dseditgroup` answers neither yes nor no")
    return {"user.is_admin": seen(match[1] == "yes")}


PROBES: Final = (
    Probe(facts=("os.family", "os.id", "os.version", "os.build"), look=_release),
    Probe(facts=("kernel.release",), look=_kernel),
    Probe(facts=("device.model",), look=_model),
    Probe(facts=("device.serial_hash",), look=_serial),
    Probe(facts=("vm",), look=_vm),
    Probe(facts=("disk.encrypted",), look=_filevault),
    Probe(facts=("firewall.enabled", "firewall.default_inbound"), look=_firewall),
    Probe(facts=("mac.enforcing",), look=_confinement),
    Probe(facts=("boot.secure_boot",), look=_secure_boot),
    Probe(facts=("integrity.rooted",), look=_rooted),
    Probe(facts=("screenlock.enabled", "screenlock.idle_seconds"), look=_lock),
    Probe(facts=("mdm.enrolled", "mdm.vendor"), look=_management),
    Probe(facts=("user.is_admin",), look=_admin),
)
