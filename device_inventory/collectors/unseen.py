"""Why there is no value: the one exception of the collectors."""

from __future__ import annotations

from device_inventory.facts import FactStatus


class NotObserved(Exception):
    """The facts that were asked for have this status instead of a value, and why."""

    def __init__(self, status: FactStatus, detail: str) -> None:
        super().__init__(status, detail)
        self.status: FactStatus = status
        self.detail = detail


def absent(detail: str) -> NotObserved:
    """There is nothing to look at: that says nothing good."""
    return NotObserved("not_collected", detail)


def unsupported(detail: str) -> NotObserved:
    """The machine cannot have it."""
    return NotObserved("not_supported", detail)


def broken(detail: str) -> NotObserved:
    """It was looked at and made no sense."""
    return NotObserved("error", detail)
