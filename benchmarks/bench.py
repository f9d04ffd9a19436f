"""What every section of a run shares: the plan, the peers, a folder, and the report they write to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import asdict

from benchmarks import wrk
from benchmarks.peers import Peers
from benchmarks.processes import BenchmarkError, Contestant
from benchmarks.report import Report


class Plan(msgspec.Struct, frozen=True):
    """How long and how often. Short alternating rounds: a shared machine swings from minute to minute."""

    rounds: int
    nginx_rounds: int
    seconds: float
    warm_up: float
    site_people: int
    repeats: int
    """Of what is timed in process."""


FULL = Plan(rounds=6, nginx_rounds=5, seconds=5, warm_up=1, site_people=10_000, repeats=15)
QUICK = Plan(rounds=1, nginx_rounds=1, seconds=1, warm_up=1, site_people=600, repeats=3)


class Run(msgspec.Struct, frozen=True):
    """One run of the benchmarks."""

    plan: Plan
    peers: Peers
    folder: Path
    bundle: bytes
    core: int
    client_core: int
    report: Report
    say: Callable[[str], None]

    def place(self, name: str) -> Path:
        """Return a new folder for a section."""
        path = self.folder / name
        path.mkdir()
        return path

    def client(self, contestant: Contestant, load: wrk.Load, seconds: float, *, offset: int = 0) -> Measured:
        """Let wrk ask a contestant, and note what the contestant's processor did meanwhile."""
        if self.peers.wrk is None:
            raise BenchmarkError("wrk is missing")
        before = contestant.cpu_seconds()
        sample = wrk.run(
            self.peers.wrk, load, port=contestant.port, seconds=seconds, core=self.client_core, offset=offset
        )
        used = contestant.cpu_seconds() - before
        return Measured(**asdict(sample), cpu_us=used / max(1, sample.requests) * 1e6)


class Measured(wrk.Sample, frozen=True):
    """A sample with the processor time each request cost the contestant."""

    cpu_us: float


def told(sample: Measured) -> str:
    """Return a sample as a person reads it."""
    return f"{sample.rate:>9,.0f}/s  p99 {sample.p99:>7,.0f} us  cpu {sample.cpu_us:6.1f} us"
