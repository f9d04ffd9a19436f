"""A fleet of 200 sidecars: how soon does everybody deny what was revoked, and is anything allowed too late?

A real control plane (`zt control run`, SQLite) on one core; on both, in a few processes, 200 clients of real
sidecar code with 500 devices each (stream, verification, replica, lease, authorizer), one whole sidecar process, and
ten clients behind a line of 800 ms that loses a packet of twenty. A device is revoked over the API; what counts is from
the API's answer to when a client's replica became one that denies: no allow can be later. Streams that are the last
to be sent anything, and have nothing behind them, show how much of it is the control plane's. Then policy is released,
from the API's answer to when a client decides by it. Then the control plane is killed and started again, and everybody
comes back at once.

Three kinds of releases are measured: of other rules, which everybody has to compile; of another catalogue, which leaves
the module as it is; and of other rules to clients that heard no offer of it and begin when they are told, as whoever
comes back does. How long the control plane examined a release is told beside it, since clients get ready meanwhile.

`stale_allows` counts, over all of it, allows after the lease had ended and allows after a sidecar had acknowledged the
revocation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from benchmarks.bench import Run
from benchmarks.fleet_parts import Asking, Clients, Readers, Relay, in_memory, whole_sidecar
from benchmarks.fleet_releases import Kind, Publishing, activated, publishing
from benchmarks.inventory_site import InventorySite, once, spread
from benchmarks.processes import BenchmarkError, Contestant

NAME = "fleet"
NEEDS = ()
CLIENTS, QUICK_CLIENTS = 200, 40
PROCESSES = 2
"""Of clients, one for each core: those of one process compile a module once, and more processes than cores compile it
more often than any host would."""
DISTANT = 10
READERS = 5
"""Streams that are served last, with nothing behind them."""
DEVICES = 500
ROUNDS, QUICK_ROUNDS = 20, 5
RELEASES, QUICK_RELEASES = 5, 2
KINDS: Mapping[str, tuple[Kind, bool]] = {
    "rules": ("rules", True), "catalogue": ("catalogue", True), "unprepared": ("rules", False),
}  # fmt: skip
"""What a release changes, and whether clients hear that it is offered."""
STEPS = ("asked", "fetched", "opened", "active")
RETURN_SECONDS = 120.0


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds since the API had answered, for each client or stream."""

    near: list[float]
    """Until it denies."""
    near_heard: list[float]
    """Until it had read the message by which it does."""
    far: list[float]
    whole: float
    sent: list[float]
    """Until a stream that is served last, with nothing behind it, had the message."""


class Fleet:
    """A control plane and everybody who follows it."""

    def __init__(self, run: Run, place: Path, *, clients: int, processes: int, distant: int = 0) -> None:
        self.run, self.place = run, place
        self.site = InventorySite(place / "site", DEVICES, bundle=run.bundle)
        self.clients, self.processes, self.distant = clients, processes, distant
        state = self.site.folder / "state"
        self._memory = in_memory(place)
        kept = self.kept = Path(self._memory.name)
        names = {f"client-{number}": kept / f"client-{number}" for number in range(clients + distant)}
        light = {f"reader-{number}": state / f"readers/client-{number}" for number in range(READERS)}
        self.site.admit({**names, **light, "whole": state / "control-plane"})
        self.near: list[Clients] = []
        self.far: list[Clients] = []
        self.readers: Readers | None = None
        self.asking: Asking | None = None

    def also(self, settings: str) -> None:
        """Add to the section of the control plane."""
        text = (self.site.folder / "zt.toml").read_text()
        self.site.sandbox.write("zt.toml", text.replace("\n[control] ", f"\n[control]\n{settings}\n#", 1).encode())

    @contextmanager
    def served(self) -> Iterator[Contestant]:
        """Run the control plane."""
        with self.site.served(core=self.run.core, log=self.place / "control.log") as control:
            yield control

    def start(self, stack: ExitStack) -> None:
        """Start everybody, and wait until they follow."""
        core, config, log = self.run.client_core, self.site.sandbox.config, self.place / "clients.log"
        cores = (self.run.core, core)
        each, rest = divmod(self.clients, self.processes)
        first = 0
        for number in range(self.processes):
            count = each + (number < rest)
            self.near.append(stack.enter_context(Clients(config, self.kept, first, count, cores=cores, log=log)))
            first += count
        if self.distant:
            relay = stack.enter_context(Relay(self.site.port, core=core))
            self.far.append(
                stack.enter_context(
                    Clients(config, self.kept, first, self.distant, cores=cores, log=log, url=relay.url)
                )
            )
        for process in self.near + self.far:
            process.said()
        self.whole_log = self.place / "sidecar.log"
        whole = stack.enter_context(whole_sidecar(self.site, core=core, log=self.whole_log))
        folder = self.site.folder / "state/readers"
        self.readers = stack.enter_context(Readers(folder, READERS, self.site.port, cores=cores, log=log))
        while self.readers.state()["connected"] != READERS:
            time.sleep(0.1)
        self.asking = stack.enter_context(Asking(self.site, whole.port))
        self.run.say(f"  {self.clients} clients of {DEVICES} devices, {self.distant} on a bad line, one whole sidecar")

    def revoke(self, number: int) -> Revoked:
        """Revoke a device, and wait until everybody denies it."""
        person, laptop = self.site.people[number], self.site.laptops[number]
        target, token = person.targets[1], self.site.token(number, now=time.time())
        question = {
            "do": "revoke", "escaped": laptop.escaped.decode(), "token": token, "host": target.host,
            "path": target.path,
        }  # fmt: skip
        for process in self.near + self.far:
            process.tell(question)
        assert self.asking is not None
        self.asking.begin(laptop.escaped, token, target.host, target.path)
        for process in self.near + self.far:
            if process.said() != "ready":
                raise BenchmarkError(f"{person.id} may not open {target.path}")
        self.asking.allowed()
        with self.site.administer() as admin:
            answer = admin.post(f"/v1/devices/{laptop.device_id}/revoke", json={"reason": "stolen"}, headers=once())
            answered = time.monotonic()
        if answer.status_code != 200:
            raise BenchmarkError(f"not revoked: {answer.status_code} {answer.text[:200]}")
        near, far = ([at for process in some for at in process.said()] for some in (self.near, self.far))
        whole = self.asking.denied()
        assert self.readers is not None
        return Revoked(
            near=delays([changed for changed, _ in near], answered),
            near_heard=delays([heard for _, heard in near], answered),
            far=delays([changed for changed, _ in far], answered),
            whole=max(0.0, (whole - answered) * 1000),
            sent=delays(self.readers.state()["batches_at"], answered),
        )

    def release(self, publisher: Publishing, name: str) -> Mapping[str, list[float]]:
        """Release policy; return the milliseconds until each client had come to each of the steps.

        Of clients that hear no offer the whole sidecar is none, and is left out.
        """
        kind, offered = KINDS[name]
        for process in self.near:
            process.tell({"do": "offers", "heard": "yes" if offered else "no"})
        wall = time.time() - time.monotonic()
        seq, answered = publisher.release(kind)
        for process in self.near:
            process.tell({"do": "release", "seq": str(seq)})
        told = [one for process in self.near for one in process.said()]
        found = {step: delays([one[step] for one in told], answered) for step in STEPS}
        whole = delays([activated(self.whole_log, seq) - wall], answered)
        assert self.readers is not None
        sent = delays(self.readers.state()["batches_at"], answered)
        return {**found, "whole": whole if offered else [], "sent": sent, "examined": [publisher.examined * 1000]}

    def state(self) -> dict[str, float]:
        """Return how everybody stands."""
        told = [process.state() for process in self.near + self.far]
        return {
            "connected": sum(one["connected"] for one in told),
            "oldest": max(one["oldest"] for one in told),
            "worst_age": max(one["worst_age"] for one in told),
            "issued_at": min(one["issued_at"] for one in told),
            "stale_allows": sum(one["stale_allows"] for one in told),
            "asked": sum(one["asked"] for one in told),
        }

    def returned(self, since: float) -> tuple[float, float]:
        """Wait until everybody has applied a watermark issued after `since`.

        Return the seconds it took, and how old the oldest watermark became that anybody decided by meanwhile.
        """
        worst = 0.0
        while time.time() - since < RETURN_SECONDS:
            state = self.state()
            worst = max(worst, state["oldest"], state["worst_age"])
            if state["issued_at"] > since:
                return time.time() - since, worst
            time.sleep(0.1)
        raise BenchmarkError(f"not everybody came back within {RETURN_SECONDS:.0f} s: {self.state()}")


def delays(at: Sequence[float], answered: float) -> list[float]:
    """Return milliseconds since the answer; what was before it counts as nothing."""
    return [max(0.0, (one - answered) * 1000) for one in at]


def measure(run: Run) -> None:
    """Revoke one device after the other, then let everybody come back at once."""
    quick = run.plan.rounds == 1
    rounds, clients = (QUICK_ROUNDS, QUICK_CLIENTS) if quick else (ROUNDS, CLIENTS)
    fleet = Fleet(run, run.place(NAME), clients=clients, processes=PROCESSES, distant=DISTANT)
    with ExitStack() as stack:
        with fleet.served() as control:
            fleet.start(stack)
            found = [fleet.revoke(number) for number in range(rounds)]
            with publishing(fleet.site, run.bundle) as publisher:
                taken = released(fleet, publisher, QUICK_RELEASES if quick else RELEASES)
            control.kill()
        with fleet.served():
            back, worst = fleet.returned(time.time())
            after = fleet.revoke(rounds)
            state = fleet.state()
    near, heard, far, sent = (
        [delay for one in found for delay in getattr(one, name)] for name in ("near", "near_heard", "far", "sent")
    )
    whole = [one.whole for one in found]
    stale = state["stale_allows"] + (fleet.asking.stale_allows if fleet.asking is not None else 0)
    tell(run, "revocations", near)
    tell(run, "  of these until its message was read", heard)
    tell(run, "  until it was sent to whoever is served last", sent)
    tell(run, "behind 800 ms and 5 % loss", far)
    tell(run, "the whole sidecar over HTTP", whole)
    tell_releases(run, taken)
    run.say(f"  killed and started: everybody back after {back:.1f} s, oldest watermark meanwhile {worst:.1f} s")
    tell(run, "revocations after that", after.near)
    run.say(f"  {state['asked']:,.0f} decisions, {stale:.0f} of them allowed too late")
    run.report.figure("revoke_p99_ms", spread(near, 0.99))
    run.report.figure("revoke_sent_p99_ms", spread(sent, 0.99))
    run.report.figure("revoke_distant_p99_ms", spread(far, 0.99))
    run.report.figure("storm_back_s", back)
    run.report.figure("stale_allows", stale)
    run.report.samples[NAME] = {
        "near_ms": near, "near_heard_ms": heard, "sent_ms": sent, "distant_ms": far, "whole_ms": whole,
        "releases": taken, "back_s": back, "worst_s": worst,
        "near_after_ms": after.near,
    }  # fmt: skip


def released(fleet: Fleet, publisher: Publishing, times: int) -> dict[str, dict[str, list[float]]]:
    """Release each kind so many times, in turn; return what was found of each, step by step."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in KINDS}
    for _ in range(times):
        for name, steps in found.items():
            for step, delayed in fleet.release(publisher, name).items():
                steps.setdefault(step, []).extend(delayed)
    return found


def tell_releases(run: Run, taken: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Say how long releases took."""
    titles = {
        "rules": "releases of other rules", "catalogue": "releases of another catalogue",
        "unprepared": "releases of other rules that nobody was offered",
    }  # fmt: skip
    for name, steps in taken.items():
        tell(run, titles[name], steps["active"])
        tell(run, "  of these until they were sent to whoever is served last", steps["sent"])
        tell(run, "  until the bundle was there", steps["fetched"])
        tell(run, "  until it was verified, compiled and tried", steps["opened"])
        tell(run, "  at the whole sidecar", steps["whole"])
        tell(run, "  examined before that by the control plane", steps["examined"])
    everybody = {name: [*steps["active"], *steps["whole"]] for name, steps in taken.items()}
    run.report.figure("release_p99_ms", spread(everybody["rules"], 0.99))
    run.report.figure("release_sent_p99_ms", spread(taken["rules"]["sent"], 0.99))
    run.report.figure("release_catalogue_p99_ms", spread(everybody["catalogue"], 0.99))
    run.report.figure("release_unprepared_p99_ms", spread(everybody["unprepared"], 0.99))


def tell(run: Run, what: str, found: Sequence[float]) -> None:
    """Say how long it took."""
    if not found:
        return
    p50, p99, worst = (spread(found, share) for share in (0.5, 0.99, 1.0))
    run.say(f"  {len(found):,} {what}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {worst:.0f} ms")
