"""What moves rollouts without anybody: guards that do not hold, rings that were watched for long enough."""

from __future__ import annotations

from typing import Final

import structlog

from zt_engine.control_plane import rollouts
from zt_engine.control_plane.context import ControlPlane

log = structlog.get_logger()

EVERY_SECONDS: Final = 5.0


class Keeper:
    """Looks after the rollouts of one control plane; for the one that puts changes in order."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._looked_at = 0.0

    def turn(self, now: float) -> None:
        """Do what is due, every few seconds. Raises UnavailableError like every use of the store."""
        if 0 <= now - self._looked_at < EVERY_SECONDS:
            return
        self._looked_at = now
        tenant = self._plane.settings.tenant
        with self._plane.store.reading(tenant) as tx:
            if not rollouts.under_way(tx):
                return
        with self._plane.store.writing(tenant) as tx:
            moved = rollouts.turn(tx, now=int(now))
        if moved:
            log.info("rollouts.moved", count=moved)
