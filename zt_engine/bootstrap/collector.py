"""When Python looks for garbage in circles: while nobody asks, and never in the middle of a decision.

What a decision leaves behind is freed by counting references; a round of the collector over ten thousand people's
records stops every answer for a fifth of a second, to find nothing. So its own schedule is switched off. It still has
to come by, since what is made once an hour (a reload, a failed read) may leave circles.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

LOOK_SECONDS = 1.0
WORTH_A_ROUND = 20_000
"""Objects more than at the last round: below that an idle process leaves the collector alone."""
TOO_MANY = 3_000_000
"""Objects more than at the last round, whoever is waiting: several times what all caches can hold."""


class Collector:
    """Runs rounds by itself; `asked` counts requests, so that two equal readings mean a quiet second."""

    def __init__(self, asked: Callable[[], int]) -> None:
        self._asked = asked
        self._before = asked()
        self.rounds = 0

    async def keep(self) -> None:
        """Take what was loaded out of all later rounds, and look once a second until cancelled."""
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                self.look()
        finally:
            gc.enable()

    def look(self) -> None:
        """Run a round if it disturbs nobody, or if it must be."""
        asked, grown = self._asked(), gc.get_count()[0]
        quiet, self._before = asked == self._before, asked
        if grown > TOO_MANY or (quiet and grown > WORTH_A_ROUND):
            gc.collect()
            self.rounds += 1
