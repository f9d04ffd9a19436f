"""How long after the API has confirmed a revocation does any of 50 sidecars still allow the device?

A real control plane (`zt control run`, SQLite) on one core; on the other, in a few processes, 50 clients of real
sidecar code: stream, verification, replica, authorizer. Each client asks for the device every few milliseconds. A
device is revoked over the API; what counts is from the API's answer to the last request that was allowed, for each
client. An allow before the answer counts as nothing. At most one decision more than is seen here can have been allowed:
one that was asked within the pause before the denial.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Run
from benchmarks.follower_clients import settings_of
from benchmarks.inventory_site import InventorySite, once, spread
from benchmarks.processes import ROOT, BenchmarkError, pinned
from zt_engine.bootstrap.joining import join

NAME = "revocation"
NEEDS = ()
CLIENTS = 50
PROCESSES = 5
ROUNDS = 20
QUICK_ROUNDS = 3


class Clients:
    """One process of clients."""

    def __init__(self, config: Path, first: int, count: int, *, core: int, log: Path) -> None:
        self.count = count
        with log.open("ab") as errors, pinned(core):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.follower_clients", str(config), str(first), str(count)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT,
            )  # fmt: skip

    def said(self) -> str:
        """Return its next line; raises BenchmarkError when it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        if not line:
            raise BenchmarkError("the clients have ended")
        return line.strip()

    def ask(self, question: dict[str, str]) -> None:
        """Have every client ask for a device until it is denied."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def measure(run: Run) -> None:
    """Revoke one device after the other."""
    place = run.place(NAME)
    rounds = QUICK_ROUNDS if run.plan.rounds == 1 else ROUNDS
    site = InventorySite(place / "site", rounds, bundle=run.bundle)
    with site.served(core=run.core, log=place / "control.log"):
        processes: list[Clients] = []
        try:
            processes += started(site, run, place)
            delays = [delay for number in range(rounds) for delay in revoked(site, processes, number)]
        finally:
            for process in processes:
                process.stop()
    p50, p99, worst = (spread(delays, share) for share in (0.5, 0.99, 1.0))
    run.report.figure("revoke_p99_ms", p99)
    run.report.samples[NAME] = delays
    run.say(f"  {len(delays)} revocations seen: p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {worst:.0f} ms")


def started(site: InventorySite, run: Run, place: Path) -> Sequence[Clients]:
    """Join every client and start them."""
    config = site.sandbox.config
    with site.administer() as admin:
        for number in range(CLIENTS):
            token = site.join_token(admin, f"client-{number}")
            join(settings_of(config, number), token, authorities=None, now=time.time())
    each = CLIENTS // PROCESSES
    processes = [
        Clients(config, first, each, core=run.client_core, log=place / "clients.log")
        for first in range(0, CLIENTS, each)
    ]
    for process in processes:
        run.say(f"  {process.said()}")
    return processes


def revoked(site: InventorySite, processes: Sequence[Clients], number: int) -> list[float]:
    """Revoke one device; return for each client how many milliseconds after the answer it was allowed last."""
    person, laptop = site.people[number], site.laptops[number]
    target = person.targets[1]
    question = {
        "escaped": laptop.escaped.decode(), "token": site.token(number, now=time.time()), "host": target.host,
        "path": target.path,
    }  # fmt: skip
    for process in processes:
        process.ask(question)
    for process in processes:
        if process.said() != "ready":
            raise BenchmarkError(f"{person.id} may not open {target.path}")
    with site.administer() as admin:
        answer = admin.post(f"/v1/devices/{laptop.device_id}/revoke", json={"reason": "stolen"}, headers=once())
        answered = time.monotonic()
    if answer.status_code != 200:
        raise BenchmarkError(f"not revoked: {answer.status_code} {answer.text[:200]}")
    allowed = [at for process in processes for at in json.loads(process.said())]
    return [max(0.0, (at - answered) * 1000) for at in allowed]
