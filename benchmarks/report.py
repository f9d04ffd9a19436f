"""What a run found: figures against their bars, with everything they rest on. Nothing here measures."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec

ROOT = Path(__file__).resolve().parent.parent
MARK, END = "<!-- bench -->", "<!-- /bench -->"


class Bar(msgspec.Struct, frozen=True):
    """What a figure should reach. An empty `sign` asks for nothing: the figure is told."""

    title: str
    unit: str
    sign: str = ""
    limit: float = 0.0

    @property
    def text(self) -> str:
        """The bar as people write it."""
        return f"{self.sign} {self.limit:g}" if self.sign else ""

    def met(self, value: float) -> bool:
        """Whether a value reaches the bar."""
        return {">=": value >= self.limit, "<=": value <= self.limit, "=": value == self.limit, "": True}[self.sign]


BARS: Mapping[str, Bar] = {
    "cold_vs_opa": Bar("decisions, nothing remembered, against an OPA server", "x", ">=", 7),
    "warm_vs_opa": Bar("decisions of a hot set, against an OPA server", "x", ">=", 20),
    "warm_vs_noop": Bar("decisions of a hot set, against a granian app that decides nothing", "x", ">=", 1.0),
    "mixed_vs_opa": Bar("decisions of a 10,000-person site, against an OPA server", "x", ">=", 12),
    "warm_hit_rate": Bar("remembered decisions, hot set", "share", ">=", 0.95),
    "mixed_hit_rate": Bar("remembered decisions, whole site", "share"),
    "nginx_hit_rate": Bar("remembered decisions through nginx", "share", ">=", 0.95),
    "envoy_http_hit_rate": Bar("remembered decisions through Envoy over HTTP", "share", ">=", 0.95),
    "caddy_hit_rate": Bar("remembered decisions through Caddy", "share", ">=", 0.95),
    "haproxy_hit_rate": Bar("remembered decisions through HAProxy", "share", ">=", 0.95),
    "apache_hit_rate": Bar("remembered decisions through Apache", "share", ">=", 0.95),
    "traefik_hit_rate": Bar("remembered decisions through Traefik", "share", ">=", 0.95),
    "nginx_vs_noop": Bar("requests through nginx, against an auth app that decides nothing", "x", ">=", 0.9),
    "nginx_p99_vs_noop": Bar("p99 through nginx, against an auth app that decides nothing", "x", "<=", 1.3),
    "nginx_vs_alone": Bar("requests through nginx, against nginx without a question", "x"),
    "rego_vs_opa": Bar("Rego in process, the worse of the two below, against OPA's own engine", "x", ">=", 10),
    "rego_vs_opa_pack": Bar("Rego in process, the pack jp-gov", "x"),
    "rego_vs_opa_reference": Bar("Rego in process, a frozen reference policy", "x"),
    "catalogue_us_10": Bar("finding a route among 10, least of batches", "us"),
    "catalogue_us_1000": Bar("finding a route among 1,000, least of batches", "us"),
    "catalogue_us_10000": Bar("finding a route among 10,000, least of batches", "us", "<=", 5),
    "conformance_pass_rate": Bar("OPA's conformance vectors that are right", "share", ">=", 0.8),
    "conformance_wrong": Bar("OPA's conformance vectors that are wrong", "vectors", "=", 0),
    "opa_rate": Bar("OPA server", "1/s"),
    "noop_rate": Bar("granian app that decides nothing", "1/s"),
    "cold_rate": Bar("sidecar, nothing remembered", "1/s"),
    "warm_rate": Bar("sidecar, hot set", "1/s"),
    "mixed_rate": Bar("sidecar, whole site", "1/s"),
    "warm_p99_us": Bar("p99 of the sidecar, hot set", "us"),
    "mixed_p99_us": Bar("p99 of the sidecar, whole site", "us"),
    "envoy_http_vs_noop": Bar("through Envoy over HTTP, against a listener that decides nothing", "x", ">=", 0.85),
    "envoy_http_p99_vs_noop": Bar("p99 through Envoy over HTTP, against the same", "x"),
    "envoy_grpc_vs_noop": Bar("through Envoy over gRPC, against a listener that decides nothing", "x", ">=", 0.85),
    "envoy_grpc_p99_vs_noop": Bar("p99 through Envoy over gRPC, against the same", "x"),
    "envoy_http_rate": Bar("Envoy with the sidecar over HTTP", "1/s"),
    "envoy_grpc_rate": Bar("Envoy with the sidecar over gRPC", "1/s"),
    "caddy_vs_noop": Bar("requests through Caddy, against a listener that decides nothing", "x", ">=", 0.85),
    "caddy_p50_vs_noop": Bar("p50 through Caddy, against the same", "x"),
    "caddy_p99_vs_noop": Bar("p99 through Caddy, against the same", "x"),
    "caddy_rate": Bar("Caddy with the sidecar", "1/s"),
    "haproxy_vs_noop": Bar("requests through HAProxy, against a listener that decides nothing", "x", ">=", 0.85),
    "haproxy_p50_vs_noop": Bar("p50 through HAProxy, against the same", "x"),
    "haproxy_p99_vs_noop": Bar("p99 through HAProxy, against the same", "x"),
    "haproxy_rate": Bar("HAProxy with the sidecar", "1/s"),
    "apache_vs_noop": Bar("requests through Apache, against an authorizer that decides nothing", "x", ">=", 0.85),
    "apache_p50_vs_noop": Bar("p50 through Apache, against the same", "x"),
    "apache_p99_vs_noop": Bar("p99 through Apache, against the same", "x"),
    "apache_rate": Bar("Apache with the sidecar", "1/s"),
    "traefik_vs_noop": Bar("requests through Traefik, against a listener that decides nothing", "x", ">=", 0.85),
    "traefik_p50_vs_noop": Bar("p50 through Traefik, against the same", "x"),
    "traefik_p99_vs_noop": Bar("p99 through Traefik, against the same", "x"),
    "traefik_rate": Bar("Traefik with the sidecar", "1/s"),
    "nginx_rate": Bar("nginx with the sidecar", "1/s"),
    "rego_us": Bar("one evaluation of the pack", "us"),
    "scoring_us": Bar("one trust score of prepared parts, least of batches", "us"),
    "scoring_device_us": Bar("a new device report prepared for scoring and for Rego, least of batches", "us"),
    "gate_us": Bar("an ordinary target made canonical, or refused, least of batches", "us", "<=", 3),
    "decision_cold_us": Bar("one decision in process, nothing remembered", "us"),
    "decision_warm_us": Bar("one decision in process, remembered, its head read", "us"),
    "revoke_p99_ms": Bar("a revocation's answer to the last allow of 200 sidecars, p99", "ms", "<=", 250),
    "revoke_sent_p99_ms": Bar("the same until it is sent to whoever is served last, p99", "ms"),
    "revoke_distant_p99_ms": Bar("the same behind 800 ms of round trip and 5 % loss", "ms"),
    "revoke_loaded_p99_ms": Bar("the same of one sidecar that is asked as fast as it answers, p99", "ms"),
    "release_p99_ms": Bar("a release's answer until 201 sidecars decide by it, p99", "ms", "<=", 1000),
    "release_sent_p99_ms": Bar("the same until it is sent to whoever is served last, p99", "ms"),
    "release_catalogue_p99_ms": Bar("the same for another catalogue under the same rules", "ms"),
    "release_unprepared_p99_ms": Bar("the same for clients that were offered nothing before", "ms"),
    "storm_back_s": Bar("a restart of the control plane until 210 sidecars are back", "s"),
    "stale_allows": Bar("allows after a lease, or after a sidecar's own acknowledgement", "allows", "=", 0),
    "streams_per_core": Bar("streams one core of a control plane would serve at rest", "streams"),
    "storm_10k_oldest_s": Bar("oldest watermark while 10,000 streams come back at once", "s", "<=", 60),
    "shadow_overhead": Bar("decisions with a shadow beside them, against without", "x", ">=", 0.9),
    "shadow_p99": Bar("p99 with a shadow beside, against without", "x", "<=", 1.1),
    "shadow_overhead_control": Bar("decisions without a shadow, against without", "x"),
    "shadow_p99_control": Bar("p99 without a shadow, against without", "x"),
    "shadow_coverage": Bar("new keys that a shadow decides under the candidate", "share", ">=", 0.99),
    "collector_ms": Bar("one look of the agent at this machine, p50", "ms", "<=", 50),
    "enroll_per_s": Bar("machines enrolled, one control plane on SQLite", "1/s"),
    "replica_mb_75k": Bar("a sidecar's memory with 75,000 devices", "MiB", "<=", 250),
    "device_seen_cache_loss": Bar(
        "remembered decisions while 83 devices report each second, against none", "x", ">=", 0.95
    ),
    "authzen_vs_opa": Bar("AuthZEN evaluations of a hot set, against an OPA server", "x", ">=", 12),
    "authzen_vs_cerbos": Bar("AuthZEN evaluations of a hot set, against Cerbos", "x", ">=", 15),
    "authzen_rate": Bar("AuthZEN evaluations", "1/s"),
    "authzen_p50_us": Bar("p50 of AuthZEN evaluations", "us"),
    "authzen_p99_us": Bar("p99 of AuthZEN evaluations", "us"),
    "authzen_opa_rate": Bar("OPA server, the same rules and questions", "1/s"),
    "authzen_opa_p50_us": Bar("p50 of the OPA server, the same", "us"),
    "authzen_opa_p99_us": Bar("p99 of the OPA server, the same", "us"),
    "authzen_cerbos_rate": Bar("Cerbos, equivalent rules and the same questions", "1/s"),
    "authzen_cerbos_p50_us": Bar("p50 of Cerbos, the same", "us"),
    "authzen_cerbos_p99_us": Bar("p99 of Cerbos, the same", "us"),
    "session_vs_bearer": Bar("decisions of a hot set with session cookies, against bearer tokens", "x", ">=", 0.9),
    "session_rate": Bar("sidecar, hot set with session cookies", "1/s"),
    "bearer_rate": Bar("sidecar, hot set with bearer tokens, beside it", "1/s"),
    "session_p99_us": Bar("p99 of the sidecar, hot set with session cookies", "us"),
    "decision_repeat_us": Bar("one decision in process, remembered, its head as before", "us"),
}

README_FIGURES = (
    "cold_vs_opa", "warm_vs_opa", "warm_vs_noop", "mixed_vs_opa", "nginx_vs_noop", "nginx_p99_vs_noop", "rego_vs_opa",
    "catalogue_us_10000", "envoy_http_vs_noop", "envoy_grpc_vs_noop", "caddy_vs_noop", "traefik_vs_noop",
    "haproxy_vs_noop", "apache_vs_noop", "authzen_vs_opa", "authzen_vs_cerbos", "session_vs_bearer",
    "conformance_pass_rate", "conformance_wrong",
)  # fmt: skip


class Report:
    """Collects figures while the sections run."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.invalid: dict[str, str] = {}
        """Figures that were measured and mean nothing, and why."""
        self.missing: dict[str, str] = {}
        """What could not be run, and why."""
        self.samples: dict[str, object] = {}
        """Everything the figures rest on, by section."""

    def figure(self, name: str, value: float) -> None:
        """Take a figure; its name must be known, so that a bar cannot be lost by a typing mistake."""
        if name not in BARS:
            raise KeyError(f"no bar is written down for the figure {name}")
        self.values[name] = value

    def reject(self, name: str, why: str) -> None:
        """Say that a figure was measured in vain."""
        self.values.pop(name, None)
        self.invalid[name] = why

    def ratio(self, name: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
        """Take the median of the ratios of runs that stood side by side."""
        self.figure(name, paired(ours, theirs))

    @property
    def below(self) -> list[str]:
        """Figures that do not reach their bar."""
        return [name for name, value in self.values.items() if not BARS[name].met(value)]

    def document(self, about: Mapping[str, object]) -> dict[str, object]:
        """Return everything as one JSON value."""
        figures = {}
        for name, bar in BARS.items():
            if name in self.values:
                value = self.values[name]
                figures[name] = {"value": rounded(value), "bar": bar.text, "unit": bar.unit, "met": bar.met(value)}
        return {
            **about, "figures": figures, "invalid": self.invalid, "not_run": self.missing, "samples": self.samples,
        }  # fmt: skip


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios of neighbours: what slows a shared machine down slows both of a pair."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def rounded(value: float) -> float:
    """Return four significant digits; more would be noise."""
    return float(f"{value:.4g}")


def machine() -> dict[str, object]:
    """Return what the figures were measured on."""
    cpu = re.search(r"model name\s*:\s*(.+)", _read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+)", _read("/proc/meminfo"))
    return {
        "cpu": cpu[1].strip() if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """Return the commit of the checkout, marked when it was not clean."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def number(value: float, unit: str) -> str:
    """Write a value the way a person reads it."""
    if unit == "x":
        return f"{value:.2f}x" if value < 10 else f"{value:.1f}x"
    if unit == "share":
        return f"{value:.1%}"
    if unit == "us":
        return f"{value:,.1f} us"
    if unit == "1/s":
        return f"{value:,.0f}/s"
    return f"{value:,.4g} {unit}"


def rows(document: Mapping[str, dict]) -> list[tuple[str, str, str, str]]:
    """Return figure, value, bar and verdict of every figure of a document, and of those that are missing."""
    found = []
    for name, bar in BARS.items():
        figure = document["figures"].get(name)
        if figure is not None:
            verdict = ("ok" if figure["met"] else "BELOW THE BAR") if figure["bar"] and not document["quick"] else ""
            found.append((bar.title, number(figure["value"], figure["unit"]), figure["bar"], verdict))
        elif name in document["invalid"]:
            found.append((bar.title, "-", bar.text, f"INVALID: {document['invalid'][name]}"))
    return found


def table(document: Mapping[str, dict]) -> str:
    """Return the table that a run prints."""
    lines = [("figure", "measured", "bar", ""), *rows(document)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:<{widths[2]}}  {d}".rstrip() for a, b, c, d in lines)


def markdown(document: Mapping[str, dict]) -> str:
    """Return the table that the README shows."""
    lines = ["| figure | measured | bar |", "|---|---:|---|"]
    for name in README_FIGURES:
        figure = document["figures"].get(name)
        value = number(figure["value"], figure["unit"]) if figure is not None else "not measured"
        lines.append(f"| {BARS[name].title} | {value} | {BARS[name].text} |")
    about = document["machine"]
    lines += ["", f"Commit {document['commit']}, {about['cpu']}, one core for each contestant: `make bench`."]
    return "\n".join(lines)


def filled(text: str, content: str) -> str:
    """Return a text with what stands between the marks replaced; raises ValueError without marks."""
    start = text.find(MARK)
    end = text.find(END, start)
    if start < 0 or end < 0:
        raise ValueError(f"no {MARK} ... {END}")
    return f"{text[: start + len(MARK)]}\n{content}\n{text[end:]}"
