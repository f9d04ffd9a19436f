"""What does the question cost through nginx: against an auth app that decides nothing, and against no question?

One nginx on core 0 with three server blocks, as `zt hook nginx` prints them: one asks the sidecar (hot set,
remembered), one an application on the same listener that answers 200 at once, one nobody. Auth apps and wrk share
core 1. nginx's backend is a block of its own that returns 200. wrk cannot show a client certificate, so it comes in a
header that the blocks move to where `$ssl_client_escaped_cert` stands.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from statistics import median

from msgspec.structs import asdict

from benchmarks import contestants, documents, metrics, wrk
from benchmarks.bench import Measured, Run, told
from benchmarks.data import HOT_PEOPLE, KEYS_THROUGH_A_PROXY, Key, keys
from benchmarks.processes import BenchmarkError, Contestant, free_port
from benchmarks.site import Site
from zt_engine.adapters.nginx_process import main_config
from zt_engine.sidecar.hooks.snippet import NginxBlock, key_line, render

NAME = "nginx"
NEEDS = ("wrk", "nginx")
CERTIFICATE = "Bench-Certificate"
BACKEND = """
server {{
    listen 127.0.0.1:{port};
    keepalive_requests 100000000;
    location / {{ return 200 "ok"; }}
}}
"""


def measure(run: Run) -> None:
    """Alternate the three blocks."""
    if run.peers.nginx is None:
        raise BenchmarkError("nginx is missing")
    place = run.place(NAME)
    site = Site(place / "site", HOT_PEOPLE, bundle=run.bundle)
    hot = keys(site.people)[:KEYS_THROUGH_A_PROXY]
    answer = documents.record(site, hot[:50], place / "recorded").answer
    load = wrk.write_requests(place / "requests", (client_request(site, key) for key in hot))
    started: list[Contestant] = []
    counted: list[metrics.Counts] = []
    try:
        us = contestants.sidecar("sidecar", site, place / "sidecar", core=run.client_core)
        noop = contestants.listener_noop(place / "noop", answer, core=run.client_core)
        started += [us, noop]
        ports = {"alone": free_port(), "noop": free_port(), "us": free_port()}
        nginx = start_nginx(run, place / "nginx", site, ports, {"noop": noop.port, "us": us.port, "alone": noop.port})
        started.append(nginx)
        for contestant in (us, noop, nginx):
            contestant.wait_ready()
        samples = rounds(run, nginx, {"noop": noop, "us": us}, ports, load, counted)
    finally:
        for contestant in started:
            contestant.stop()
    conclude(run, samples, counted)


def client_request(site: Site, key: Key) -> bytes:
    """Return what a browser sends: no header of ours, and its certificate beside it."""
    own = b"X-Original-", b"X-Real-IP", b"Zt-"
    lines = site.blocks[key.person].split(b"\r\n")
    kept = [line for line in lines if line and not line.startswith(own)]
    certificate = site.devices[key.person].certificate.escaped
    return (
        b"GET %b HTTP/1.1\r\nHost: %b\r\n" % (key.target.path.encode(), key.target.host.encode())
        + b"\r\n".join(kept)
        + b"\r\n%b: %b\r\n\r\n" % (CERTIFICATE.encode(), certificate)
    )


def start_nginx(run: Run, folder: Path, site: Site, ports: dict[str, int], asked: dict[str, int]) -> Contestant:
    """Start one nginx with a block for each way of asking."""
    folder.mkdir()
    backend = free_port()
    include = folder / "key.conf"
    include.write_text(key_line(site.sandbox.pep_key.encode()))
    include.chmod(0o600)
    hosts = tuple(sorted({target.host for person in site.people for target in person.targets}))
    blocks = [BACKEND.format(port=backend), "keepalive_requests 100000000;"]
    for name, port in ports.items():
        text = render(
            NginxBlock(
                proxy=name, server_names=(*hosts, "localhost"), listen=(f"127.0.0.1:{port}",),
                sidecar=(f"127.0.0.1:{asked[name]}",), backend=f"127.0.0.1:{backend}", key_include=str(include),
            )
        )  # fmt: skip
        blocks.append(adapted(text, ask=name != "alone"))
    assert run.peers.nginx is not None
    config = folder / "nginx.conf"
    config.write_text(main_config(run.peers.nginx, http="\n".join(blocks), folder=folder))
    command = [run.peers.nginx, "-p", f"{folder}/", "-c", config, "-e", folder / "error.log"]
    return Contestant(
        "nginx", command, core=run.core, log=folder / "output", port=ports["us"], ready=f"http://127.0.0.1:{backend}/"
    )


def adapted(block: str, *, ask: bool) -> str:
    """Return a printed block that takes the certificate from a header, and asks nobody if told so."""
    variable = "$http_" + CERTIFICATE.lower().replace("-", "_")
    changes = {
        "$ssl_client_escaped_cert;": f'{variable};\n        proxy_set_header {CERTIFICATE} "";',
        "Zt-Client-Verify $ssl_client_verify;": "Zt-Client-Verify SUCCESS;",
    }
    if not ask:
        changes["auth_request /_zt/auth;"] = "auth_request off;"
    for old, new in changes.items():
        if block.count(old) != 1:
            raise BenchmarkError(f"the printed block has no single `{old}` any more")
        block = block.replace(old, new)
    return block


def rounds(
    run: Run,
    nginx: Contestant,
    apps: dict[str, Contestant],
    ports: dict[str, int],
    load: wrk.Load,
    counted: list[metrics.Counts],
) -> dict[str, list[Measured]]:
    """Measure the blocks in turn; an auth app that is not asked is stopped in its tracks."""
    samples: dict[str, list[Measured]] = {name: [] for name in ports}
    for app in apps.values():
        app.pause()
    for number in range(run.plan.nginx_rounds):
        for name in ports if number % 2 == 0 else reversed(ports):
            nginx.port = ports[name]
            with apps[name].running() if name in apps else nullcontext():
                run.client(nginx, load, run.plan.warm_up)
                before = metrics.read(apps["us"].metrics) if name == "us" else None
                sample = run.client(nginx, load, run.plan.seconds)
                if before is not None:
                    counted.append(metrics.read(apps["us"].metrics) - before)
            samples[name].append(sample)
            run.say(f"  round {number + 1} {name:<6} {told(sample)}")
    return samples


def conclude(run: Run, samples: dict[str, list[Measured]], counted: list[metrics.Counts]) -> None:
    """Turn rounds into figures."""
    report = run.report
    report.figure("nginx_hit_rate", metrics.share_remembered(counted))
    report.samples[NAME] = {name: [asdict(sample) for sample in found] for name, found in samples.items()}
    us, noop, alone = samples["us"], samples["noop"], samples["alone"]
    report.figure("nginx_rate", median([sample.rate for sample in us]))
    report.ratio("nginx_vs_noop", [s.rate for s in us], [s.rate for s in noop])
    report.ratio("nginx_p99_vs_noop", [s.p99 for s in us], [s.p99 for s in noop])
    report.ratio("nginx_vs_alone", [s.rate for s in us], [s.rate for s in alone])
    errors = {name: sum(sample.errors for sample in found) for name, found in samples.items()}
    if any(errors.values()):
        for name in ("nginx_rate", "nginx_vs_noop", "nginx_p99_vs_noop", "nginx_vs_alone"):
            report.reject(name, f"answers that were no 200, or sockets that broke: {errors}")
