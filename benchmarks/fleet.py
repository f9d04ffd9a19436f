"""A fleet of 200 sidecars: how soon does everybody deny what was revoked, and is anything allowed too late?

A real control plane (`zt control run`, SQLite) on one core; on both, in a few processes, 200 clients of real
sidecar code with 500 devices each (stream, verification, replica, lease, authorizer), one whole sidecar process, and
ten clients behind a line of 800 ms that loses a packet of twenty. A device is revoked over the API; what counts is from
the API's answer to when a client's replica became one that denies: no allow can be later. Then the control plane is
killed and started again, and everybody comes back at once.

`stale_allows` counts, over all of it, allows after the lease had ended and allows after a sidecar had acknowledged the
revocation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bench import Run
from benchmarks.fleet_parts import Asking, Clients, Relay, whole_sidecar
from benchmarks.inventory_site import InventorySite, once, spread
from benchmarks.processes import BenchmarkError, Contestant

NAME = "fleet"
NEEDS = ()
CLIENTS, QUICK_CLIENTS, PROCESSES = 200, 40, 4
DISTANT = 10
DEVICES = 500
ROUNDS, QUICK_ROUNDS = 20, 5
RETURN_SECONDS = 120.0


class Fleet:
    """A control plane and everybody who follows it."""

    def __init__(self, run: Run, place: Path, *, clients: int, processes: int, distant: int = 0) -> None:
        self.run, self.place = run, place
        self.site = InventorySite(place / "site", DEVICES, bundle=run.bundle)
        self.clients, self.processes, self.distant = clients, processes, distant
        state = self.site.folder / "state"
        names = {f"client-{number}": state / f"client-{number}" for number in range(clients + distant)}
        self.site.admit({**names, "whole": state / "control-plane"})
        self.near: list[Clients] = []
        self.far: list[Clients] = []
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
            self.near.append(stack.enter_context(Clients(config, first, count, cores=cores, log=log)))
            first += count
        if self.distant:
            relay = stack.enter_context(Relay(self.site.port, core=core))
            self.far.append(
                stack.enter_context(Clients(config, first, self.distant, cores=cores, log=log, url=relay.url))
            )
        for process in self.near + self.far:
            process.said()
        whole = stack.enter_context(whole_sidecar(self.site, core=core, log=self.place / "sidecar.log"))
        self.asking = stack.enter_context(Asking(self.site, whole.port))
        self.run.say(f"  {self.clients} clients of {DEVICES} devices, {self.distant} on a bad line, one whole sidecar")

    def revoke(self, number: int) -> tuple[list[float], list[float], float]:
        """Revoke a device; return the milliseconds of near clients, of distant ones, and of the whole sidecar."""
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
        return delays(near, answered), delays(far, answered), max(0.0, (whole - answered) * 1000)

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
            control.kill()
        with fleet.served():
            back, worst = fleet.returned(time.time())
            found.append(fleet.revoke(rounds))
            state = fleet.state()
    near, far = ([delay for one in found for delay in one[place]] for place in (0, 1))
    whole = [one[2] for one in found]
    stale = state["stale_allows"] + (fleet.asking.stale_allows if fleet.asking is not None else 0)
    tell(run, "revocations", near)
    tell(run, "behind 800 ms and 5 % loss", far)
    tell(run, "the whole sidecar over HTTP", whole)
    run.say(f"  killed and started: everybody back after {back:.1f} s, oldest watermark meanwhile {worst:.1f} s")
    run.say(f"  {state['asked']:,.0f} decisions, {stale:.0f} of them allowed too late")
    run.report.figure("revoke_p99_ms", spread(near, 0.99))
    run.report.figure("revoke_distant_p99_ms", spread(far, 0.99))
    run.report.figure("storm_back_s", back)
    run.report.figure("stale_allows", stale)
    run.report.samples[NAME] = {"near_ms": near, "distant_ms": far, "whole_ms": whole, "back_s": back, "worst_s": worst}


def tell(run: Run, what: str, found: Sequence[float]) -> None:
    """Say how long it took."""
    p50, p99, worst = (spread(found, share) for share in (0.5, 0.99, 1.0))
    run.say(f"  {len(found):,} {what}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {worst:.0f} ms")
