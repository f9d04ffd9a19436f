"""How many decisions a second does one core answer, beside an OPA server with the same policy and an app without any?

Every contestant has core 0 to itself while it is measured (the others are stopped in their tracks), wrk has core 1 and
sixteen connections. The hook's contestants get the same bytes; OPA gets the policy inputs those bytes lead to, and none
of the headers, which is in its favour.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from statistics import median

from msgspec.structs import asdict

from benchmarks import contestants, documents, metrics, wrk
from benchmarks.bench import Measured, Run, told
from benchmarks.data import HOT_PEOPLE, SEED, keys, new_tokens, zipf
from benchmarks.metrics import Counts
from benchmarks.processes import BenchmarkError, Contestant
from benchmarks.site import Site, head

NAME = "http"
NEEDS = ("wrk",)
MIXED_WARM_UP = 10.0
DRAWS_PER_SECOND = 60_000
"""More than any contestant answers, so that the order never starts again within a round."""


def measure(run: Run) -> None:
    """Run all contestants in alternating rounds."""
    place = run.place(NAME)
    site = Site(place / "site", HOT_PEOPLE, bundle=run.bundle)
    hot = keys(site.people)
    recorded = documents.record(site, hot, place / "recorded")
    loads = {"hook": wrk.write_requests(place / "hook", (site.request(key) for key in hot))}
    loads["opa"] = wrk.write_requests(place / "questions", map(documents.opa_request, recorded.questions))
    run.say(f"  {len(hot)} keys, {len(site.request(hot[0]))} bytes a request")
    field: dict[str, Contestant] = {}
    try:
        start(run, field, site, recorded.answer)
        if run.peers.opa is not None:
            check_opa(field["opa"].port, recorded)
        loads["mixed"], loads["known"] = start_mixed(run, field)
        rounds = measure_rounds(run, field, loads)
    finally:
        for contestant in field.values():
            contestant.stop()
    conclude(run, rounds)


def start(run: Run, field: dict[str, Contestant], site: Site, answer: bytes) -> None:
    """Start everyone who shares the hot set, one after the other, each paused when it is ready."""
    place, core = run.folder / NAME, run.core
    if run.peers.granian is not None:
        field["noop"] = contestants.granian_noop(run.peers.granian, place / "noop", answer, core=core)
    if run.peers.opa is not None:
        field["opa"] = contestants.opa_server(run.peers.opa, place / "opa", run.bundle, core=core)
    field["cold"] = contestants.sidecar("cold", site, place / "cold", core=core, cache=False)
    field["warm"] = contestants.sidecar("warm", site, place / "warm", core=core)
    for contestant in field.values():
        contestant.wait_ready()


def check_opa(port: int, recorded: documents.Recorded) -> None:
    """Demand that OPA gives the answers our engine gave: a faster wrong answer would be no contestant."""
    for question in recorded.questions[::20]:
        theirs = documents.ask_opa(port, question)
        if theirs != documents.value(question.answer):
            raise BenchmarkError(f"OPA answers {question.entrypoint} differently: {theirs}")


def start_mixed(run: Run, field: dict[str, Contestant]) -> tuple[wrk.Load, wrk.Load]:
    """Make the whole site, start its sidecar and the people who keep changing it.

    Returns the load, and one request of everybody whose token the sidecar knows when the rounds begin: at work, only
    those are new to it who got a token meanwhile.
    """
    place, persons = run.folder / NAME, run.plan.site_people
    site = Site(place / "whole", persons, bundle=run.bundle)
    every = keys(site.people)
    field["mixed"] = contestants.sidecar("mixed", site, place / "mixed", core=run.core)
    field["churn"] = contestants.churn(place / "mixed", persons, core=run.client_core)
    field["mixed"].wait_ready()
    seconds = run.plan.rounds * (run.plan.seconds + 2 * run.plan.warm_up) + MIXED_WARM_UP
    order = zipf(len(every), int(seconds * DRAWS_PER_SECOND))
    run.say(f"  {len(every)} keys of {persons} people by Zipf's law")
    parts = place / "parts"
    parts.mkdir()
    load = wrk.write_parts(parts, [(head(key), key.person) for key in every], site.blocks, order)
    known = persons - new_tokens(persons, seconds)
    first = {key.person: number for number, key in enumerate(every) if key.person < known}
    return load, wrk.reordered(load, parts / "known", array("I", first.values()))


class Rounds:
    """What every contestant did in every round."""

    def __init__(self) -> None:
        self.samples: dict[str, list[Measured]] = {}
        self.counts: dict[str, list[Counts]] = {}

    def rates(self, name: str) -> list[float]:
        return [sample.rate for sample in self.samples[name]]


def measure_rounds(run: Run, field: Mapping[str, Contestant], loads: Mapping[str, wrk.Load]) -> Rounds:
    """Let the contestants take turns; the order is turned around every other round."""
    plan, rounds = run.plan, Rounds()
    names = [name for name in field if name != "churn"]
    for contestant in field.values():
        contestant.pause()
    offset = 0
    for number in range(plan.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            contestant = field[name]
            load = loads.get(name, loads["hook"])
            helper = field["churn"] if name == "mixed" else None
            warm_up = plan.warm_up * 2 if name == "mixed" else plan.warm_up
            if name == "mixed" and number == 0:
                warm_up = min(MIXED_WARM_UP, plan.seconds * 2)
            with contestant.running():
                if name == "mixed" and number == 0:
                    run.client(contestant, loads["known"], min(MIXED_WARM_UP, plan.seconds * 2))
                if helper is not None:
                    helper.resume()
                warmed = run.client(contestant, load, warm_up, offset=offset)
                offset += warmed.requests if name == "mixed" else 0
                before = metrics.read(contestant.metrics) if contestant.metrics else None
                sample = run.client(contestant, load, plan.seconds, offset=offset)
                offset += sample.requests if name == "mixed" else 0
                if before is not None:
                    rounds.counts.setdefault(name, []).append(metrics.read(contestant.metrics) - before)
                if helper is not None:
                    helper.pause()
            rounds.samples.setdefault(name, []).append(sample)
            run.say(f"  round {number + 1} {name:<6} {told(sample)}")
    return rounds


def conclude(run: Run, rounds: Rounds) -> None:
    """Turn rounds into figures; a run with a wrong answer in it has none."""
    report = run.report
    report.samples[NAME] = {
        "seed": SEED,
        "rounds": {name: [asdict(sample) for sample in found] for name, found in rounds.samples.items()},
        "counters": {name: [asdict(counts) for counts in found] for name, found in rounds.counts.items()},
    }
    for name, found in rounds.samples.items():
        report.figure(f"{name}_rate", median([sample.rate for sample in found]))
    for name in ("warm", "mixed"):
        report.figure(f"{name}_p99_us", median([sample.p99 for sample in rounds.samples[name]]))
        report.figure(f"{name}_hit_rate", metrics.share_remembered(rounds.counts[name]))
    for ours, theirs in (("cold", "opa"), ("warm", "opa"), ("warm", "noop"), ("mixed", "opa")):
        if theirs in rounds.samples:
            report.ratio(f"{ours}_vs_{theirs}", rounds.rates(ours), rounds.rates(theirs))
        else:
            report.missing[f"{ours}_vs_{theirs}"] = f"{theirs} is not on this machine"
    for name, why in faults(rounds).items():
        for figure in [figure for figure in report.values if name in figure.replace("_vs_", "_").split("_")[:2]]:
            report.reject(figure, why)


def faults(rounds: Rounds) -> dict[str, str]:
    """Return the contestants whose answers were not all what they had to be."""
    found = {}
    for name, samples in rounds.samples.items():
        errors = sum(sample.errors for sample in samples)
        if errors:
            found[name] = f"{errors} answers of {name} were no 200, or a socket broke"
    for name, counts in rounds.counts.items():
        refused = sum(c.decisions - c.allowed for c in counts)
        unlogged = sum(c.decisions - c.log_records for c in counts)
        if refused or unlogged > 0:
            found[name] = f"{name}: {refused:g} refused, {unlogged:g} not in the log"
    return found
