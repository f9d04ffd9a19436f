"""What does the question cost through Envoy, over HTTP and over gRPC: against the same listener deciding nothing?

Four Envoys of one thread on core 0, each with what `zt hook envoy` prints, of which one at a time is asked; sidecars,
no-ops and wrk share core 1. Envoy answers itself in the backend's place. Over HTTP it is the hot set, as for nginx; wrk
shows no client certificate, so it comes in the header that Envoy is told to leave alone. Over gRPC a certificate is no
header, so it is a public page there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from msgspec.structs import asdict

from benchmarks import contestants, documents, metrics, wrk
from benchmarks.bench import Measured, Run, told
from benchmarks.data import HOT_PEOPLE, KEYS_THROUGH_A_PROXY, Key, keys
from benchmarks.processes import BenchmarkError, Contestant, free_port
from benchmarks.site import Site
from tests.peers import find_peer
from zt_engine.sidecar.hooks.envoy_config import KEY_VARIABLE, EnvoyConfig, render

NAME = "envoy"
NEEDS = ("wrk",)
PUBLIC = "www.ministry.example"


def measure(run: Run) -> None:
    """Alternate the four of them."""
    if find_peer("envoy") is None:
        raise BenchmarkError("envoy is missing")
    place = run.place(NAME)
    site = Site(place / "site", HOT_PEOPLE, bundle=run.bundle)
    hot = keys(site.people)[:KEYS_THROUGH_A_PROXY]
    answer = documents.record(site, hot[:50], place / "recorded").answer
    public = b"GET / HTTP/1.1\r\nHost: %b\r\nAccept: */*\r\n\r\n" % PUBLIC.encode()
    loads = {
        "http": wrk.write_requests(place / "requests", (client_request(site, key) for key in hot)),
        "grpc": wrk.write_requests(place / "public", [public]),
    }
    hosts = tuple(sorted({target.host for person in site.people for target in person.targets} | {PUBLIC}))
    started: dict[str, Contestant] = {}
    samples: dict[str, list[Measured]] = {}
    counted: list[metrics.Counts] = []
    try:
        apps = {
            "http us": envoys_sidecar(site, place / "http-us", core=run.client_core, grpc=False),
            "http noop": contestants.listener_noop(place / "http-noop", answer, core=run.client_core),
            "grpc us": envoys_sidecar(site, place / "grpc-us", core=run.client_core, grpc=True),
            "grpc noop": grpc_noop(place / "grpc-noop", answer, core=run.client_core),
        }
        started |= apps
        for name in ("http us", "http noop", "grpc us"):
            apps[name].wait_ready()
        for name, app in apps.items():
            kind, _, who = name.partition(" ")
            asked = f"127.0.0.1:{app.port}" if kind == "http" else f"unix:{place}/grpc-{who}/grpc.sock"
            folder = place / f"envoy-{kind}-{who}"
            started[f"envoy {name}"] = envoy(run, folder, site, hosts, asked, grpc=kind == "grpc")
            started[f"envoy {name}"].wait_ready()
        samples = rounds(run, started, loads, counted)
    finally:
        for contestant in started.values():
            contestant.stop()
    conclude(run, samples, counted)


def client_request(site: Site, key: Key) -> bytes:
    """Return what a browser sends, with its certificate as Envoy writes one."""
    own = b"X-Original-", b"X-Real-IP", b"Zt-"
    kept = [line for line in site.blocks[key.person].split(b"\r\n") if line and not line.startswith(own)]
    element = b'Hash=%b;Cert="%b"' % (b"a" * 64, site.devices[key.person].certificate.escaped)
    return (
        b"GET %b HTTP/1.1\r\nHost: %b\r\n" % (key.target.path.encode(), key.target.host.encode())
        + b"\r\n".join(kept)
        + b"\r\nx-forwarded-client-cert: %b\r\n\r\n" % element
    )


def envoys_sidecar(site: Site, folder: Path, *, core: int, grpc: bool) -> Contestant:
    """Start a sidecar for Envoy on a copy of the installation."""

    def settings(text: str) -> str:
        if not grpc:
            return text.replace('hook = "nginx"', 'hook = "envoy"')
        text = text.replace('hook = "nginx"', 'hook = "envoy_grpc"')
        text = re.sub(r"^key_file = .keys/pep.key.*$", f"socket_uids = [{os.getuid()}]", text, flags=re.MULTILINE)
        return text.replace("[sidecar]\n", f'[sidecar]\ngrpc_listen = ["unix:{folder}/grpc.sock"]\n', 1)

    return contestants.sidecar_with(settings, site, folder, core=core)


def grpc_noop(folder: Path, answer: bytes, *, core: int) -> Contestant:
    """Start our gRPC listener with a hook that allows at once."""
    return contestants.noop("noop_grpc", folder / "grpc.sock", folder, answer, core=core)


def envoy(
    run: Run, folder: Path, site: Site, hosts: tuple[str, ...], asked: str, *, grpc: bool
) -> Contestant:  # fmt: skip
    """Start an Envoy that asks one of them, and that answers in the backend's place."""
    folder.mkdir()
    port, ready = free_port(), free_port()
    text = render(
        EnvoyConfig(
            proxy="front", hosts=hosts, listen=(f"127.0.0.1:{port}",), sidecar=(asked,), backend="127.0.0.1:9",
            grpc=grpc, keyed=not grpc,
        )
    )  # fmt: skip
    document: dict[str, Any] = yaml.safe_load(text)
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    if not grpc:
        manager["forward_client_cert_details"] = "ALWAYS_FORWARD_ONLY"
        del manager["set_current_client_cert_details"]
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        if route.pop("route", None) is not None:  # others say no by themselves
            route["direct_response"] = {"status": 200, "body": {"inline_string": "ok"}}
    document["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": ready}}}
    config = folder / "envoy.yaml"
    config.write_text(yaml.safe_dump(document))
    executable = find_peer("envoy")
    assert executable is not None
    command = [executable, "-c", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    return Contestant(
        "envoy", command, core=run.core, log=folder / "output", port=port, ready=f"http://127.0.0.1:{ready}/ready",
        env={KEY_VARIABLE: site.sandbox.pep_key},
    )  # fmt: skip


def rounds(
    run: Run, started: dict[str, Contestant], loads: dict[str, wrk.Load], counted: list[metrics.Counts]
) -> dict[str, list[Measured]]:
    """Ask through each of the Envoys in turn."""
    names = [name.removeprefix("envoy ") for name in started if name.startswith("envoy ")]
    samples: dict[str, list[Measured]] = {name: [] for name in names}
    for number in range(run.plan.nginx_rounds):
        for name in names if number % 2 == 0 else reversed(names):
            through, load = started[f"envoy {name}"], loads[name.partition(" ")[0]]
            run.client(through, load, run.plan.warm_up)
            before = metrics.read(started["http us"].metrics)
            sample = run.client(through, load, run.plan.seconds)
            if name == "http us":
                counted.append(metrics.read(started["http us"].metrics) - before)
            samples[name].append(sample)
            run.say(f"  round {number + 1} {name:<10} {told(sample)}")
    return samples


def conclude(run: Run, samples: dict[str, list[Measured]], counted: list[metrics.Counts]) -> None:
    """Turn rounds into figures."""
    report = run.report
    report.figure("envoy_http_hit_rate", metrics.share_remembered(counted))
    report.samples[NAME] = {name: [asdict(sample) for sample in found] for name, found in samples.items()}
    for kind in ("http", "grpc"):
        us, noop = samples[f"{kind} us"], samples[f"{kind} noop"]
        report.figure(f"envoy_{kind}_rate", median([sample.rate for sample in us]))
        report.ratio(f"envoy_{kind}_vs_noop", [s.rate for s in us], [s.rate for s in noop])
        report.ratio(f"envoy_{kind}_p99_vs_noop", [s.p99 for s in us], [s.p99 for s in noop])
        errors = {name: sum(sample.errors for sample in samples[f"{kind} {name}"]) for name in ("us", "noop")}
        if any(errors.values()):
            for name in (f"envoy_{kind}_rate", f"envoy_{kind}_vs_noop", f"envoy_{kind}_p99_vs_noop"):
                report.reject(name, f"answers that were no 200, or sockets that broke: {errors}")
