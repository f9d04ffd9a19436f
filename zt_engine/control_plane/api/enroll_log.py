"""One line in the log for each step of an enrollment, and for each that is refused: by id and code, without a secret.

A person is named in the audit, not here: the log of a program goes to more people than the inventory does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from device_inventory.device import DeviceRecordError
from zt_engine.core.errors import ZtError

log = structlog.get_logger()


class Step:
    """What a step turned out to be about; a refusal is logged with what was known until then."""

    def __init__(self, enrollment: str) -> None:
        self.facts: dict[str, object] = {"enrollment": enrollment} if enrollment else {}

    def done(self, event: str, **facts: object) -> None:
        """Log that it was taken."""
        self.facts |= facts
        log.info(event, **self.facts)


@contextmanager
def step(name: str, enrollment: str = "") -> Iterator[Step]:
    """Have a step logged: by itself when it is refused, by `Step.done` when it was taken."""
    taken = Step(enrollment)
    try:
        yield taken
    except (ZtError, DeviceRecordError) as error:
        log.warning("enrollment.refused", step=name, code=error.code, **taken.facts)
        raise
