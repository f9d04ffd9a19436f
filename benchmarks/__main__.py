"""`python -m benchmarks [--quick] [NAME...]`: everything side by side in one run, and what it means against the bars.

A full run writes benchmarks/results/latest.json; a quick or partial one writes beside the caches and proves only that
the harness works.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import structlog

from benchmarks import (
    authzen,
    conformance,
    engines,
    enrolling,
    fleet,
    fleet_growth,
    in_process,
    over_http,
    proxy_apache,
    proxy_caddy,
    proxy_envoy,
    proxy_haproxy,
    proxy_traefik,
    replica_memory,
    revoking,
    sessions,
    shadow,
    through_nginx,
)
from benchmarks.bench import FULL, QUICK, Run
from benchmarks.pack import packed
from benchmarks.peers import find_peers, versions
from benchmarks.processes import BenchmarkError, cores
from benchmarks.report import Report, commit, filled, machine, markdown, table

ROOT = Path(__file__).resolve().parent.parent
LATEST = ROOT / "benchmarks/results/latest.json"
PARTIAL = ROOT / ".cache/benchmarks/partial.json"
SECTIONS: tuple[ModuleType, ...] = (
    conformance, engines, in_process, over_http, through_nginx, proxy_envoy, fleet, revoking, replica_memory, shadow,
    enrolling, authzen, proxy_caddy, proxy_traefik, proxy_haproxy, proxy_apache, sessions,
)  # fmt: skip
BY_NAME: tuple[ModuleType, ...] = (fleet_growth,)
"""What takes a quarter of an hour, and is run only when it is asked for."""


def main(arguments: Sequence[str]) -> int:
    """Run, print, write. Exit status 1 only when something could not be measured as it should."""
    names = [section.NAME for section in (*SECTIONS, *BY_NAME)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="prove that the harness works, in a minute and a half")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="only fill FILE's table from the last full run")
    parser.add_argument("--keep", action="store_true", help="leave the folder with logs and installations")
    parser.add_argument("sections", nargs="*", metavar="NAME", help=", ".join(names))
    options = parser.parse_args(arguments)
    if options.readme is not None:
        return fill(options.readme)
    unknown = set(options.sections) - set(names)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    wanted = set(options.sections) or {section.NAME for section in SECTIONS}
    chosen = [section for section in (*SECTIONS, *BY_NAME) if section.NAME in wanted]
    started = time.monotonic()
    about = {"commit": commit(), "started": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "machine": machine()}
    report, found = run(chosen, quick=options.quick, keep=options.keep)
    about |= {"versions": found, "seconds": round(time.monotonic() - started), "quick": options.quick}
    document = report.document(about)
    print("\n" + table(document))
    for name, why in report.missing.items():
        print(f"not run: {name}: {why}")
    whole = not options.quick and not options.sections
    path = LATEST if whole else PARTIAL
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print(f"\n{document['seconds']} s, written to {path.relative_to(ROOT)}")
    if options.quick:
        print("a quick run proves that the harness works; its numbers mean nothing")
    elif report.below:
        print(f"below the bar: {', '.join(report.below)}")
    return 1 if report.invalid or (whole and report.missing) else 0


def run(sections: Sequence[ModuleType], *, quick: bool, keep: bool) -> tuple[Report, dict[str, str]]:
    """Run sections one after the other; one that fails is told and does not stop the others."""
    peers, report = find_peers(), Report()
    core, client_core = cores()
    folder = Path(tempfile.mkdtemp(prefix="zt-bench-"))
    if core == client_core:
        print("only one core: contestants and client share it, so no ratio here means much")
    for section in sections:
        needed = peers.missing(*section.NEEDS)
        if needed:
            report.missing[section.NAME] = f"{', '.join(needed)} is not on this machine"
    whole = Run(
        plan=QUICK if quick else FULL, peers=peers, folder=folder, bundle=packed(peers), core=core,
        client_core=client_core, report=report, say=lambda text: print(text, flush=True),
    )  # fmt: skip
    # What is timed in this process is timed where the contestants run.
    os.sched_setaffinity(0, {core})
    try:
        for section in sections:
            if section.NAME in report.missing:
                continue
            print(f"{section.NAME}: {(section.__doc__ or '').splitlines()[0]}", flush=True)
            beside = section in (
                over_http, through_nginx, proxy_envoy, proxy_caddy, proxy_traefik, proxy_haproxy, proxy_apache, authzen,
                sessions, revoking,
            )  # fmt: skip
            os.sched_setaffinity(0, {client_core if beside else core})
            try:
                section.measure(whole)
            except BenchmarkError as error:
                report.missing[section.NAME] = str(error)
            except Exception as error:  # half an hour of figures is not lost for one fault of ours
                traceback.print_exc()
                report.missing[section.NAME] = f"{type(error).__name__}: {error}"
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            remove(folder)
    return report, versions(peers)


def remove(folder: Path) -> None:
    """Remove the folder of a run; gigabytes of decision logs are in it."""
    shutil.rmtree(folder, ignore_errors=True)


def fill(readme: Path) -> int:
    """Write the table of the last full run into a README."""
    document = json.loads(LATEST.read_text())
    readme.write_text(filled(readme.read_text(), markdown(document)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
