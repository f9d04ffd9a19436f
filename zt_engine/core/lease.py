"""How long what was heard last may still be decided by: each label's rank has an instant at which its lease ends.

The lease runs from when the newest watermark was issued that has been applied. It is measured with a clock that counts
suspension and that nobody sets (`elapsed`, CLOCK_BOOTTIME); what time that clock stands for is known from the control
plane's signed answers to nonces. Until the first answer the host's own clock is believed, and only up to C1: an old
watermark and a clock that was set back look fresh together. Where the two clocks differ by more than `MAX_OFFSET`, one
of them is wrong: expiry of tokens and certificates is then judged by a wrong clock, and nothing from C3 up is decided.

The request path asks `ends[rank]`, one look-up, and compares it with `elapsed`.
"""

from __future__ import annotations

import math

import msgspec

from zt_engine.core.classification import RANK_C2

RANK_C1 = 100
RANK_C3 = 300
MAX_OFFSET = 60.0
MAX_ROUND_TRIP = 10.0
"""An answer that took longer says too little about the time."""


class Staleness(msgspec.Struct, frozen=True, kw_only=True):
    """For how many seconds a decision may rest on what was heard, by label. C0 needs nothing that is told."""

    c1: float = 86_400.0
    c2: float = 60.0
    c3: float = 10.0

    def of(self, rank: int) -> float:
        """Return the longest for a rank."""
        if rank >= RANK_C3:
            return self.c3
        if rank >= RANK_C2:
            return self.c2
        return self.c1 if rank >= RANK_C1 else math.inf


class Reading(msgspec.Struct, frozen=True):
    """Both clocks at one moment: the host's, and the one nobody sets."""

    wall: float
    elapsed: float


class Ends(dict[int, float]):
    """For each rank the value of `elapsed` from which on nothing is decided; computed when it is first asked for."""

    __slots__ = ("_lease",)

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def __missing__(self, rank: int) -> float:
        end = self[rank] = self._lease.end_of(rank)
        return end


class Lease:
    """The lease of one sidecar."""

    def __init__(self, staleness: Staleness) -> None:
        self.staleness = staleness
        self.ends = Ends(self)
        self.issued_at: float | None = None
        """When the newest watermark was issued that counts, by its own word."""
        self._taken = 0.0
        """When it was taken up, by `elapsed`: it was issued before that, whatever it says."""
        self._zero: float | None = None
        """What time it is at the control plane when `elapsed` is 0, as far as is known: rather later than it is."""
        self._confirmed = False
        self._offset = 0.0

    @property
    def offset(self) -> float | None:
        """Seconds the host's clock is behind the control plane's; None before the first answer."""
        return self._offset if self._confirmed else None

    def end_of(self, rank: int) -> float:
        """Return when the lease of a rank ends, by `elapsed`; minus infinity when there is none."""
        longest = self.staleness.of(rank)
        if longest == math.inf:
            return math.inf
        if self.issued_at is None or self._zero is None:
            return -math.inf
        if rank >= RANK_C2 and not self._confirmed:
            return -math.inf
        if rank >= RANK_C3 and abs(self._offset) > MAX_OFFSET:
            return -math.inf
        return min(self.issued_at - self._zero, self._taken) + longest

    def limit(self, staleness: Staleness) -> None:
        """Take up other limits; what has ended by them has ended at once."""
        self.staleness = staleness
        self.ends.clear()

    def renew(self, issued_at: float, reading: Reading) -> None:
        """Run from a watermark that was applied. One from the future counts as issued when it was taken up."""
        self.observe(reading)
        if self.issued_at is None or issued_at > self.issued_at:
            self.issued_at, self._taken = issued_at, reading.elapsed
        self.ends.clear()

    def observe(self, reading: Reading) -> None:
        """Compare the clocks; to be called every second or so. The host's clock being set does not prolong anything."""
        zero = reading.wall - reading.elapsed
        if not self._confirmed:
            # Set back, it is not believed: what was later once stays later.
            self._zero = zero if self._zero is None else max(self._zero, zero)
        elif self._zero is not None:
            self._offset = self._zero - zero
        self.ends.clear()

    def confirm(self, now: float, *, asked: float, reading: Reading) -> bool:
        """Take the signed time of an answer to a question put when `elapsed` was `asked`; whether it says enough.

        The time is taken for the moment of the question, so that a delayed answer only ends leases earlier.
        """
        if not 0.0 <= reading.elapsed - asked <= MAX_ROUND_TRIP:
            return False
        self._zero, self._confirmed = now - asked, True
        self.observe(reading)
        return True

    @property
    def anchor(self) -> float | None:
        """What time it is at the control plane when `elapsed` is 0, once it is confirmed: true until the next boot."""
        return self._zero if self._confirmed else None

    def anchored(self, anchor: float, reading: Reading) -> None:
        """Take up what was confirmed before this process began, in the same boot of the machine."""
        self._zero, self._confirmed = anchor, True
        self.observe(reading)

    def age(self, elapsed: float) -> float | None:
        """Return how old the watermark is that the lease runs from."""
        if self.issued_at is None or self._zero is None:
            return None
        return elapsed - min(self.issued_at - self._zero, self._taken)
