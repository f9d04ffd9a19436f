"""A device whose ageing stands still: its last appraisal goes on, since it is the sensor path that is silent.

Only for a device that was heard until then and has nothing bad to say: whoever is quarantined, lost or revoked, had
fallen silent before, or reported a shield that is down is judged by the clock as ever.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from device_inventory.device import DeviceRecord
from device_inventory.facts import CATALOGUE, FUTURE_TOLERANCE, FactEnvelope, badness
from device_inventory.fleet import REPORT_FRESH, Freeze

ALARMING: Final = frozenset(
    {
        "integrity.rooted",
        "ld_preload",
        "debugger",
        "disk.encrypted",
        "edr.running",
        "edr.healthy",
        "av.realtime",
        "firewall.enabled",
        "mac.enforcing",
        "os.supported",
        "mdm.compliant",
        "vuln.kev_overdue",
    }
)
"""Facts whose worse value is bad news by itself, whichever source says so."""
OVERDUE: Final = "kev_overdue"


class Standstill(Struct, frozen=True):
    """A device as it is judged while ageing stands still: this record, at this instant."""

    record: DeviceRecord
    at: int


def stand_still(freeze: Freeze | None, record: DeviceRecord, *, tick_start: int, tick_end: int) -> Standstill | None:
    """Return what a device is judged by while a freeze covers all of a tick; None: by the clock, as ever.

    INVARIANT: each age is what `fleet.ageing_instant` says, so nothing is fresher than it was when ageing stood still,
    nor than it was when it came.
    """
    if freeze is None or not freeze.start <= tick_start <= tick_end < freeze.end:
        return None
    at = freeze.aged_at
    if record.status != "active" or record.report_received_at <= at - REPORT_FRESH:
        return None
    newest = max((fact.received_at for fact in record.facts.values()), default=0)
    if max(newest, record.report_received_at) > tick_end + FUTURE_TOLERANCE or _alarms(record):
        return None
    if max(newest, record.report_received_at) <= at:
        return Standstill(record, at)
    facts = {name: _no_later(fact, at) for name, fact in record.facts.items()}
    return Standstill(replace(record, facts=facts, report_received_at=min(at, record.report_received_at)), at)


def _alarms(record: DeviceRecord) -> bool:
    for name, fact in record.facts.items():
        if fact.status != "observed" or name not in CATALOGUE:
            continue
        if name in ALARMING and badness(name, fact.value) != 0:
            return True
        if name == "vuln.state" and fact.value == OVERDUE:
            return True
    return False


def _no_later(fact: FactEnvelope, at: int) -> FactEnvelope:
    return fact if fact.received_at <= at else replace(fact, received_at=at)
