"""How much faster than OPA's own engine is a policy evaluated in our process?

`opa bench` on one core against `WasmEngine.evaluate` on the same core, in turn, for inputs of three services of the
pack and for a frozen reference policy. `opa bench` parses the input once and never makes JSON of the result; ours
parses and answers bytes each time.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import msgspec

from benchmarks import documents
from benchmarks.bench import Run
from benchmarks.data import HOT_PEOPLE, Key
from benchmarks.processes import BenchmarkError, pinned
from benchmarks.site import Site
from benchmarks.timing import per_call_us
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.core.bundle import open_bundle

NAME = "engines"
NEEDS = ("opa",)
HERE = Path(__file__).parent
REFERENCE = "reference/result"
CALLS = 2000
BATCHES = 3
"""Of ours between two of theirs: few, so that neighbours meet the machine in the same mood."""


class Policy(msgspec.Struct, frozen=True):
    """One policy with one input, for both engines."""

    name: str
    entrypoint: str
    document: bytes
    engine: WasmEngine
    files: tuple[str, ...]
    """What `opa bench` is told to load."""


def measure(run: Run) -> None:
    """Alternate the engines for each policy."""
    place = run.place(NAME)
    policies = [*pack_policies(run, place), reference_policy(run, place)]
    turns = max(1, run.plan.repeats // 2)
    samples: dict[str, dict[str, list[float]]] = {}
    for policy in policies:
        ours, theirs = [], []
        for _ in range(turns):
            theirs.append(opa_us(run, place, policy))
            ours.append(median(per_call_us(evaluation(policy), calls=CALLS, repeats=BATCHES)))
        samples[policy.name] = {"wasm_us": ours, "opa_us": theirs}
        run.say(f"  {policy.name:<16} {median(ours):7.1f} us, opa {median(theirs):7.1f} us")
    for policy in policies:
        policy.engine.close()
    run.report.samples[NAME] = samples
    ratios = {name: [t / o for o, t in zip(s["wasm_us"], s["opa_us"], strict=True)] for name, s in samples.items()}
    reference = median(ratios.pop("reference"))
    pack = median(ratio for found in ratios.values() for ratio in found)
    run.report.figure("rego_vs_opa_pack", pack)
    run.report.figure("rego_vs_opa_reference", reference)
    run.report.figure("rego_vs_opa", min(pack, reference))
    run.report.figure("rego_us", median(us for name in ratios for us in samples[name]["wasm_us"]))


def evaluation(policy: Policy) -> Callable[[], object]:
    """Return the call that is timed."""
    engine, entrypoint, document = policy.engine, policy.entrypoint, policy.document
    return lambda: engine.evaluate(entrypoint, document)


def pack_policies(run: Run, place: Path) -> list[Policy]:
    """Return the pack with the inputs of one person's case file, archive record and directory entry."""
    site = Site(place / "site", min(5, HOT_PEOPLE), bundle=run.bundle)
    wanted = {key.service: Key(0, key) for key in reversed(site.people[0].targets)}
    chosen = [wanted["portal"], wanted["iims"], wanted["directory"]]
    recorded = documents.record(site, [Key(0, site.people[0].targets[1]), *chosen[1:]], place / "recorded")
    bundle = open_bundle(run.bundle, keys={}, require_signature=False)
    (place / "bundle.tar.gz").write_bytes(run.bundle)
    return [
        Policy(
            f"pack {question.entrypoint.rpartition('/')[2]}",
            question.entrypoint,
            question.document,
            WasmEngine(bundle.wasm, bundle.data, revision=bundle.revision),
            ("-b", str(place / "bundle.tar.gz")),
        )
        for question in recorded.questions
    ]


def reference_policy(run: Run, place: Path) -> Policy:
    """Compile the reference policy; raises BenchmarkError when the two engines differ on it."""
    assert run.peers.opa is not None
    rego, data, document = HERE / "reference.rego", HERE / "reference_data.json", HERE / "reference_input.json"
    built = place / "reference.tar.gz"
    opa(run.peers.opa, "build", "-t", "wasm", "-e", REFERENCE, "-o", str(built), str(rego), str(data), core=run.core)
    with tarfile.open(built) as archive:
        module, tables = (archive.extractfile(name).read() for name in ("/policy.wasm", "/data.json"))
    engine = WasmEngine(module, tables, revision="reference")
    compact = msgspec.json.encode(msgspec.json.decode(document.read_bytes()))
    files = ("-d", str(rego), "-d", str(data))
    said = opa(run.peers.opa, "eval", *files, "-i", str(document), "-f", "json", "data.reference.result", core=run.core)
    theirs = json.loads(said)["result"][0]["expressions"][0]["value"]
    ours = documents.value(engine.evaluate(REFERENCE, compact))
    if ours != documents.comparable(theirs):
        raise BenchmarkError(f"the engines differ on the reference policy: {ours}")
    return Policy("reference", REFERENCE, compact, engine, files)


def opa_us(run: Run, place: Path, policy: Policy) -> float:
    """Return what one evaluation takes `opa bench`, on the contestants' core."""
    assert run.peers.opa is not None
    (place / "input.json").write_bytes(policy.document)
    query = "data." + policy.entrypoint.replace("/", ".")
    said = opa(
        run.peers.opa, "bench", *policy.files, "-i", str(place / "input.json"), "-f", "json", "--metrics=false",
        "--benchmem=false", query, core=run.core,
    )  # fmt: skip
    report = json.loads(said)
    return float(report["T"]) / float(report["N"]) / 1000


def opa(executable: Path, *arguments: str, core: int) -> str:
    """Run OPA on one processor and return what it prints."""
    with pinned(core):
        done = subprocess.run(
            [str(executable), *arguments], capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "GOMAXPROCS": "1"},
        )  # fmt: skip
    if done.returncode != 0:
        raise BenchmarkError(f"opa {arguments[0]}: {(done.stderr or done.stdout)[-500:]}")
    return done.stdout
