"""A clock that stands still until it is moved, and knows only what it is told about time sources."""

from __future__ import annotations


class FakeClock:
    """The port `Clock`; may be moved in either direction."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.time = now
        self.running = 1000.0
        self.follows_a_source = True

    def now(self) -> float:
        """The instant it was set to."""
        return self.time

    def elapsed(self) -> float:
        """What has passed; setting the clock does not change it."""
        return self.running

    def synchronised(self) -> bool:
        """What it was told."""
        return self.follows_a_source

    def advance(self, seconds: float) -> None:
        """Let time pass, or jump back."""
        self.time += seconds
        self.running += max(0.0, seconds)
