"""What the benchmarks of Caddy, Traefik, HAProxy and Apache share: what is sent, rounds that alternate, the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from msgspec.structs import asdict

from benchmarks import contestants, documents, metrics, wrk
from benchmarks.bench import Measured, Run, told
from benchmarks.data import HOT_PEOPLE, KEYS_THROUGH_A_PROXY, Key, keys
from benchmarks.processes import BenchmarkError, Contestant
from benchmarks.site import Site
from tests.peers import find_peer

BACKEND = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WHO = ("us", "noop")


def asked_by_key(run: Run, hook: str) -> Callable[[Site, Path, bytes, str], Contestant]:
    """Return what starts the listener that a proxy asks with a key: a sidecar with this hook, or one that allows."""

    def app(site: Site, folder: Path, answer: bytes, who: str) -> Contestant:
        if who == "noop":
            found = contestants.listener_noop(folder, answer, core=run.client_core)
        else:

            def settings(text: str) -> str:
                return text.replace('hook = "nginx"', f'hook = "{hook}"')

            found = contestants.sidecar_with(settings, site, folder, core=run.client_core)
        found.wait_ready()
        return found

    return app


def base64_line(pem: bytes) -> bytes:
    """Return a certificate as most proxies hand it on."""
    return b"".join(pem.splitlines()[1:-1])


def measure(
    run: Run,
    name: str,
    *,
    header: bytes,
    app: Callable[[Site, Path, bytes, str], Contestant],
    proxy: Callable[[Site, Path, tuple[str, ...], str, int, int], Contestant],
    written: Callable[[bytes], bytes] = base64_line,
) -> None:
    """Alternate a proxy that asks us with one that asks a listener which allows at once.

    `header` is how the client's certificate comes, which wrk cannot show, `written` as it is there. `app` starts what
    is asked, `proxy` who asks.
    """
    if find_peer(name) is None:
        raise BenchmarkError(f"{name} is missing")
    place = run.place(name)
    site = Site(place / "site", HOT_PEOPLE, bundle=run.bundle)
    hot = keys(site.people)[:KEYS_THROUGH_A_PROXY]
    answer = documents.record(site, hot[:50], place / "recorded").answer
    load = wrk.write_requests(place / "requests", (client_request(site, key, header, written) for key in hot))
    hosts = tuple(sorted({target.host for person in site.people for target in person.targets} | {"localhost"}))
    started: list[Contestant] = []
    proxies: dict[str, Contestant] = {}
    counted: list[metrics.Counts] = []
    try:
        backend = contestants.listener_noop(place / "backend", BACKEND, core=run.client_core)
        started.append(backend)
        backend.wait_ready()
        for who in WHO:
            asked = app(site, place / f"app-{who}", answer, who)
            started.append(asked)
            proxies[who] = proxy(site, place / f"proxy-{who}", hosts, who, asked.port, backend.port)
            started.append(proxies[who])
        for who in WHO:
            proxies[who].wait_ready()
        samples = rounds(run, proxies, load, sidecar=started[1], counted=counted)
    finally:
        for contestant in started:
            contestant.stop()
    conclude(run, name, samples, counted)


def client_request(site: Site, key: Key, header: bytes, written: Callable[[bytes], bytes] = base64_line) -> bytes:
    """Return what a browser sends, with its certificate under a header's name."""
    own = b"X-Original-", b"X-Real-IP", b"Zt-"
    kept = [line for line in site.blocks[key.person].split(b"\r\n") if line and not line.startswith(own)]
    certificate = written(site.devices[key.person].certificate.pem)
    return (
        b"GET %b HTTP/1.1\r\nHost: %b\r\n" % (key.target.path.encode(), key.target.host.encode())
        + b"\r\n".join(kept)
        + b"\r\n%b: %b\r\n\r\n" % (header, certificate)
    )


def edited(text: str, changes: Mapping[str, str]) -> str:
    """Return a printed text with each change made in the one place it names."""
    for old, new in changes.items():
        if old not in text:
            raise BenchmarkError(f"the printed text has no `{old}` any more")
        text = text.replace(old, new, 1)
    return text


def rounds(
    run: Run, proxies: Mapping[str, Contestant], load: wrk.Load, *, sidecar: Contestant, counted: list[metrics.Counts]
) -> dict[str, list[Measured]]:
    """Ask through both in turn, and count what the sidecar remembered."""
    samples: dict[str, list[Measured]] = {who: [] for who in proxies}
    for number in range(run.plan.nginx_rounds):
        for who in proxies if number % 2 == 0 else reversed(proxies):
            run.client(proxies[who], load, run.plan.warm_up)
            before = metrics.read(sidecar.metrics)
            sample = run.client(proxies[who], load, run.plan.seconds)
            if who == "us":
                counted.append(metrics.read(sidecar.metrics) - before)
            samples[who].append(sample)
            run.say(f"  round {number + 1} {who:<5} p50 {sample.p50:>7,.0f} us  {told(sample)}")
    return samples


def conclude(run: Run, name: str, samples: dict[str, list[Measured]], counted: list[metrics.Counts]) -> None:
    """Turn rounds into figures."""
    report = run.report
    report.figure(f"{name}_hit_rate", metrics.share_remembered(counted))
    report.samples[name] = {who: [asdict(sample) for sample in found] for who, found in samples.items()}
    us, noop = samples["us"], samples["noop"]
    report.figure(f"{name}_rate", median([sample.rate for sample in us]))
    report.ratio(f"{name}_vs_noop", [s.rate for s in us], [s.rate for s in noop])
    report.ratio(f"{name}_p50_vs_noop", [s.p50 for s in us], [s.p50 for s in noop])
    report.ratio(f"{name}_p99_vs_noop", [s.p99 for s in us], [s.p99 for s in noop])
    errors = {who: sum(sample.errors for sample in found) for who, found in samples.items()}
    if any(errors.values()):
        for figure in (f"{name}_rate", f"{name}_vs_noop", f"{name}_p50_vs_noop", f"{name}_p99_vs_noop"):
            report.reject(figure, f"answers that were no 200, or sockets that broke: {errors}")
