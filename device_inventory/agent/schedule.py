"""When the agent speaks next: by lot, so that an office that is switched on at nine is no wave at nine fifteen."""

from __future__ import annotations

from typing import Final, Protocol

EARLIEST: Final = 720.0
LATEST: Final = 900.0
FIRST_PAUSE: Final = 15.0
LONGEST_PAUSE: Final = 900.0
REFUSED_PAUSE: Final = 3600.0
"""A refusal changes when a person does something about it."""
_ASKED: Final = (10, 86_400)
_LATER: Final = 20.0
"""Whoever is asked to come back at a moment comes no sooner: a report may be worth something only from then on."""


class Lots(Protocol):
    """Draws lots."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number between two."""
        ...


def until_next(lots: Lots, asked: int) -> float:
    """Return the seconds to the next report: 12 to 15 minutes, or a little more than what the server asked for."""
    if _ASKED[0] <= asked <= _ASKED[1]:
        return asked + lots.uniform(0.0, min(_LATER, asked / 20))
    return lots.uniform(EARLIEST, LATEST)


def back_off(lots: Lots, failures: int, retry_after: float | None) -> float:
    """Return the seconds after the nth failure in a row; never less than what the server asked for."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(max(failures, 1) - 1, 10))
    pause = lots.uniform(pause / 2, pause)
    if retry_after is None:
        return pause
    return max(pause, lots.uniform(retry_after, retry_after * 1.1))


def renewal_due(not_before: int, not_after: int, now: float) -> bool:
    """Whether two thirds of a certificate's life are over."""
    return now >= not_before + (not_after - not_before) * 2 // 3


def after_refusal(lots: Lots) -> float:
    """Return the seconds after the server said no."""
    return lots.uniform(REFUSED_PAUSE * 0.8, REFUSED_PAUSE)
