"""Codes that were tried and fit nobody or somebody else: counted for each person and for all together.

The counts are this process's own and forgotten with it. They slow a guesser down; what makes guessing hopeless is the
length of the codes.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from zt_engine.core.errors import InputError

WINDOW: Final = 3600
PER_PERSON: Final = 10
ALTOGETHER: Final = 1000


class Guesses:
    """Wrong codes of the last hour. Safe in threads, and bounded: no more are kept than `altogether`."""

    def __init__(self, *, per_person: int = PER_PERSON, altogether: int = ALTOGETHER, window: int = WINDOW) -> None:
        self._per_person = per_person
        self._altogether = altogether
        self._window = window
        self._at: deque[tuple[float, str]] = deque()
        self._lock = threading.Lock()

    def check(self, person: str, *, now: float) -> None:
        """Refuse whoever guessed too often, with the right code as well: INVITE_GUESSES."""
        with self._lock:
            if self._over(person, now):
                raise InputError("INVITE_GUESSES", f"too many wrong codes; try again in {self._window} s")

    def note(self, person: str, *, now: float) -> bool:
        """Count a wrong code; whether it was the one that used up what this person has."""
        with self._lock:
            before = self._over(person, now)
            if not before:
                self._at.append((now, person))
            return not before and self._over(person, now)

    def _over(self, person: str, now: float) -> bool:
        # A clock that was set back must not keep entries for ever.
        while self._at and not now - self._window < self._at[0][0] <= now:
            self._at.popleft()
        mine = sum(who == person for _, who in self._at)
        return mine >= self._per_person or len(self._at) >= self._altogether
