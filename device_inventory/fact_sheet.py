"""A device's facts as the policy input shows them: status, value, method, and how fresh each is at the tick's end.

Only confidence changes with time. A sheet is therefore made once per version of a record and filled in once per tick,
and while nothing on it has begun to fade it is the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from device_inventory.device import DeviceRecord
from device_inventory.facts import (
    CATALOGUE,
    FRESHNESS,
    FUTURE_TOLERANCE,
    FactEnvelope,
    FactValue,
    FreshnessClass,
    FreshnessRange,
    confidence,
)

PolicyFact = dict[str, FactValue]
Ranges = Mapping[FreshnessClass, FreshnessRange]

_encode: Final = msgspec.json.Encoder(order="sorted").encode
_NEVER: Final = -(2**62)
_ALWAYS: Final = 2**62
# A rule sees the same shape for every device, so a fact the record does not hold is shown as what it is.
_ABSENT: Final = FactEnvelope(status="not_collected", value=None, method="declared", received_at=0)


def policy_facts(
    record: DeviceRecord, *, tick_end: int, names: Iterable[str], ranges: Ranges = FRESHNESS
) -> dict[str, PolicyFact]:
    """The facts in `names`, each as `{status, value, method, confidence}` with freshness 0..1000 as confidence."""
    shown: dict[str, PolicyFact] = {}
    for name in names:
        fact = record.facts.get(name, _ABSENT)
        fresh = confidence(name, fact, boot_id=record.boot_id, now=tick_end, ranges=ranges)
        shown[name] = {"status": fact.status, "value": fact.value, "method": fact.method, "confidence": fresh}
    return shown


class FactSheet(Struct, frozen=True, kw_only=True):
    """The facts of one record version, ready to be encoded at any instant."""

    form: bytes
    """The canonical JSON object (sorted keys, no blanks) with a place for each confidence."""
    facts: tuple[tuple[str, FactEnvelope], ...]
    boot_id: str
    ranges: Ranges
    fresh: bytes
    """What `at` answers from `fresh_from` to `fresh_until`, both included."""
    fresh_from: int
    fresh_until: int

    def at(self, tick_end: int) -> bytes:
        """The same facts as `policy_facts`, encoded."""
        return self.fresh if self.fresh_from <= tick_end <= self.fresh_until else self._filled(tick_end)

    def _filled(self, now: int) -> bytes:
        return self.form % tuple(
            confidence(name, fact, boot_id=self.boot_id, now=now, ranges=self.ranges) for name, fact in self.facts
        )


def fact_sheet(record: DeviceRecord, *, names: Iterable[str], ranges: Ranges = FRESHNESS) -> FactSheet:
    """Prepare the facts in `names` of one version of a record."""
    facts = tuple((name, record.facts.get(name, _ABSENT)) for name in sorted(set(names)))
    since, until = _NEVER, _ALWAYS
    for name, fact in facts:
        kind = CATALOGUE.get(name)
        if kind is not None and kind.freshness != "static" and fact.status == "observed":
            since = max(since, fact.received_at - FUTURE_TOLERANCE)
            until = min(until, fact.received_at + ranges[kind.freshness].full_until)
    sheet = FactSheet(
        form=_form(facts),
        facts=facts,
        boot_id=record.boot_id,
        ranges=ranges,
        fresh=b"",
        fresh_from=since,
        fresh_until=until,
    )
    return msgspec.structs.replace(sheet, fresh=sheet._filled(until)) if since <= until else sheet


def _form(facts: tuple[tuple[str, FactEnvelope], ...]) -> bytes:
    parts: list[bytes] = []
    # Records hold equal envelopes once, so most facts of a report share one form. By identity: True equals 1, its
    # JSON does not.
    known: dict[int, bytes] = {}
    for name, fact in facts:
        rest = known.get(id(fact))
        if rest is None:
            rest = _encode({"method": fact.method, "status": fact.status, "value": fact.value})[1:]
            rest = known[id(fact)] = b':{"confidence":%d,' + rest.replace(b"%", b"%%")
        parts.append(_encode(name).replace(b"%", b"%%") + rest)
    return b"{" + b",".join(parts) + b"}"
