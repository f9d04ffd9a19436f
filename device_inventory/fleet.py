"""A fleet that grows stale at once: the sensor path broke, not the fleet.

Without this rule an outage of the control plane's intake would lock a whole ministry out within the hour. With it,
ageing stands still for a while for ordinary papers, with an alarm, and goes on for secret ones. It cannot be had for
longer, nor again soon after: whoever cuts off the reports on purpose gains four hours, once, and rings the bell.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

WINDOW: Final = 900
"""Devices that grow stale within so many seconds do so at once."""
REPORT_FRESH: Final = 1200
"""A report is fresh for so long: agents report every 12 to 15 minutes, and the tightest gate is 20."""
SHARE_PERCENT: Final = 30
MIN_FLEET: Final = 20
"""In a smaller fleet a few closed lids are 30 %, and there is nobody to be locked out by the thousand."""
LONGEST: Final = 4 * 3600
REST: Final = 12 * 3600
"""From the start of one outage to the next: an evening's closed lids do not use up the morning's."""
FREEZE_UP_TO_RANK: Final = 200
"""Ageing stands still for labels up to this rank (C2); it never does for secret papers."""

FleetEvent = Literal["none", "sensor_outage", "sensor_recovered", "sensor_outage_over"]


class Freeze(Struct, frozen=True, kw_only=True):
    """Ageing stands still from `start` until before `end`: evidence is as old as it was at `aged_at`.

    It says nothing of evidence that was old by then, which stays as old as it was.
    """

    start: int
    end: int
    aged_at: int
    up_to: int = FREEZE_UP_TO_RANK
    """The highest label rank it is for."""


class FleetCount(Struct, frozen=True, kw_only=True):
    """How many devices are fresh at `at`, and how many were until less than `WINDOW` seconds before.

    `fresh`: the report was received after `at - REPORT_FRESH`; `lapsed`: in the `WINDOW` seconds before that. Both of
    devices in service only.
    """

    at: int
    fresh: int
    lapsed: int


class FleetWatch(Struct, frozen=True, kw_only=True):
    """What the detector remembers between two counts: the last freeze, if any, and what the fleet was before it."""

    freeze: Freeze | None = None
    fleet: int = 0


def watch(state: FleetWatch, count: FleetCount) -> tuple[FleetWatch, FleetEvent]:
    """Look at one count; return what to remember and what has happened, which is to be announced and alarmed.

    Counts are taken about once a minute, in the order of time; one that is late or missing delays and breaks nothing.
    """
    freeze = state.freeze
    before = count.fresh + count.lapsed
    if freeze is not None and freeze.start <= count.at < freeze.end:
        if count.fresh * 100 >= state.fleet * (100 - SHARE_PERCENT):
            ended = replace(freeze, end=max(count.at, freeze.start + 1))
            return replace(state, freeze=ended), "sensor_recovered"
        return state, "none"
    rested = freeze is None or count.at >= freeze.start + REST
    if rested and before >= MIN_FLEET and count.lapsed * 100 > before * SHARE_PERCENT:
        frozen = Freeze(start=count.at, end=count.at + LONGEST, aged_at=count.at - WINDOW)
        return FleetWatch(freeze=frozen, fleet=before), "sensor_outage"
    if freeze is not None and state.fleet and count.at >= freeze.end:
        # `fleet` is what tells an end that was told from one that was not.
        over = freeze.end - freeze.start >= LONGEST
        return replace(state, fleet=0), "sensor_outage_over" if over else "none"
    return state, "none"


def ageing_instant(freeze: Freeze | None, *, received_at: int, rank: int, now: int) -> int:
    """The instant against which evidence received at `received_at` is aged, for a label of this rank.

    INVARIANT: newer evidence is never older than other evidence, frozen or not; evidence from the future is aged
    against now, which is how it is found out.
    """
    if freeze is None or rank > min(freeze.up_to, FREEZE_UP_TO_RANK) or not freeze.start <= now < freeze.end:
        return now
    return max(freeze.aged_at, received_at) if received_at <= now else now
