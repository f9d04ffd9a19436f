"""A Windows machine, from the recorded output of PowerShell and of its own commands. Nothing here runs on Windows.

PowerShell writes an enumeration as its number or as its name, depending on its version; both are read. "Snoozed",
"Not Monitored" and "Error" of the Security Center are no answer, and never a good one.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from device_inventory.collectors.hardware import BLANK, VIRTUAL
from device_inventory.collectors.machine import Collected, Found, seen, shown, unknown
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.recorded import Recording, read_all
from device_inventory.collectors.unseen import NotObserved, absent, broken, unsupported
from device_inventory.facts import DAY, HOUR
from device_inventory.serial import serial_hash

_NT: Final = r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion"
_LOCK: Final = (
    r"@{machine = Get-ItemProperty HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System;"
    r" policy = Get-ItemProperty 'HKCU:\Software\Policies\Microsoft\Windows\Control Panel\Desktop';"
    r" user = Get-ItemProperty 'HKCU:\Control Panel\Desktop'} | ConvertTo-Json"
)
COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "release": f"Get-ItemProperty '{_NT}' | ConvertTo-Json",
        "system": "Get-CimInstance Win32_ComputerSystem | ConvertTo-Json",
        "bios": "Get-CimInstance Win32_BIOS | ConvertTo-Json",
        "bitlocker": "Get-BitLockerVolume | ConvertTo-Json",
        "firewall": "Get-NetFirewallProfile -PolicyStore ActiveStore | ConvertTo-Json",
        "defender": "Get-MpComputerStatus | ConvertTo-Json",
        "security_center": "osqueryi --json 'select * from windows_security_center'",
        "tpm": "Get-Tpm | ConvertTo-Json",
        "secure_boot": "Confirm-SecureBootUEFI",
        "hotfix": "Get-HotFix | ConvertTo-Json",
        "lock": _LOCK,
        "groups": "whoami /groups /fo csv /nh",
        "enrollments": r"Get-ChildItem HKLM:\SOFTWARE\Microsoft\Enrollments | Get-ItemProperty | ConvertTo-Json",
        "dsregcmd": "dsregcmd /status",
    }
)
"""What has to be run, by the name its output goes by. BitLocker, TPM and Secure Boot want an administrator."""

_ADMINISTRATORS: Final = "S-1-5-32-544"
_WINDOWS_11: Final = 22_000
_NEVER: Final = 65_535
"""What Defender says of definitions it never had."""


def collect(outputs: Mapping[str, str], *, now: int) -> Found:
    """Facts from outputs by their name in COMMANDS; one that is missing leaves its facts `not_collected`."""
    return read_all(PROBES, Recording(now=now, outputs=outputs))


def _word(value: object, words: Mapping[int, str]) -> str:
    """The name of an enumeration's value, in lower case."""
    if type(value) is int:
        return words.get(value, "")
    return str(value).lower().replace(" ", "") if isinstance(value, str) else ""


def _truth(row: Mapping[str, Any], name: str) -> bool:
    if not isinstance(row.get(name), bool):
        raise absent(f"`{name}` was not recorded")
    return row[name] is True


def _at(value: object) -> int | None:
    r"""Epoch seconds of a date, which PowerShell writes as `/Date(milliseconds)/`, alone or inside an object."""
    if isinstance(value, dict):
        value = value.get("value")
    match = re.fullmatch(r"/Date\((\d{1,16})\)/", value) if isinstance(value, str) else None
    return int(match[1]) // 1000 if match else None


def _release(recording: Recording) -> Found:
    row = recording.row("release")
    build, revision = str(row.get("CurrentBuildNumber", "")), row.get("UBR")
    if not re.fullmatch(r"\d{4,6}", build):
        raise broken("the build of Windows is no number")
    # The product's name in the registry is still the one of version 10.
    server = row.get("InstallationType") in ("Server", "Server Core")
    name = "windows-server" if server else "windows-11" if int(build) >= _WINDOWS_11 else "windows-10"
    version = row.get("DisplayVersion")
    return {
        "os.family": seen("windows"),
        "os.id": seen(name),
        "os.version": shown(version) if isinstance(version, str) else unknown("Windows names no version"),
        "os.build": seen(f"{build}.{revision}" if type(revision) is int else build),
        "kernel.release": seen(f"10.0.{build}"),
    }


def _hardware(recording: Recording) -> Found:
    row = recording.row("system")
    names = [str(row.get(name) or "").strip() for name in ("Manufacturer", "Model")]
    model = " ".join(name for name in names if not BLANK.fullmatch("".join(name.lower().split())))
    if not model:
        raise absent("the firmware names no model")
    # That there is a hypervisor says nothing: Windows runs on one of its own to protect itself.
    return {"device.model": shown(model), "vm": seen(VIRTUAL.search(model) is not None)}


def _serial(recording: Recording) -> Found:
    hashed = serial_hash(str(recording.row("bios").get("SerialNumber") or ""))
    if not hashed:
        raise absent("the firmware names no serial number")
    return {"device.serial_hash": seen(hashed)}


def _bitlocker(recording: Recording) -> Found:
    """Every volume has to be encrypted to its end and protected: suspended protection leaves the key in the clear."""
    clear, puzzle = [], ""
    for row in recording.rows("bitlocker"):
        point = str(row.get("MountPoint") or "a volume")
        protection = _word(row.get("ProtectionStatus"), {0: "off", 1: "on", 2: "unknown"})
        status = _word(row.get("VolumeStatus"), {0: "fullydecrypted", 1: "fullyencrypted"})
        if protection == "on" and status == "fullyencrypted" and row.get("EncryptionPercentage") == 100:
            continue
        if protection in ("on", "off"):
            clear.append(point)
        else:
            puzzle = f"BitLocker does not tell whether `{point}` is protected"
    if clear:
        return {"disk.encrypted": seen(False, f"not encrypted: {', '.join(clear)}")}
    if puzzle:
        raise absent(puzzle)
    return {"disk.encrypted": seen(True)}


def _firewall(recording: Recording) -> Found:
    """All three profiles: which of them holds is decided by the network the machine is carried into."""
    try:
        rows = recording.rows("firewall")
    except NotObserved:
        judged = _judged(recording, "firewall")
        return {"firewall.enabled": judged, "firewall.default_inbound": unknown("its profiles were not recorded")}
    if {str(row.get("Name", "")).lower() for row in rows} != {"domain", "private", "public"}:
        raise absent("not all profiles of the firewall were recorded")
    enabled = [
        "true" if row.get("Enabled") is True else _word(row.get("Enabled"), {0: "false", 1: "true"}) for row in rows
    ]
    if not {*enabled} <= {"true", "false"}:
        raise absent("a profile of the firewall is not configured")
    actions = {_word(row.get("DefaultInboundAction"), {2: "allow", 4: "block"}) for row in rows}
    on = "false" not in enabled
    if not on or "allow" in actions:
        return {"firewall.enabled": seen(on), "firewall.default_inbound": seen("allow")}
    known = actions == {"block"}
    inbound = seen("drop") if known else unknown("a profile does not tell what it does by default")
    return {"firewall.enabled": seen(True), "firewall.default_inbound": inbound}


def _judged(recording: Recording, name: str) -> Collected:
    """A word of the Security Center. Only two of its words are an observation."""
    word = recording.row("security_center").get(name)
    if word not in ("Good", "Poor"):
        return unknown(f"the Security Center says `{shown(str(word)).value or ''}`")
    return seen(word == "Good")


def _antivirus(recording: Recording) -> Found:
    """Defender where it is at work itself; else, when another product took its place, the Security Center's word."""
    row = recording.row("defender")
    if _truth(row, "AntivirusEnabled"):
        return {
            "av.realtime": seen(_truth(row, "RealTimeProtectionEnabled")),
            "av.signature_age_h": _age(recording, row),
        }
    try:
        other = _judged(recording, "antivirus")
    except NotObserved as reason:
        other = unknown(reason.detail)
    return {"av.realtime": other, "av.signature_age_h": unknown("Defender is not at work")}


def _age(recording: Recording, row: Mapping[str, Any]) -> Collected:
    at = _at(row.get("AntivirusSignatureLastUpdated"))
    if at is not None and at <= recording.now + DAY:
        return seen(max(recording.now - at, 0) // HOUR)
    days = row.get("AntivirusSignatureAge")
    if type(days) is not int or not 0 <= days < _NEVER:
        return unknown("Defender does not tell how old its definitions are")
    return seen(days * 24)


def _tpm(recording: Recording) -> Found:
    row = recording.row("tpm")
    present = _truth(row, "TpmPresent")
    # The chip's maker gives this number to chips of version 2.0 only.
    modern = re.fullmatch(r"[\d.]+", str(row.get("ManufacturerVersionFull20") or ""))
    version = seen("2.0") if present and modern else unknown("the version of the TPM was not recorded")
    return {"tpm.present": seen(present), "tpm.version": version}


def _secure_boot(recording: Recording) -> Found:
    text = recording.text("secure_boot")
    if text in ("True", "False"):
        return {"boot.secure_boot": seen(text == "True")}
    if "not supported on this platform" in text:
        raise unsupported("this machine was not started by UEFI")
    raise absent("`Confirm-SecureBootUEFI` was refused")


def _last_success(recording: Recording) -> Found:
    times = [at for row in recording.rows("hotfix") if (at := _at(row.get("InstalledOn"))) is not None]
    if not times:
        raise absent("no update has a date")
    if max(times) > recording.now + DAY:
        raise broken("the record of updates is from the future")
    return {"patch.last_success_at": seen(max(times))}


def _lock(recording: Recording) -> Found:
    """The machine's limit holds for everybody; a policy goes before what the user set."""
    row = recording.row("lock")
    machine, policy, user = (_object(row, name) for name in ("machine", "policy", "user"))
    limit = _seconds(machine.get("InactivityTimeoutSecs"))
    if limit:
        return _locks(limit, enforced=True)
    names = ("ScreenSaveActive", "ScreenSaverIsSecure", "ScreenSaveTimeOut")
    active, secure, timeout = (_seconds(policy.get(name, user.get(name))) for name in names)
    enforced = all(name in policy for name in names)
    if active is None or secure is None or timeout is None:
        raise absent("the settings of the screen saver were not recorded")
    if not (active and secure and timeout):
        return {
            "screenlock.enabled": seen(False),
            "screenlock.idle_seconds": unknown("it never locks by itself"),
            "screenlock.enforced": seen(enforced),
        }
    return _locks(timeout, enforced=enforced)


def _locks(seconds: int, *, enforced: bool) -> Found:
    return {
        "screenlock.enabled": seen(True),
        "screenlock.idle_seconds": seen(seconds),
        "screenlock.enforced": seen(enforced),
    }


def _object(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    held = row.get(name)
    return held if isinstance(held, dict) else {}


def _seconds(value: object) -> int | None:
    """The registry holds numbers as numbers in some places and as text in others."""
    if type(value) is int:
        return value if value >= 0 else None
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else None


def _admin(recording: Recording) -> Found:
    """By the group's number, which is the same in every language. To have the group and not use it is to have it."""
    rows = list(csv.reader(recording.text("groups").splitlines()))
    held = {row[2] for row in rows if len(row) >= 3}
    if not any(identity.startswith("S-1-") for identity in held):
        raise broken("`whoami` names no group")
    return {"user.is_admin": seen(_ADMINISTRATORS in held)}


def _management(recording: Recording) -> Found:
    """Being joined to a directory is not being managed; a machine that is joined to nothing is nobody's."""
    try:
        rows = recording.rows("enrollments")
    except NotObserved as reason:
        if reason.status != "not_collected" or _joined(recording):
            raise
        return {"mdm.enrolled": seen(False), "mdm.vendor": unknown("it is not enrolled")}
    at_work = [row for row in rows if row.get("EnrollmentState") == 1 and row.get("ProviderID")]
    if not at_work:
        return {"mdm.enrolled": seen(False), "mdm.vendor": unknown("it is not enrolled")}
    provider = str(at_work[0]["ProviderID"])
    vendor = seen("Microsoft Intune") if provider == "MS DM Server" else shown(provider)
    return {"mdm.enrolled": seen(True), "mdm.vendor": vendor}


def _joined(recording: Recording) -> bool:
    text = recording.text("dsregcmd")
    states = re.findall(r"^\s*(?:AzureAd|Enterprise|Domain|Workplace)Joined\s*:\s*(YES|NO)\s*$", text, re.MULTILINE)
    if not states:
        raise broken("`dsregcmd` answers no state")
    return "YES" in states


PROBES: Final = (
    Probe(facts=("os.family", "os.id", "os.version", "os.build", "kernel.release"), look=_release),
    Probe(facts=("device.model", "vm"), look=_hardware),
    Probe(facts=("device.serial_hash",), look=_serial),
    Probe(facts=("disk.encrypted",), look=_bitlocker),
    Probe(facts=("firewall.enabled", "firewall.default_inbound"), look=_firewall),
    Probe(facts=("av.realtime", "av.signature_age_h"), look=_antivirus),
    Probe(facts=("tpm.present", "tpm.version"), look=_tpm),
    Probe(facts=("boot.secure_boot",), look=_secure_boot),
    Probe(facts=("patch.last_success_at",), look=_last_success),
    Probe(facts=("screenlock.enabled", "screenlock.idle_seconds", "screenlock.enforced"), look=_lock),
    Probe(facts=("user.is_admin",), look=_admin),
    Probe(facts=("mdm.enrolled", "mdm.vendor"), look=_management),
)
