"""What the machine is: model, serial number, and whether it is a virtual one."""

from __future__ import annotations

import re
from typing import Final

from device_inventory.collectors.machine import Found, Machine, seen, shown
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.unseen import absent
from device_inventory.serial import serial_hash

_DMI: Final = "/sys/class/dmi/id"
_TREE: Final = "/proc/device-tree"
_HEAD: Final = 16 * 1024
# What makers leave in the field when they have nothing to say, in lower case and without blanks.
BLANK: Final = re.compile(
    r"|none|n/?a|0+|1234567890?|x+|\.+|-+|default(string)?|notspecified|notapplicable|unknown|invalid|oem"
    r"|tobefilledbyo\.?e\.?m\.?|system(serialnumber|productname|manufacturer|version)|o\.?e\.?m\.?"
)
VIRTUAL: Final = re.compile(
    r"qemu|kvm|vmware|virtualbox|innotek|virtual machine|xen|bochs|parallels|openstack|google compute|bhyve"
    r"|firecracker",
    re.IGNORECASE,
)


def _model(machine: Machine) -> Found:
    maker, product = (_field(machine, name) for name in ("sys_vendor", "product_name"))
    board = (machine.optional(f"{_TREE}/model") or "").strip("\0 \n")
    name = " ".join(part for part in (maker, product) if part) or board
    if not name:
        raise absent("the firmware names no model")
    return {"device.model": shown(name)}


def _serial(machine: Machine) -> Found:
    if machine.exists(f"{_DMI}/product_serial"):
        serial = _field(machine, "product_serial")
    else:
        serial = (machine.optional(f"{_TREE}/serial-number") or "").strip("\0 \n")
    if not (hashed := serial_hash(serial)):
        raise absent("the firmware names no serial number")
    return {"device.serial_hash": seen(hashed)}


def _field(machine: Machine, name: str) -> str:
    text = (machine.optional(f"{_DMI}/{name}") or "").strip()
    return "" if BLANK.fullmatch("".join(text.lower().split())) else text


def _vm(machine: Machine) -> Found:
    if (machine.optional("/sys/hypervisor/type") or "").strip() == "xen":
        # The first machine of a Xen host runs on the hardware.
        return {"vm": seen("control_d" not in (machine.optional("/proc/xen/capabilities") or ""))}
    if "microsoft" in machine.word("/proc/sys/kernel/osrelease").lower() or machine.exists(f"{_TREE}/hypervisor"):
        return {"vm": seen(True)}
    flags = re.search(r"^flags\s*:(.*)$", machine.text("/proc/cpuinfo", limit=_HEAD, head=True), re.MULTILINE)
    if flags is not None:
        return {"vm": seen("hypervisor" in flags[1].split())}
    names = [machine.optional(f"{_DMI}/{name}") or "" for name in ("sys_vendor", "product_name", "bios_vendor")]
    told = "\n".join(names).strip() or (machine.optional(f"{_TREE}/model") or "")
    if not told:
        raise absent("neither processor nor firmware tells")
    return {"vm": seen(VIRTUAL.search(told) is not None)}


PROBES: Final = (
    Probe(facts=("device.model",), look=_model),
    Probe(facts=("device.serial_hash",), look=_serial),
    Probe(facts=("vm",), look=_vm),
)
