"""How the machine was started: Secure Boot, the TPM, and how far the kernel is locked."""

from __future__ import annotations

import re
from typing import Final

from device_inventory.collectors.machine import Found, Machine, seen, shown, unknown
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import NotObserved, absent, broken, unsupported

_FIRMWARE: Final = "8be4df61-93ca-11d2-aa0d-00e098032b8c"  # EFI_GLOBAL_VARIABLE
_SHIM: Final = "605dab50-e046-4300-abb6-3dd810dd8b23"
_TPM: Final = "/sys/class/tpm"
_LEVELS: Final = ("confidentiality", "integrity", "none")


def boot_id(machine: Machine) -> str:
    """The kernel's random name for this boot; raises OSError, NotObserved."""
    found = machine.word("/proc/sys/kernel/random/boot_id")
    if not re.fullmatch(r"[0-9a-f-]{36}", found):
        raise broken("the kernel gave this boot no readable name")
    return found


def booted_at(machine: Machine) -> int:
    """When this boot began, in epoch seconds."""
    seconds = machine.word("/proc/uptime").split(".")[0]
    if not (seconds.isascii() and seconds.isdigit()):
        raise broken("the kernel gave no readable uptime")
    return machine.now - int(seconds)


def _secure_boot(machine: Machine) -> Found:
    on = _variable(machine, f"SecureBoot-{_FIRMWARE}")
    if on and _shim_is_open(machine):
        return {"boot.secure_boot": seen(False, "shim was told not to check what it starts")}
    return {"boot.secure_boot": seen(on)}


def _setup_mode(machine: Machine) -> Found:
    return {"boot.setup_mode": seen(_variable(machine, f"SetupMode-{_FIRMWARE}"))}


def _variable(machine: Machine, name: str) -> bool:
    if not machine.exists("/sys/firmware/efi"):
        raise unsupported("this machine was not started by UEFI")
    folder = "/sys/firmware/efi/efivars"
    try:
        content = machine.data(f"{folder}/{name}", limit=64)
    except FileNotFoundError:
        if not machine.listing(folder):
            raise absent("the variables of the firmware are not mounted") from None
        raise unsupported("this firmware has no Secure Boot") from None
    # Four bytes of attributes stand before the value.
    if len(content) != 5 or content[4] not in (0, 1):
        raise broken(f"the variable `{name}` of the firmware is malformed")
    return content[4] == 1


def _shim_is_open(machine: Machine) -> bool:
    try:
        return _variable(machine, f"MokSBStateRT-{_SHIM}")
    except NotObserved as reason:
        if reason.status == "error":
            raise
        return False


def _tpm(machine: Machine) -> Found:
    chips = [name for name in machine.names(_TPM) if re.fullmatch(r"tpm\d+", name)]
    if not chips:
        nothing = unknown("there is no TPM")
        return {"tpm.present": seen(False), "tpm.version": nothing}
    major = machine.optional(f"{_TPM}/{chips[0]}/tpm_version_major")
    version = {"1": "1.2", "2": "2.0"}.get((major or "").strip())
    told = shown(version) if version else unknown("this kernel does not tell the version of the TPM")
    return {"tpm.present": seen(True), "tpm.version": told}


def _measured(machine: Machine) -> Found:
    chips = [name for name in machine.names(_TPM) if re.fullmatch(r"tpm\d+", name)]
    if not chips:
        raise absent("there is no TPM")
    # A firmware that measures has extended PCR 0 before anything else ran. The log says the same, to root only.
    register = machine.optional(f"{_TPM}/{chips[0]}/pcr-sha256/0")
    if register is None:
        log = machine.data(f"/sys/kernel/security/{chips[0]}/binary_bios_measurements", limit=1, head=True)
        return {"boot.measured": seen(bool(log))}
    value = register.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise broken("the register of the TPM is malformed")
    return {"boot.measured": seen(value not in ("0" * 64, "f" * 64))}


def _lockdown(machine: Machine) -> Found:
    match = re.search(r"\[(\w+)\]", machine.word("/sys/kernel/security/lockdown"))
    if match is None or match[1] not in _LEVELS:
        raise broken("the kernel's lockdown is malformed")
    return {"kernel.lockdown": seen(match[1])}


PROBES: Final = (
    Probe(facts=("boot.secure_boot",), look=_secure_boot),
    Probe(facts=("boot.setup_mode",), look=_setup_mode),
    Probe(facts=("tpm.present", "tpm.version"), look=_tpm),
    Probe(facts=("boot.measured",), look=_measured),
    Probe(facts=("kernel.lockdown",), look=_lockdown),
)
