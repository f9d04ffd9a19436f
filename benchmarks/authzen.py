"""How many AuthZEN evaluations a second does one core answer, beside an OPA server and Cerbos with equivalent rules?

Three contestants decide the same 2,000 questions by the same fifteen rules: our sidecar by a plain Rego entrypoint,
a stock OPA server through the same Rego, Cerbos at its own AuthZEN endpoint. Everything the rules need is in the
question, as Cerbos wants it. All three write every decision to a file. Our sidecar and Cerbos get the same bytes; OPA
gets the question as `input`. Each has core 0 to itself while it is measured, wrk has core 1 and sixteen connections.
"""

from __future__ import annotations

import http.client
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from msgspec.structs import asdict

from benchmarks import contestants, wrk
from benchmarks.bench import Measured, Run, told
from benchmarks.data import SEED
from benchmarks.processes import BenchmarkError, Contestant, free_port
from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.bootstrap.authzen_bundle import build_rules
from zt_engine.bootstrap.sandbox import Sandbox

NAME = "authzen"
NEEDS = ("wrk", "opa")
QUESTIONS = 2000
KEY = "k" * 40
REGIONS = ["hokkaido", "kanto", "kansai", "kyushu"]
POLICY = Path(__file__).with_name("authzen_policy")
ROOT = Path(__file__).resolve().parent.parent
CERBOS_PACKAGE = "@cerbos/cerbos-linux-x64@0.55.0"
CERBOS_HOME = ROOT / ".cache/cerbos"
CERBOS = CERBOS_HOME / "node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64"
INSTALL_SECONDS = 300
SECTION = """
[authzen]
listen = ["127.0.0.1:{port}"]

[[authzen.peps]]
name = "app"
key_file = "keys/app.key"
subject_types = ["user"]
types = ["record"]

[[authzen.types]]
type = "record"
entrypoint = "records/allow"
"""
CERBOS_CONFIG = """
server: {{httpListenAddr: "127.0.0.1:{port}", grpcListenAddr: "127.0.0.1:{other}", metricsEnabled: false}}
storage: {{driver: disk, disk: {{directory: "{policies}", watchForChanges: false}}}}
telemetry: {{disabled: true}}
audit:
  {{enabled: true, accessLogsEnabled: false, decisionLogsEnabled: true, backend: file, file: {{path: "{log}"}}}}
"""


def measure(run: Run) -> None:
    """Let the contestants take turns over the same questions."""
    place = run.place(NAME)
    asked = questions()
    loads = {
        "ours": wrk.write_requests(place / "asked", map(request, range(len(asked)), asked)),
        "opa": wrk.write_requests(place / "inputs", (opa_request(question) for question in asked)),
    }
    loads["cerbos"] = loads["ours"]
    field: dict[str, Contestant] = {"ours": sidecar(run, place), "opa": opa(run, place)}
    try:
        why = install_cerbos()
        if why:
            run.report.missing["authzen_vs_cerbos"] = why
        else:
            field["cerbos"] = cerbos(run, place)
        for contestant in field.values():
            contestant.wait_ready()
        check(field, asked)
        samples = rounds(run, field, loads)
    finally:
        for contestant in field.values():
            contestant.stop()
    conclude(run, samples)


def questions() -> list[dict[str, Any]]:
    """Return distinct questions about two hundred people and their records; a good third of them is permitted."""
    lots = random.Random(SEED)
    units, projects = [f"unit-{number}" for number in range(12)], [f"project-{number}" for number in range(40)]
    people = [person(lots, number, units, projects) for number in range(200)]
    found: dict[str, dict[str, Any]] = {}
    while len(found) < QUESTIONS:
        subject = lots.choice(people)
        about = subject["properties"]
        near = lots.random() < 0.5  # people ask about what they have to do with
        question = {
            "subject": subject,
            "resource": {
                "type": "record",
                "id": f"record-{lots.randrange(5000)}",
                "properties": {
                    "owner": subject["id"] if lots.random() < 0.3 else lots.choice(people)["id"],
                    "unit": about["unit"] if near else lots.choice(units),
                    "project": lots.choice(about["projects"] if near else projects),
                    "classification": lots.randrange(4),
                    "regions": lots.sample(REGIONS, 2),
                    "shared_with": [other["id"] for other in lots.sample([*people[:40], subject], 3)],
                    "state": lots.choice(("draft", "filed", "closed")),
                },
            },
            "action": {"name": lots.choice(("view", "view", "view", "edit", "approve", "share", "delete"))},
        }
        found.setdefault(json.dumps(question, sort_keys=True), question)
    return list(found.values())


def person(lots: random.Random, number: int, units: list[str], projects: list[str]) -> dict[str, Any]:
    """Return a subject with what its directory says."""
    about = {
        "role": lots.choice(("staff", "staff", "lead", "auditor", "contractor")),
        "unit": lots.choice(units),
        "projects": lots.sample(projects, 3),
        "clearance": lots.randrange(4),
        "region": lots.choice(REGIONS),
        "mfa": lots.random() < 0.8,
        "managed": lots.random() < 0.7,
    }
    return {"type": "user", "id": f"person-{number:03}", "properties": about}


def request(number: int, question: Mapping[str, Any]) -> bytes:
    """Return a question as a caller sends it."""
    body = json.dumps(question).encode()
    head = (
        "POST /access/v1/evaluation HTTP/1.1\r\nHost: pdp.example\r\nAccept: */*\r\nUser-Agent: bench\r\n"
        f"Authorization: Bearer {KEY}\r\nX-Request-ID: {number:032x}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def opa_request(question: Mapping[str, Any]) -> bytes:
    """Return a question as OPA's data API takes it."""
    body = json.dumps({"input": question}).encode()
    head = (
        "POST /v1/data/records/allow HTTP/1.1\r\nHost: opa.example\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def sidecar(run: Run, place: Path) -> Contestant:
    """Start our sidecar with an AuthZEN listener, as `zt sidecar run` does."""
    assert run.peers.opa is not None
    port, admin = free_port(), free_port()
    sandbox = Sandbox(place / "sidecar", bundle=run.bundle, admin_listen=f"127.0.0.1:{admin}")
    sandbox.write("keys/app.key", KEY.encode())
    rules = build_rules(POLICY, ("records/allow",), OpaBinary(run.peers.opa), key=sandbox.bundle_key)
    sandbox.write("authzen.tar.gz", rules)
    sandbox.write("zt.toml", (sandbox.config.read_text() + SECTION.format(port=port)).encode())
    command = [sys.executable, "-c", contestants.ZT, "sidecar", "run", "--config", sandbox.config]
    return Contestant(
        "ours", command, core=run.core, log=place / "ours.log", port=port, ready=f"http://127.0.0.1:{admin}/readyz"
    )


def opa(run: Run, place: Path) -> Contestant:
    """Start a stock OPA server with the same Rego."""
    assert run.peers.opa is not None
    bundle = place / "rules.tar.gz"
    command = [run.peers.opa, "build", "-b", POLICY, "--ignore", "*.yaml", "-o", bundle]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"opa build: {done.stderr.strip()[-500:]}")
    return contestants.opa_server(run.peers.opa, place / "opa", bundle.read_bytes(), core=run.core)


def install_cerbos() -> str:
    """Have Cerbos beside the caches; return why it is not there."""
    if CERBOS.exists():
        return ""
    npm = shutil.which("npm")
    if npm is None:
        return "cerbos is not on this machine, and npm neither"
    CERBOS_HOME.mkdir(parents=True, exist_ok=True)
    command = [
        npm,
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
        str(CERBOS_HOME),
        CERBOS_PACKAGE,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "npm did not bring cerbos in time"
    return "" if CERBOS.exists() else f"npm did not bring cerbos: {done.stderr.strip()[-200:]}"


def cerbos(run: Run, place: Path) -> Contestant:
    """Start Cerbos with one processor, its decision log in a file and no other logging."""
    policies = place / "policies"
    policies.mkdir()
    shutil.copy(POLICY / "records.yaml", policies)
    port = free_port()
    config = CERBOS_CONFIG.format(port=port, other=free_port(), policies=policies, log=place / "cerbos.decisions")
    (place / "cerbos.yaml").write_text(config)
    command = [CERBOS, "server", "--config", place / "cerbos.yaml", "--log-level", "error"]
    return Contestant(
        "cerbos", command, core=run.core, log=place / "cerbos.log", port=port,
        ready=f"http://127.0.0.1:{port}/_cerbos/health", env={"GOMAXPROCS": "1"},
    )  # fmt: skip


def check(field: Mapping[str, Contestant], asked: list[dict[str, Any]]) -> None:
    """Demand that all of them say the same: a faster wrong answer would be no contestant."""
    permitted = 0
    for number, question in enumerate(asked[::10]):
        said = {
            name: answer(contestant.port, opa_request(question) if name == "opa" else request(number, question))
            for name, contestant in field.items()
        }
        decisions = {name: bool(value.get("result" if name == "opa" else "decision")) for name, value in said.items()}
        if len(set(decisions.values())) != 1:
            raise BenchmarkError(f"they differ about {question}: {decisions}")
        permitted += decisions["ours"]
    if not 0.2 < permitted / len(asked[::10]) < 0.8:
        raise BenchmarkError(f"{permitted} of {len(asked[::10])} are permitted: no fair question")


def answer(port: int, raw: bytes) -> Any:
    """Send one request and return what its JSON says."""

    head, _, body = raw.partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    method, path, _ = line.split(" ")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, dict(header.split(": ", 1) for header in headers))
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def rounds(run: Run, field: Mapping[str, Contestant], loads: Mapping[str, wrk.Load]) -> dict[str, list[Measured]]:
    """Alternate; the order is turned around every other round."""
    for contestant in field.values():
        contestant.pause()
    samples: dict[str, list[Measured]] = {name: [] for name in field}
    for number in range(run.plan.rounds):
        for name in list(field) if number % 2 == 0 else reversed(list(field)):
            # The first time so long that every question has been asked before anything is measured.
            warm_up = run.plan.warm_up if number else max(run.plan.warm_up, run.plan.seconds)
            with field[name].running():
                run.client(field[name], loads[name], warm_up)
                sample = run.client(field[name], loads[name], run.plan.seconds)
            samples[name].append(sample)
            run.say(f"  round {number + 1} {name:<6} {told(sample)}  p50 {sample.p50:,.0f} us")
    return samples


def conclude(run: Run, samples: Mapping[str, list[Measured]]) -> None:
    """Turn rounds into figures."""
    report = run.report
    report.samples[NAME] = {
        "seed": SEED, "rounds": {name: [asdict(sample) for sample in found] for name, found in samples.items()},
    }  # fmt: skip
    rates = {name: [sample.rate for sample in found] for name, found in samples.items()}
    for name, found in samples.items():
        label = "authzen" if name == "ours" else f"authzen_{name}"
        report.figure(f"{label}_rate", median(rates[name]))
        report.figure(f"{label}_p50_us", median([sample.p50 for sample in found]))
        report.figure(f"{label}_p99_us", median([sample.p99 for sample in found]))
        if name != "ours":
            report.ratio(f"authzen_vs_{name}", rates["ours"], rates[name])
    broken = [name for name, found in samples.items() if any(sample.errors for sample in found)]
    for name in broken:
        for figure in [figure for figure in report.values if figure.startswith(NAME)]:
            if name == "ours" or name in figure:
                report.reject(figure, f"answers of {name} were no 200, or a socket broke")
