"""How the cost of a fleet grows: 10, 50, 200 and 1,000 sidecar clients, and 10,000 streams with nothing behind them.

For each: processor and memory of the control plane at rest, latency of revocations, and the return of everybody after
the control plane was killed. The last row has no sidecars behind its streams: they prove who they are, read
watermarks, and come back all at once; what counts is whether a lease of C2 (60 s) would have ended meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack

from benchmarks.bench import Run
from benchmarks.fleet import Fleet
from benchmarks.fleet_parts import Piped, Readers
from benchmarks.inventory_site import InventorySite, spread
from benchmarks.processes import BenchmarkError, Contestant

NAME = "fleet_growth"
NEEDS = ()
SIZES, QUICK_SIZES = (10, 50, 200, 1000), (4, 8)
STREAMS, QUICK_STREAMS = 10_000, 200
ROUNDS = 5
REST_SECONDS = 10.0
RETURN_SECONDS = 300.0
C2_SECONDS = 60.0


def measure(run: Run) -> None:
    """One size after the other."""
    quick = run.plan.rounds == 1
    rows = []
    for clients in QUICK_SIZES if quick else SIZES:
        rows.append(grown(run, clients))
        run.say(f"  {said(rows[-1])}")
    rows.append(streams(run, QUICK_STREAMS if quick else STREAMS))
    run.say(f"  {said(rows[-1])}")
    last = rows[-1]
    run.report.figure("streams_per_core", last["clients"] / max(1e-3, last["rest_cpu"]))
    run.report.figure("storm_10k_oldest_s", last["worst_s"])
    run.report.samples[NAME] = rows


def said(row: Mapping[str, float]) -> str:
    """Return a row as a person reads it."""
    told = f"{row['clients']:>6,.0f} clients: at rest {row['rest_cpu']:.1%} of a core, {row['memory_mib']:,.0f} MiB"
    if "p99_ms" in row:
        told += f"; revoked p50 {row['p50_ms']:,.0f} ms, p99 {row['p99_ms']:,.0f} ms"
    return f"{told}; back after {row['back_s']:.1f} s, oldest watermark {row['worst_s']:.1f} s"


def grown(run: Run, clients: int) -> Mapping[str, float]:
    """Measure a fleet of so many clients."""
    fleet = Fleet(run, run.place(f"{NAME}-{clients}"), clients=clients, processes=min(4, clients))
    fleet.also(f"streams = {clients + 10}")
    with ExitStack() as stack:
        with fleet.served() as control:
            fleet.start(stack)
            rest = at_rest(control)
            near = [delay for number in range(ROUNDS) for delay in fleet.revoke(number).near]
            control.kill()
        with fleet.served():
            back, worst = fleet.returned(time.time())
            stale = fleet.state()["stale_allows"]
    if stale:
        raise BenchmarkError(f"{stale:.0f} of {clients} clients' decisions were allowed too late")
    return {
        "clients": clients, **rest, "p50_ms": spread(near, 0.5), "p99_ms": spread(near, 0.99), "back_s": back,
        "worst_s": worst,
    }  # fmt: skip


def at_rest(control: Contestant) -> Mapping[str, float]:
    """Return what the control plane takes while nothing happens."""
    before = control.cpu_seconds()
    time.sleep(REST_SECONDS)
    return {"rest_cpu": (control.cpu_seconds() - before) / REST_SECONDS, "memory_mib": control.resident_mib()}


def streams(run: Run, count: int) -> Mapping[str, float]:
    """Measure streams with nothing behind them."""
    place = run.place(f"{NAME}-streams")
    site = InventorySite(place / "site", 1, bundle=run.bundle)
    state = site.folder / "state"
    site.admit({f"client-{number}": state / f"client-{number}" for number in range(count)})
    text = (site.folder / "zt.toml").read_text()
    site.sandbox.write("zt.toml", text.replace("\n[control] ", f"\n[control]\nstreams = {count + 10}\n#", 1).encode())
    with ExitStack() as stack:
        with site.served(core=run.core, log=place / "control.log") as control:
            readers = stack.enter_context(
                Readers(state, count, site.port, cores=(run.client_core,), log=place / "readers.log")
            )
            returned(readers, count, time.time())
            rest = at_rest(control)
            control.kill()
        readers.state()
        began = time.time()
        with site.served(core=run.core, log=place / "control.log"):
            back = returned(readers, count, began)
            worst = back["oldest"]
    if worst > C2_SECONDS:
        run.report.reject("storm_10k_oldest_s", f"a lease of C2 had ended: {worst:.0f} s")
    return {"clients": count, **rest, "back_s": back["took"], "worst_s": worst}


def returned(readers: Piped, count: int, since: float) -> Mapping[str, float]:
    """Wait until every stream has brought a watermark issued after `since`."""
    oldest = 0.0
    while time.time() - since < RETURN_SECONDS:
        state = readers.state()
        oldest = max(oldest, state["oldest"])
        if state["connected"] == count and state["issued_at"] > since:
            return {"took": time.time() - since, "oldest": oldest}
        time.sleep(0.5)
    raise BenchmarkError(f"{state['connected']} of {count} streams came back within {RETURN_SECONDS:.0f} s")
