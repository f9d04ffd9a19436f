"""Counts stale allows of a sidecar by its own arithmetic: allows after the newest watermark's time had passed, and
allows of a device whose revocation the sidecar had acknowledged.
"""

from __future__ import annotations

import time

from tests.fakes.clock import FakeClock
from tests.sidecar_support import CASE, NOTE, SECRET, InProcess, wait_for
from tests.stream_server import Plane, Site

BOUNDS = {SECRET: 10.0, CASE: 60.0, NOTE: 86_400.0}
"""What a watermark is good for: C3, C2 and C1."""


class Watcher:
    """Asks a sidecar, and knows when it must not be allowed any more."""

    def __init__(self, site: Site, sidecar: InProcess, plane: Plane, clock: FakeClock | None = None) -> None:
        self.site, self.sidecar, self.plane = site, sidecar, plane
        self._now = clock.now if clock is not None else time.time
        self.heard_at = 0.0
        """When a watermark was issued that the lease runs from."""
        self.stale_allows = 0
        self.last_mark = 0.0
        """The newest watermark that can have reached the sidecar, while the control plane is there."""
        self.cut = False
        self.lost_at = 0
        """The `seq` from which the device is lost; 0 while it is not."""

    def hears(self) -> None:
        """Wait until the lease runs from a watermark that is issued from now on."""
        control, now = self.sidecar.program.control, time.time()
        assert control is not None
        wait_for(lambda: (control.lease.issued_at or 0.0) >= now, "a watermark")
        self.heard_at = control.lease.issued_at or 0.0

    @property
    def acknowledged(self) -> int:
        return max((one.applied_seq for one in self.plane.plane.extras["sidecars"].all()), default=0)

    def ask(self, url: str = CASE) -> str:
        acknowledged = 0 if self.plane.closed else self.acknowledged
        told = self.site.asked(self.sidecar, url)
        if not self.cut:
            self.last_mark = self._now()
        if told == "200":
            too_old = self._now() - self.last_mark > BOUNDS[url]
            knew = bool(self.lost_at) and acknowledged >= self.lost_at
            self.stale_allows += too_old or knew
        return told

    def lose(self) -> None:
        before = self.plane.store.span("default")[1]
        self.plane.lose("laptop-1")
        # The revocation and the record: two events.
        wait_for(lambda: self.plane.store.span("default")[1] >= before + 2, "their places in the order")
        self.lost_at = self.plane.store.span("default")[1]
