"""What does a shadow cost the decisions it watches: a sidecar while one works beside it, against while it stands still?

The sidecar has core 0 to itself, and the shadow has the same core: as little room as there can be. One sidecar is both
sides of each pair, since two differ by more than a shadow makes; many short rounds, since a tail swings from one to the
next. Each new input of the hot set is decided twice in shadow, with an overlay that is about everybody and without it.
Afterwards the shadow is given time to come to the end of what it follows, and what it decided is counted against the
inputs in the log.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

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
SHORTER = 3
"""So many times more rounds than others have, of half their length."""
FIGURES = ("shadow_overhead", "shadow_p99", "shadow_coverage")


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
        samples = rounds(run, watched, shadow, load)
        shadow.resume()
        caught_up, decided, keys_seen, errors = coverage(folder, report)
    finally:
        for contestant in started:
            contestant.stop()
    conclude(run, samples, caught_up=caught_up, decided=decided, keys_seen=keys_seen, errors=errors)


def rounds(run: Run, sidecar: Contestant, shadow: Contestant, load: wrk.Load) -> dict[str, list[Measured]]:
    """Measure in turn, the shadow standing still or at work."""
    samples: dict[str, list[Measured]] = {"alone": [], "watched": []}
    shadow.pause()
    for number in range(1 if run.plan.rounds == 1 else SHORTER * run.plan.rounds):
        for name in ("alone", "watched") if number % 2 == 0 else ("watched", "alone"):
            if name == "watched":
                shadow.resume()
            run.client(sidecar, load, run.plan.warm_up)
            sample = run.client(sidecar, load, run.plan.seconds / 2)
            shadow.pause()
            samples[name].append(sample)
            run.say(f"  round {number + 1} {name:<8} {told(sample)}")
    return samples


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
    run: Run, samples: dict[str, list[Measured]], *, caught_up: float, decided: int, keys_seen: int, errors: int
) -> None:
    """Turn rounds into figures."""
    report, alone, watched = run.report, samples["alone"], samples["watched"]
    report.samples[NAME] = {
        "rounds": {name: [asdict(sample) for sample in found] for name, found in samples.items()},
        "decided": decided,
        "keys": keys_seen,
        "caught_up_s": caught_up,
    }
    report.ratio("shadow_overhead", [s.rate for s in watched], [s.rate for s in alone])
    report.ratio("shadow_p99", [s.p99 for s in watched], [s.p99 for s in alone])
    report.figure("shadow_coverage", decided / max(1, keys_seen))
    run.say(f"  {decided} of {keys_seen} new keys decided in shadow, the last after {caught_up:.1f} s")
    broken = sum(sample.errors for sample in (*alone, *watched))
    if broken or errors:
        for name in FIGURES:
            report.reject(name, f"{broken} answers were no 200, {errors} shadow decisions failed")


def _wait(path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise BenchmarkError("the shadow does not start")
        time.sleep(0.05)
