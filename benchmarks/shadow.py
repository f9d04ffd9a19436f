"""What does a shadow cost the decisions it watches: a sidecar while one works beside it, against while it stands still?

The sidecar has core 0 to itself, and the shadow has the same core: as little room as there can be. One sidecar is both
sides of each comparison, since two differ by more than a shadow makes. Rounds are short and alternate; one with the
shadow at work is compared with what stands before and after it, so that a machine which gets slower or faster is no
difference. A comparison counts when nobody else had more than a tenth of a core meanwhile, whatever it says, and rounds
go on until enough of them do. The rounds without a shadow are compared with each other in the same way: what that says
is not the shadow's, but the measurement's.

Each new input of the hot set is decided twice in shadow, with an overlay that is about everybody and without it.
Afterwards the shadow is given time to come to the end of what it follows, and what it decided is counted against the
inputs in the log.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import msgspec
from msgspec.structs import asdict

from benchmarks import contestants, wrk
from benchmarks.bench import Measured, Run, told
from benchmarks.data import HOT_PEOPLE, keys
from benchmarks.processes import BenchmarkError, Contestant
from benchmarks.site import Site

NAME = "shadow"
NEEDS = ("wrk",)
CATCH_UP_SECONDS = 240.0
START_SECONDS = 60.0
ROUND_SECONDS = 1.0
WANTED = 40
"""Comparisons that count, of which the median is the figure."""
LONGEST_SECONDS = 300.0
"""Then it is over, whether there are enough or not."""
LEAST = 15
"""Of fewer the median says nothing."""
OTHERS = 0.1
"""So much of a core may others have while a comparison lasts."""
FIGURES = ("shadow_overhead", "shadow_p99", "shadow_coverage")


class Round(Measured, frozen=True):
    """One round, with the share of a core that nobody of ours had meanwhile."""

    others: float


class Comparison(msgspec.Struct, frozen=True):
    """A round with the shadow at work between two without it."""

    before: Round
    watched: Round
    after: Round

    @property
    def quiet(self) -> bool:
        """Whether the machine was ours."""
        return max(one.others for one in (self.before, self.watched, self.after)) <= OTHERS

    def ratio(self, of: Callable[[Round], float]) -> float:
        """Return what is measured with the shadow against the (geometric) mean of what is measured without it."""
        return of(self.watched) / math.sqrt(of(self.before) * of(self.after))

    def control(self, of: Callable[[Round], float]) -> float:
        """Return the same of the two without a shadow."""
        return of(self.after) / of(self.before)


def measure(run: Run) -> None:
    """Let the two take turns, and then count."""
    place = run.place(NAME)
    site = Site(place / "site", HOT_PEOPLE, bundle=run.bundle)
    load = wrk.write_requests(place / "hook", (site.request(key) for key in keys(site.people)))
    report = place / "report"
    started: list[Contestant] = []
    try:
        watched = contestants.sidecar("watched", site, place / "watched", core=run.core)
        started.append(watched)
        watched.wait_ready()
        folder = place / "watched" / "log"
        command = [sys.executable, "-m", "benchmarks.shadow_child", folder, report]
        shadow = Contestant("shadow", command, core=run.core, log=place / "shadow-output", port=0, ready="")
        started.append(shadow)
        _wait(report.with_suffix(".ready"))
        compared = comparisons(run, watched, shadow, load)
        shadow.resume()
        caught_up, decided, keys_seen, errors = coverage(folder, report)
    finally:
        for contestant in started:
            contestant.stop()
    conclude(run, compared, caught_up=caught_up, decided=decided, keys_seen=keys_seen, errors=errors)


def comparisons(run: Run, sidecar: Contestant, shadow: Contestant, load: wrk.Load) -> list[Comparison]:
    """Measure in turn, the shadow standing still or at work, until enough comparisons count."""
    wanted = 1 if run.plan.rounds == 1 else WANTED
    found: list[Comparison] = []
    shadow.pause()
    run.client(sidecar, load, run.plan.warm_up)
    before, began = _round(run, sidecar, shadow, load), time.monotonic()
    while sum(one.quiet for one in found) < wanted and time.monotonic() - began < LONGEST_SECONDS * wanted / WANTED:
        shadow.resume()
        watched = _round(run, sidecar, shadow, load)
        shadow.pause()
        after = _round(run, sidecar, shadow, load)
        found.append(Comparison(before, watched, after))
        aside = "" if found[-1].quiet else "  others had the processor: does not count"
        run.say(f"  {len(found):>3} alone   {told(before)}\n      watched {told(watched)}{aside}")
        before = after
    return found


def _round(run: Run, sidecar: Contestant, shadow: Contestant, load: wrk.Load) -> Round:
    ours, busy, began = _ours(sidecar, shadow), _busy(run), time.monotonic()
    sample = run.client(sidecar, load, ROUND_SECONDS)
    ours, busy, passed = _ours(sidecar, shadow) - ours, _busy(run) - busy, time.monotonic() - began
    return Round(**asdict(sample), others=max(0.0, busy - ours) / passed)


def _ours(*contestants: Contestant) -> float:
    """Return the processor time of the contestants, of this process and of every wrk that ended."""
    here = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return here + sum(contestant.cpu_seconds() for contestant in contestants)


def _busy(run: Run) -> float:
    """Return the processor time that programs had on the two cores."""
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in {f"cpu{run.core}", f"cpu{run.client_core}"}:
            ticks += sum(int(field) for field in fields[:3])  # user, nice, system
    return ticks / os.sysconf("SC_CLK_TCK")


def coverage(folder: Path, report: Path) -> tuple[float, int, int, int]:
    """Wait for the shadow to come to the end; return after how long, what it decided, of how many, and its errors."""
    digests = set()
    for path in sorted((folder / "inputs").glob("inputs-*.jsonl")):
        with path.open("rb") as file:
            digests |= {line[17:81] for line in file}
    began = time.monotonic()
    while time.monotonic() - began < CATCH_UP_SECONDS:
        found = msgspec.json.decode(report.read_bytes()) if report.exists() else {"decided": 0, "errors": 0}
        if found["decided"] >= len(digests):
            break
        time.sleep(0.5)
    return time.monotonic() - began, int(found["decided"]), len(digests), int(found["errors"])


def conclude(
    run: Run, compared: list[Comparison], *, caught_up: float, decided: int, keys_seen: int, errors: int
) -> None:
    """Turn comparisons into figures."""
    report, counting = run.report, [one for one in compared if one.quiet] or compared
    report.samples[NAME] = {
        "comparisons": [msgspec.to_builtins(one) | {"quiet": one.quiet} for one in compared],
        "decided": decided,
        "keys": keys_seen,
        "caught_up_s": caught_up,
    }
    for name, of in (("shadow_overhead", _rate), ("shadow_p99", _p99)):
        ratios, controls = [one.ratio(of) for one in counting], [one.control(of) for one in counting]
        report.figure(name, median(ratios))
        report.figure(f"{name}_control", median(controls))
        run.say(f"  {name}: with a shadow {_spread(ratios)}, without against without {_spread(controls)}")
    report.figure("shadow_coverage", decided / max(1, keys_seen))
    run.say(f"  {len(counting)} of {len(compared)} comparisons count")
    run.say(f"  {decided} of {keys_seen} new keys decided in shadow, the last after {caught_up:.1f} s")
    broken = sum(sample.errors for one in compared for sample in (one.before, one.watched))
    if broken or errors:
        for name in FIGURES:
            report.reject(name, f"{broken} answers were no 200, {errors} shadow decisions failed")
    quiet = sum(one.quiet for one in compared)
    if run.plan.rounds > 1 and quiet < LEAST:
        for name in ("shadow_overhead", "shadow_p99"):
            report.reject(name, f"others had the processor in all but {quiet} of {len(compared)} comparisons")


def _rate(one: Round) -> float:
    return one.rate


def _p99(one: Round) -> float:
    return one.p99


def _spread(ratios: list[float]) -> str:
    low, middle, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{middle:.2f}x (half of them from {low:.2f}x to {high:.2f}x)"


def _wait(path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise BenchmarkError("the shadow does not start")
        time.sleep(0.05)
