"""What a version of a device record says, made once; and what records that say alike say while they are fresh, once
for all of them.

Most devices of a site say one of a few hundred things, at different instants. While nothing has begun to age, the facts
in the policy input and the worth of the device are the same for all of those, and only the instants say until when.
So a report that brings nothing new, and the first sight of a device like others, cost a comparison.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from device_inventory.device import DeviceRecord
from device_inventory.fact_sheet import FactSheet
from device_inventory.facts import CATALOGUE, FUTURE_TOLERANCE
from zt_engine.core.generations import Generations
from zt_engine.core.policy_input import fragment
from zt_engine.core.trust import Pillar
from zt_engine.core.trust_readings import Readings, pillar_at
from zt_engine.sidecar.shared_facts import Outline, SharedFacts

MAX_SHEETS = 24_000
"""Enough for the devices of a busy hour, not for the whole inventory."""
MAX_LIKENESSES = 8_000
"""Each takes 2 kB; where no two devices are alike, one is made for a device with each sheet."""

Make = Callable[[DeviceRecord], tuple[FactSheet, Readings]]


class _Likeness:
    """What all records of one outline say while they are fresh."""

    __slots__ = ("ages", "facts", "pillar", "protection")

    def __init__(self, record: DeviceRecord, outline: Outline, make: Make) -> None:
        # Said at one instant, all of it is fresh at that instant, whatever ages how fast.
        at_once = msgspec.structs.replace(record, facts=SharedFacts(outline, (0,) * len(outline.names)))
        sheet, readings = make(at_once)
        self.facts = sheet.at(0)
        self.pillar = pillar_at(readings, 0)
        protection = record.facts.get("device.key_protection")
        known = protection is not None and protection.status == "observed"
        self.protection = fragment(protection.value if known and protection is not None else "")
        full: dict[int, int] = {}
        for name, seconds in _ages(sheet, readings):
            group = outline.groups[outline.places[name]]
            full[group] = min(seconds, full.get(group, seconds))
        self.ages = tuple(full.items())
        """Of the instants that count (by number), how long what came then stays fresh."""


class Sheet:
    """One version of a device record: what it says while all of it is fresh, and by its facts when it is not."""

    __slots__ = ("_from", "_like", "_make", "_until", "_whole", "named", "record")

    def __init__(self, record: DeviceRecord, times: tuple[int, ...], like: _Likeness, make: Make) -> None:
        self.record = record
        self.named = b'"id":%b,"key_protection":%b,"ownership":"%b"' % (
            fragment(record.device_id),
            like.protection,
            record.ownership.encode(),
        )
        """The members of the input between `facts` and `report_age`."""
        self._make = make
        self._like = like
        self._from = max([times[group] - FUTURE_TOLERANCE for group, _ in like.ages], default=None)
        self._until = min([times[group] + seconds for group, seconds in like.ages], default=None)
        self._whole: tuple[FactSheet, Readings] | None = None

    def at(self, tick_end: int) -> tuple[bytes, Pillar]:
        """Return the facts as the input shows them, and what the device is worth."""
        if self._from is None or self._until is None or self._from <= tick_end <= self._until:
            return self._like.facts, self._like.pillar
        if self._whole is None:
            self._whole = self._make(self.record)
        facts, readings = self._whole
        return facts.at(tick_end), pillar_at(readings, tick_end)


class Sheets:
    """A bounded number of sheets, all made with one `make`."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._known: Generations[str, Sheet] = Generations(MAX_SHEETS)
        self._likenesses: Generations[tuple[Outline, str], _Likeness] = Generations(MAX_LIKENESSES)

    def of(self, record: DeviceRecord) -> Sheet:
        """Return the sheet of a version of a record."""
        sheet = self._known.get(record.device_id)
        if sheet is None or sheet.record is not record:
            facts = SharedFacts.of(record.facts)
            sheet = Sheet(record, facts.times, self._likeness(record, facts.outline), self._make)
            self._known.put(record.device_id, sheet)
        return sheet

    def _likeness(self, record: DeviceRecord, outline: Outline) -> _Likeness:
        # A fact that names its boot says nothing once the device runs another.
        key = (outline, record.boot_id if outline.boots else "")
        like = self._likenesses.get(key)
        if like is None:
            like = _Likeness(record, outline, self._make)
            self._likenesses.put(key, like)
        return like


def _ages(sheet: FactSheet, readings: Readings) -> list[tuple[str, int]]:
    """Return every fact that ages and bears on the answer, and for how many seconds it is fresh."""
    shown = [
        (name, sheet.ranges[kind.freshness].full_until)
        for name, fact in sheet.facts
        if (kind := CATALOGUE.get(name)) is not None and kind.freshness != "static" and fact.status == "observed"
    ]
    scored = [
        (reading.source, reading.limits.full_until)
        for factor in readings.factors
        for reading in factor.readings
        if reading.limits is not None and reading.status == "observed"
    ]
    return shown + scored
