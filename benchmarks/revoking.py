"""How long is a revoked device still let in by a sidecar that has no time to spare?

A control plane (`zt control run`, SQLite), to which agents report without a pause, each report signed and with a nonce
of its own; and one whole sidecar with a core to itself, which wrk asks as fast as it answers, about other people's
laptops. Meanwhile one device after the other is revoked over the API, and somebody asks about it all the time. What
counts is from the API's answer to when the last allow had been read: an upper bound, since it was decided before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import asdict

from benchmarks import wrk
from benchmarks.bench import Run, told
from benchmarks.enrolling import CLIENT, Once, agent_wire, invited, one
from benchmarks.fleet_parts import Asking, hook_request, whole_sidecar
from benchmarks.inventory_site import InventorySite, once, spread
from benchmarks.processes import BenchmarkError
from device_inventory.agent.control_plane import ControlPlane
from device_inventory.agent.device import Device
from device_inventory.agent.errors import AgentError
from device_inventory.agent.state import Home
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.bootstrap.sandbox import ISSUER

NAME = "revoking"
NEEDS = ("wrk",)
REVOKED, QUICK_REVOKED = 150, 10
"""Devices at most; as many as there is time for."""
ASKED = 100
SECONDS, QUICK_SECONDS = 35, 4
APART = 0.2
AGENTS = 4
REPORT_PAUSE = 0.45
"""A network address is answered five times a second, and a report takes two answers."""
SETTLE = 1.0


def measure(run: Run) -> None:
    """Revoke one device after the other while everybody is busy."""
    quick = run.plan.rounds == 1
    place = run.place(NAME)
    site = InventorySite(place / "site", (QUICK_REVOKED if quick else REVOKED) + ASKED, bundle=run.bundle)
    site.admit({"whole": site.folder / "state/control-plane"})
    text = (site.folder / "zt.toml").read_text() + f'\n[enrollment]\nissuer = "{ISSUER}"\nclient_id = "{CLIENT}"\n'
    text = text.replace("[control] ", '[control]\ntrusted_proxies = ["127.0.0.1"]\n#', 1)
    site.sandbox.write("zt.toml", text.encode())
    last = len(site.people) - ASKED
    load = wrk.write_requests(place / "hook", requests(site, last))
    seconds = QUICK_SECONDS if quick else SECONDS
    with (
        site.served(core=run.client_core, log=place / "control.log"),
        whole_sidecar(site, core=run.core, log=place / "sidecar.log") as sidecar,
        Asking(site, sidecar.port) as asking,
        reporting(site, place) as reports,
        ThreadPoolExecutor(1) as pool,
    ):
        run.client(sidecar, load, run.plan.warm_up)
        before = len(reports)
        asked = pool.submit(run.client, sidecar, load, seconds)
        time.sleep(SETTLE)
        found = revoked(site, asking, last, until=time.monotonic() + seconds - 2 * SETTLE)
        sample = asked.result()
        taken = len(reports) - before
    run.say(f"  {told(sample)}, {taken / seconds:.1f} reports/s")
    p50, p99, worst = (spread(found, share) for share in (0.5, 0.99, 1.0))
    run.say(f"  {len(found)} revocations: p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {worst:.0f} ms")
    run.report.samples[NAME] = {"revoked_ms": found, "reports_per_s": taken / seconds, "asked": asdict(sample)}
    run.report.figure("revoke_loaded_p99_ms", p99)
    if sample.errors or asking.stale_allows or not taken:
        why = f"{sample.errors} answers were no 200, {asking.stale_allows} allows after a denial, {taken} reports"
        run.report.reject("revoke_loaded_p99_ms", why)


def requests(site: InventorySite, first: int) -> Iterator[bytes]:
    """Yield the requests of everybody whose laptop stays."""
    now = time.time()
    for number in range(first, len(site.people)):
        token = site.token(number, now=now)
        for target in site.people[number].targets:
            yield hook_request(
                site.sandbox.pep_key, site.laptops[number].escaped, token, target.host, target.path
            )  # fmt: skip


def revoked(site: InventorySite, asking: Asking, most: int, *, until: float) -> list[float]:
    """Revoke one after the other; return the milliseconds from the API's answer to the last allow of each."""
    found = []
    with site.administer() as admin:
        for number in range(most):
            if time.monotonic() >= until:
                break
            target, laptop = site.people[number].targets[1], site.laptops[number]
            asking.begin(laptop.escaped, site.token(number, now=time.time()), target.host, target.path)
            asking.allowed()
            answer = admin.post(f"/v1/devices/{laptop.device_id}/revoke", json={"reason": "stolen"}, headers=once())
            answered = time.monotonic()
            if answer.status_code != 200:
                raise BenchmarkError(f"not revoked: {answer.status_code} {answer.text[:200]}")
            asking.denied()
            found.append(max(0.0, (asking.allow_read_at - answered) * 1000))
            time.sleep(APART)
    return found


@contextmanager
def reporting(site: InventorySite, place: Path) -> Iterator[list[float]]:
    """Have a few agents report until the end of the block; return when each report was taken in."""
    source, clock, taken, stopped = Once(), SystemClock(), [], threading.Event()
    homes = []
    for person, code in invited(site, AGENTS):
        homes.append((person, Home(place / f"home-{person}")))
        one(site, person, code, homes[-1][1], source, clock)

    def report(person: str, home: Home) -> None:
        with agent_wire(person, clock) as wire:
            device = Device(home, ControlPlane(wire, site.url, clock.now), source, clock)
            while not stopped.wait(REPORT_PAUSE):
                try:
                    device.report(full=True)
                except AgentError:
                    continue
                taken.append(time.monotonic())

    threads = [threading.Thread(target=report, args=home, daemon=True) for home in homes]
    for thread in threads:
        thread.start()
    try:
        yield taken
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
