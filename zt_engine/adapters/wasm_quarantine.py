"""Which entrypoints are refused because they keep failing, so that one broken service cannot take the event loop.

    open --(limit failures within the window)--> held --(hold is over)--> probing
    probing --answered--> open          probing --failed--> held again

Every endless evaluation costs the process its whole budget; a held entrypoint costs nothing and denies that service
only. Time is an argument (monotonic seconds).
"""

from __future__ import annotations

from collections import deque

FAILURES = 5
WINDOW_S = 10.0
HOLD_S = 10.0


class Quarantine:
    """Counts failures by entrypoint; while nothing has failed `suspects` is empty, and only that is asked."""

    def __init__(self, *, failures: int = FAILURES, window_s: float = WINDOW_S, hold_s: float = HOLD_S) -> None:
        self._failures = failures
        self._window = window_s
        self._hold = hold_s
        self._held_until: dict[str, float] = {}
        self.suspects: dict[str, deque[float]] = {}

    def refuses(self, entrypoint: str, *, now: float) -> bool:
        """Whether the entrypoint is held; when the hold is over it is let through on probation."""
        until = self._held_until.get(entrypoint)
        return until is not None and now < until

    def failed(self, entrypoint: str, *, now: float) -> None:
        """Count a trap, a timeout or a failed builtin; while probing, a single one holds the entrypoint again."""
        recent = self.suspects.setdefault(entrypoint, deque(maxlen=self._failures))
        recent.append(now)
        full = len(recent) == self._failures and now - recent[0] <= self._window
        if full or entrypoint in self._held_until:
            self._held_until[entrypoint] = now + self._hold

    def answered(self, entrypoint: str, *, now: float) -> None:
        """Forget a probing entrypoint that answered, and failures that are older than the window."""
        recent = self.suspects.get(entrypoint)
        if recent is None:
            return
        if entrypoint in self._held_until or now - recent[-1] > self._window:
            self._held_until.pop(entrypoint, None)
            del self.suspects[entrypoint]
