"""Reading that ageing stands still: as the stream says it, or the `freeze` of a `situation.json`.

It loosens, so whatever is odd about it means that it does not hold; nothing that is told can make it last longer than
the detector's own four hours, or reach above C2.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from device_inventory.fleet import LONGEST, WINDOW, Freeze
from zt_engine.core.classification import RANK_C2
from zt_engine.core.errors import InputError
from zt_engine.core.instants import LATEST
from zt_engine.core.lease import RANK_C1

Epoch = Annotated[int, msgspec.Meta(gt=0, le=LATEST)]


class FreezeRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence is as old as it was at `since`, until before `until`, for labels up to one."""

    since: Epoch
    until: Epoch
    max_label: Literal["C1", "C2"]


def read_freeze(raw: object) -> Freeze:
    """Read a freeze, or raise InputError FLEET_FREEZE."""
    try:
        record = msgspec.convert(raw, FreezeRecord)
    except msgspec.ValidationError as error:
        raise InputError("FLEET_FREEZE", str(error)[:200]) from None
    if not record.since < record.until <= record.since + LONGEST + WINDOW:
        raise InputError("FLEET_FREEZE", f"it lasts no time, or longer than {LONGEST + WINDOW} seconds")
    rank = RANK_C2 if record.max_label == "C2" else RANK_C1
    return Freeze(start=record.since, end=record.until, aged_at=record.since, up_to=rank)
