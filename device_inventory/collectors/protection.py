"""Endpoint protection and virus scanners: whether they run, and whether they do what they are there for.

A name proves nothing, for anybody may start a program of that name. What counts is a process that the system's manager
runs in the product's unit, whose program an installed package has brought. A vendor's word `healthy` is not a fact
either: products say so with scanning switched off, so the single fields are judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from device_inventory.collectors.machine import Collected, Found, Machine, seen, unknown
from device_inventory.collectors.packages import owned
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.services import runs
from device_inventory.collectors.unseen import absent, broken
from device_inventory.facts import DAY, HOUR

_SIGNATURES: Final = "/var/lib/clamav"


class Product(Struct, frozen=True, kw_only=True):
    """How one product looks on Linux. A process's own name has 15 characters at most."""

    vendor: str
    units: tuple[str, ...]
    comms: frozenset[str]
    program: str
    packages: tuple[str, ...]


FALCON: Final = Product(
    vendor="CrowdStrike Falcon",
    units=("falcon-sensor",),
    comms=frozenset({"falcon-sensor", "falcon-sensor-b"}),
    program="/opt/CrowdStrike/falcon-sensor",
    packages=("falcon-sensor",),
)
DEFENDER: Final = Product(
    vendor="Microsoft Defender",
    units=("mdatp",),
    comms=frozenset({"wdavdaemon"}),
    program="/opt/microsoft/mdatp/sbin/wdavdaemon",
    packages=("mdatp",),
)
EDR: Final = (
    FALCON,
    DEFENDER,
    Product(
        vendor="Trend Micro Deep Security",
        units=("ds_agent",),
        comms=frozenset({"ds_agent"}),
        program="/opt/ds_agent/ds_agent",
        packages=("ds-agent", "ds_agent"),
    ),
    Product(
        vendor="SentinelOne",
        units=("sentinelone",),
        comms=frozenset({"s1-agent", "sentinelone-age"}),
        program="/opt/sentinelone/bin/sentinelone-agent",
        packages=("sentinelagent", "SentinelAgent"),
    ),
    Product(
        vendor="Wazuh",
        units=("wazuh-agent",),
        comms=frozenset({"wazuh-agentd"}),
        program="/var/ossec/bin/wazuh-agentd",
        packages=("wazuh-agent",),
    ),
)
# The daemon scans what it is asked to scan; only this one watches.
CLAMONACC: Final = tuple(
    Product(
        vendor="ClamAV",
        units=("clamav-clamonacc", "clamonacc"),
        comms=frozenset({"clamonacc"}),
        program=program,
        packages=("clamav-daemon", "clamav", "clamd"),
    )
    for program in ("/usr/sbin/clamonacc", "/usr/bin/clamonacc")
)


def installed(machine: Machine, product: Product) -> bool:
    """Whether a package brought the product's program."""
    return any(owned(machine, package, product.program) for package in product.packages)


def running(machine: Machine, product: Product) -> bool:
    """Whether the manager runs it in its unit."""
    return any(runs(machine, unit, product.comms) for unit in product.units)


def _edr(machine: Machine) -> Found:
    here = [product for product in EDR if installed(machine, product)]
    if not here:
        raise absent("no endpoint protection known here is installed")
    at_work = [product for product in here if running(machine, product)]
    shown = (at_work or here)[0]
    return {"edr.running": seen(bool(at_work), shown.vendor), "edr.vendor": seen(shown.vendor)}


def _health(machine: Machine) -> Found:
    if installed(machine, DEFENDER):
        if not running(machine, DEFENDER):
            return {"edr.healthy": seen(False, "it does not run")}
        return {"edr.healthy": _defender_health(_defender(machine))}
    if installed(machine, FALCON):
        if not running(machine, FALCON):
            return {"edr.healthy": seen(False, "it does not run")}
        return {"edr.healthy": _falcon_health(machine)}
    raise absent("no endpoint protection that tells its health is installed")


def _defender(machine: Machine) -> Mapping[str, Any]:
    """Fields of `mdatp health`, whose names are written in two ways and whose values are sometimes wrapped."""
    try:
        document = json.loads(machine.run("mdatp").text)
        fields = {name.replace("_", "").lower(): value for name, value in document.items()}
    except (ValueError, AttributeError, RecursionError):
        raise broken("the answer of `mdatp` is malformed") from None
    return {
        name: value.get("value", value.get("$type")) if isinstance(value, dict) else value
        for name, value in fields.items()
    }


def _defender_health(fields: Mapping[str, Any]) -> Collected:
    names = ("licensed", "realtimeprotectionenabled", "definitionsstatus", "engineloadstatus")
    missing = [name for name in names if fields.get(name) is None]
    if missing:
        return unknown(f"`mdatp` does not tell {', '.join(missing)}")
    good = {
        "licensed": fields["licensed"] is True,
        "realtimeprotectionenabled": fields["realtimeprotectionenabled"] is True,
        "definitionsstatus": str(fields["definitionsstatus"]).replace("_", "").lower() == "uptodate",
        "engineloadstatus": str(fields["engineloadstatus"]).lower().endswith("succeeded"),
    }
    bad = [name for name in names if not good[name]]
    return seen(not bad, f"not as it should be: {', '.join(bad)}" if bad else "")


def _falcon_health(machine: Machine) -> Collected:
    """It watches when it has its number from the console and is not in reduced functionality mode. Root only."""
    text = machine.run("falconctl").text
    mode = re.search(r"rfm-state=(true|false)", text)
    if mode is None:
        return unknown("`falconctl` answers only root")
    return seen(mode[1] == "false" and re.search(r'aid="[0-9a-f]{32}"', text) is not None)


def _realtime(machine: Machine) -> Found:
    if installed(machine, DEFENDER) and running(machine, DEFENDER):
        enabled = _defender(machine).get("realtimeprotectionenabled")
        if not isinstance(enabled, bool):
            raise absent("`mdatp` does not tell whether it watches")
        return {"av.realtime": seen(enabled, DEFENDER.vendor)}
    here = [product for product in (*CLAMONACC, DEFENDER) if installed(machine, product)]
    if not here:
        raise absent("no virus scanner known here is installed")
    return {"av.realtime": seen(any(running(machine, product) for product in here), here[0].vendor)}


def _signatures(machine: Machine) -> Found:
    """Whole hours."""
    if installed(machine, DEFENDER) and running(machine, DEFENDER):
        minutes = _defender(machine).get("definitionsupdatedminutesago")
        if type(minutes) is not int or minutes < 0:
            raise absent("`mdatp` does not tell how old its definitions are")
        return {"av.signature_age_h": seen(minutes // 60)}
    files = [machine.status(f"{_SIGNATURES}/daily.{end}") for end in ("cld", "cvd", "cud")]
    times = [int(status.st_mtime) for status in files if status is not None]
    if not times:
        raise absent("there are no virus definitions known here")
    if max(times) > machine.now + DAY:
        raise broken("the virus definitions are from the future")
    return {"av.signature_age_h": seen(max(machine.now - max(times), 0) // HOUR)}


PROBES: Final = (
    Probe(facts=("edr.running", "edr.vendor"), look=_edr),
    Probe(facts=("edr.healthy",), look=_health),
    Probe(facts=("av.realtime",), look=_realtime),
    Probe(facts=("av.signature_age_h",), look=_signatures),
)
