"""What a sidecar measures of its control plane."""

from __future__ import annotations

from collections.abc import Callable

from zt_engine.bootstrap.following_control import ControlFollower
from zt_engine.sidecar.admin import Gauges


def gauges_of(control: ControlFollower, elapsed: Callable[[], float]) -> Gauges:
    """Return the gauges of a sidecar that follows a control plane."""
    lease, releases = control.lease, control.releases
    found: Gauges = {
        "zt_stream_connected": ("1 while the control plane is heard.", lambda: float(control.connected)),
        "zt_stream_seq": ("The last change that was applied.", lambda: control.sync.position.seq),
        "zt_watermark_age_seconds": (
            "Since the watermark was issued that the lease runs from; -1 without one.",
            lambda: -1.0 if (age := lease.age(elapsed())) is None else age,
        ),
        "zt_clock_offset_seconds": (
            "How far this clock is behind the control plane's.",
            lambda: lease.offset or 0.0,
        ),
    }
    if releases is None:
        return found
    return {
        **found,
        "zt_release_seq": ("The release that decides; 0 before the first.", lambda: releases.bundle_seq),
        "zt_release_problems": ("Releases that are refused or cannot be had.", lambda: len(releases.problems)),
    }
