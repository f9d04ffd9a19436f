"""Watches whether a whole fleet falls silent at once, and says so: in the log, in the audit, to whoever asks.

What was seen is kept in the store, so that neither a restart nor another process forgets that an outage has been had.
"""

from __future__ import annotations

from typing import Final

import msgspec
import structlog

from device_inventory.fleet import REPORT_FRESH, WINDOW, FleetCount, FleetEvent, FleetWatch, Freeze, watch
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.ledger import write_down
from zt_engine.ports.inventory import Transaction

log = structlog.get_logger()

KIND: Final = "fleet_watch"
_ID: Final = "reports"
EVENT: Final = "fleet.frozen"
REMOVED: Final = b'{"removed":true}'
_ACTOR: Final = "system"
_decode: Final = msgspec.json.Decoder(FleetWatch).decode


class FleetWatching:
    """Counts once a minute, and announces what the count means. Idempotent: the same count says nothing twice."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def look(self, *, now: int) -> FleetEvent:
        """Count, remember, and raise the alarm or end it. Raises UnavailableError like every use of the store."""
        tenant = self._plane.settings.tenant
        with self._plane.store.reading(tenant) as tx:
            count = counted(tx, now=now)
            if watch(remembered(tx), count)[0] == remembered(tx):
                return "none"
        with self._plane.store.writing(tenant) as tx:
            before = remembered(tx)
            after, event = watch(before, count)
            if after != before:
                tx.situation.put(KIND, _ID, msgspec.json.encode(after))
            if event != "none":
                tx.outbox.announce(EVENT, freeze_data(after, now=now) or REMOVED)
                write_down(
                    tx,
                    actor=_ACTOR,
                    action=f"fleet.{event}",
                    object_=f"fleet:{_ID}",
                    before=_said(before.freeze),
                    after={"fresh": count.fresh, "lapsed": count.lapsed, **(_said(after.freeze) or {})},
                    now=now,
                )
        _tell(event, count, after)
        return event


def counted(tx: Transaction, *, now: int) -> FleetCount:
    """Return how many devices in service are fresh, and how many were until a moment ago."""
    fresh_from = now - REPORT_FRESH
    return FleetCount(
        at=now,
        fresh=tx.devices.reported("active", after=fresh_from, until=now),
        lapsed=tx.devices.reported("active", after=fresh_from - WINDOW, until=fresh_from),
    )


def remembered(tx: Transaction) -> FleetWatch:
    """Return what was seen last."""
    body = tx.situation.all(KIND).get(_ID)
    return FleetWatch() if body is None else _decode(body)


def freeze_data(state: FleetWatch, *, now: int) -> bytes | None:
    """Return what sidecars are told of a freeze that holds; None: there is none."""
    freeze = state.freeze
    if freeze is None or not state.fleet or not freeze.start <= now < freeze.end:
        return None
    return msgspec.json.encode({"since": freeze.aged_at, "until": freeze.end, "max_label": "C2"})


def silent(tx: Transaction, *, now: int) -> bool:
    """Whether the fleet fell silent at once and has not come back: it is the intake that is broken, not the devices."""
    state = remembered(tx)
    freeze = state.freeze
    return freeze is not None and bool(state.fleet) and freeze.start <= now < freeze.end


def _tell(event: FleetEvent, count: FleetCount, state: FleetWatch) -> None:
    freeze = state.freeze
    if event == "none" or freeze is None:
        return
    seen = {"fresh": count.fresh, "lapsed": count.lapsed, "fleet": state.fleet, "until": freeze.end}
    if event == "sensor_outage":
        log.error("fleet.sensor_outage", code="SENSOR_OUTAGE", **seen)
    elif event == "sensor_outage_over":
        log.error("fleet.sensor_outage_over", code="SENSOR_OUTAGE_OVER", **seen)
    else:
        log.warning("fleet.sensor_recovered", **seen)


def _said(freeze: Freeze | None) -> dict[str, int] | None:
    return None if freeze is None else {"start": freeze.start, "end": freeze.end}
