"""`python -m tests.conformance.run`: OPA's vectors through the Wasm engine, and the table of what came out.

Exit status 0 only if nothing is wrong beyond the divergences named one by one in `divergences.yaml`, at least four
fifths of all are right, and docs/conformance.md says what came out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.compile import CACHE, Batch, can_be_prefixed, compile_batch
from tests.conformance.judge import Evaluator, Verdict, judge
from tests.conformance.vectors import OPA_VERSION, Vector, folder, load, opa_version
from tests.peers import ROOT, find_peer
from zt_engine.adapters.capabilities import INSIDE_WASM
from zt_engine.adapters.rego_builtins import REGISTRY
from zt_engine.adapters.wasm_module import compile_policy, shared_ticker
from zt_engine.core.errors import BundleError

BATCH = 50
DIVERGENCES = Path(__file__).with_name("divergences.yaml")
SUMMARY = CACHE / "summary.json"
PAGE = ROOT / "docs/conformance.md"
LEAST_RATE = 0.8
"""The share of all vectors that has to be right, refused ones among them."""
_UNDEFINED = re.compile(r"undefined function ([a-z0-9_.]+)")
_ROW = re.compile(r"^\| ([a-z ]+) \| ([0-9,]+) \|", re.MULTILINE)
_MOCK = re.compile(r"\bwith\s+(?!data\b|input\b)[a-z0-9_.]+\s+as\b")
CLASSES = ("right", "divergence", "wrong", "refused", "not compilable")


def divergences() -> dict[str, str]:
    """The name of the divergence that each listed vector shows."""
    listed = yaml.safe_load(DIVERGENCES.read_text(encoding="utf-8"))["divergences"]
    return {note: item["name"] for item in listed for note in item["vectors"]}


def _evaluated(batch: Batch, vectors: Sequence[Vector], *, alone: bool) -> list[Verdict]:
    compiled = [vector for vector in vectors if vector.note in batch.names]
    if not compiled:
        return []
    data: dict[str, Any] = dict(batch.data)
    if alone:
        (data,) = data.values()
    evaluator = Evaluator(compile_policy(batch.wasm), json.dumps(data).encode())
    try:
        return [judge(vector, evaluator, batch.names[vector.note]) for vector in compiled]
    finally:
        evaluator.close()


def _refusal(note: str, fault: str) -> Verdict | None:
    """A fault that names a built-in of OPA's which is not offered."""
    missing = tuple(sorted(set(_UNDEFINED.findall(fault)) - INSIDE_WASM - REGISTRY.keys()))
    return Verdict(note=note, verdict="refused", detail=fault, builtins=missing) if missing else None


def run_batch(opa: Path, version: str, vectors: Sequence[Vector], named: frozenset[str]) -> list[Verdict]:
    """Verdicts of some vectors; what does not come out right in company is judged alone and as it was written.

    Named divergences are not tried again: they are not counted as right either way.
    """
    shared_ticker().acquire()
    batch = compile_batch(opa, version, [vector for vector in vectors if can_be_prefixed(vector)])
    found = {verdict.note: verdict for verdict in _evaluated(batch, vectors, alone=False)}
    for vector in vectors:
        known = found.get(vector.note) or _refusal(vector.note, batch.faults.get(vector.note, ""))
        again = known is None or (known.verdict == "wrong" and vector.note not in named)
        if again or (known is not None and known.verdict == "refused" and _mocks(vector)):
            known = _alone(opa, version, vector, known)
        assert known is not None  # `again` otherwise
        found[vector.note] = known
    return [found[vector.note] for vector in vectors]


def _alone(opa: Path, version: str, vector: Vector, known: Verdict | None) -> Verdict:
    """One vector as it was written; one that mocks a built-in may name what is not offered, and meets the loader."""
    batch = compile_batch(opa, version, [vector], alone=True)
    if vector.note in batch.faults and known is not None and known.verdict == "wrong":
        return known  # a query of the whole of data compiles under a prefix only
    if vector.note in batch.faults:
        known = _refusal(vector.note, batch.faults[vector.note])
        batch = compile_batch(opa, version, [vector], alone=True, full=True) if _mocks(vector) else batch
    try:
        for verdict in _evaluated(batch, [vector], alone=True):
            return verdict
    except BundleError as error:
        if error.code != "BUILTIN_UNSUPPORTED":
            raise
        names = tuple(re.findall("`([^`]+)`", error.message))
        return Verdict(note=vector.note, verdict="refused", detail=error.message, builtins=names)
    fault = batch.faults[vector.note]
    return known or Verdict(note=vector.note, verdict="not compilable", detail=fault)


def _mocks(vector: Vector) -> bool:
    return bool(_MOCK.search("\n".join([*vector.modules, vector.query])))


def classified(verdicts: Sequence[Verdict], named: dict[str, str]) -> list[Verdict]:
    """Verdicts with the named divergences told from what is plainly wrong."""
    return [
        Verdict(note=verdict.note, verdict="divergence", detail=f"{named[verdict.note]}: {verdict.detail}")
        if verdict.verdict == "wrong" and verdict.note in named
        else verdict
        for verdict in verdicts
    ]


def sample(vectors: Sequence[Vector], size: int) -> list[Vector]:
    """A fixed choice: one vector for every host built-in that has any, then every folder in turn, evenly spread."""
    chosen = {vector.note: vector for name in REGISTRY for vector in _first_using(vectors, name)}
    folders: dict[str, list[Vector]] = {}
    for vector in vectors:
        folders.setdefault(vector.file.split("/", 1)[0], []).append(vector)
    depth = 0
    while len(chosen) < min(size, len(vectors)):
        for found in folders.values():
            if depth < len(found) and len(chosen) < size:
                # The stride visits places of a folder that are far apart first.
                vector = found[(depth * 17 + len(found) // 2) % len(found)]
                chosen[vector.note] = vector
        depth += 1
    return list(chosen.values())


def _first_using(vectors: Sequence[Vector], name: str) -> list[Vector]:
    """The first vector that calls a built-in."""
    call = re.compile(rf"(?<![\w.]){re.escape(name)}\(")
    return [vector for vector in vectors if any(call.search(text) for text in (*vector.modules, vector.query))][:1]


def run(
    vectors: Sequence[Vector], opa: Path, *, named: frozenset[str] = frozenset(), workers: int = 2
) -> list[Verdict]:
    """Verdicts of all the vectors, in their order."""
    version = opa_version(opa)
    batches = [vectors[at : at + BATCH] for at in range(0, len(vectors), BATCH)]
    if workers == 1 or len(batches) == 1:
        return [verdict for batch in batches for verdict in run_batch(opa, version, batch, named)]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        count = len(batches)
        found = pool.map(run_batch, [opa] * count, [version] * count, batches, [named] * count)
        return [verdict for batch in found for verdict in batch]


def summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The figures."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    total = len(verdicts)
    return {
        "opa": OPA_VERSION,
        "vectors": total,
        **{name.replace(" ", "_"): counts[name] for name in CLASSES},  # type: ignore[index]
        "right_without_strict_errors": sum(verdict.lenient for verdict in verdicts if verdict.verdict == "right"),
        "pass_rate": round(counts["right"] / total, 4) if total else 0.0,
        "refused_builtins": dict(Counter(name for verdict in verdicts for name in verdict.builtins).most_common()),
    }


def shortfalls(figures: dict[str, Any], page: str) -> list[str]:
    """What keeps a run of all vectors from being good."""
    rows = {name: figures[name.replace(" ", "_")] for name in CLASSES} | {"all": figures["vectors"]}
    told = {name: int(count.replace(",", "")) for name, count in _ROW.findall(page)}
    found = [f"{figures[name]} {name}" for name in ("wrong", "not_compilable") if figures[name]]
    if figures["pass_rate"] < LEAST_RATE:
        found.append(f"{figures['pass_rate']:.1%} are right, not {LEAST_RATE:.0%}")
    found += [f"docs/conformance.md says {told.get(name)} {name}, not {count}" for name, count in rows.items()
              if told.get(name) != count]  # fmt: skip
    if f"**{100 * figures['pass_rate']:.1f} % right**" not in page:
        found.append(f"docs/conformance.md does not say {100 * figures['pass_rate']:.1f} %")
    return found


def main() -> int:
    """Run, print, write the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="only so many vectors, always the same")
    parser.add_argument("--verbose", action="store_true", help="print every vector that is not right")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    opa, root = find_peer("opa"), folder()
    if opa is None or root is None:
        sys.stderr.write(f"missing: {'opa' if opa is None else 'opa vectors'}; see docs/conformance.md\n")
        return 2
    if opa_version(opa) != OPA_VERSION:
        sys.stderr.write(f"the table is for opa {OPA_VERSION}, this one is {opa_version(opa)}\n")
        return 2
    started = time.monotonic()
    vectors = load(root)
    chosen = sample(vectors, options.sample) if options.sample else vectors
    named = divergences()
    verdicts = classified(run(chosen, opa, named=frozenset(named), workers=options.workers), named)
    figures = summary(verdicts)
    stale = sorted(v.note for v in verdicts if v.verdict == "right" and v.note in named)
    report(verdicts, figures, stale, time.monotonic() - started, verbose=options.verbose)
    if options.sample:
        return 1 if figures["wrong"] or stale else 0
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    SUMMARY.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    short = shortfalls(figures, PAGE.read_text(encoding="utf-8"))
    for fault in short:
        print(f"not good: {fault}")
    return 1 if short or stale else 0


def report(
    verdicts: Sequence[Verdict], figures: dict[str, Any], stale: list[str], seconds: float, *, verbose: bool
) -> None:
    """The table on standard output."""
    print(f"OPA {OPA_VERSION} conformance vectors, through the wasm engine ({seconds:.0f} s)\n")
    for name in CLASSES:
        print(f"  {name:15} {figures[name.replace(' ', '_')]:6}")
    print(f"  {'of':15} {figures['vectors']:6}   pass rate {figures['pass_rate']:.1%}\n")
    print(
        f"{figures['right_without_strict_errors']} of the right ones need a failed host built-in to be undefined, which"
    )
    print("OPA does unless it is told to be strict; the product is always strict and denies there.\n")
    refused = ", ".join(f"{name} {count}" for name, count in figures["refused_builtins"].items())
    print(f"refused built-ins: {refused or 'none'}")
    for verdict in verdicts:
        if verdict.verdict == "wrong" or (verbose and verdict.verdict != "right"):
            print(f"{verdict.verdict}: {verdict.note}: {verdict.detail}")
    for note in stale:
        print(f"right, but listed as a divergence: {note}")


if __name__ == "__main__":
    sys.exit(main())
