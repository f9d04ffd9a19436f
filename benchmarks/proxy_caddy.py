"""What does the question cost through Caddy: against the same listener deciding nothing?

Two Caddys of one thread on core 0, each with what `zt hook caddy` prints; what they ask, their backend and wrk share
core 1. wrk shows no client certificate, so it comes in a header that the site moves to where Caddy's own stands.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import contestants, forwarding
from benchmarks.bench import Run
from benchmarks.processes import Contestant, free_port
from benchmarks.site import Site
from tests.peers import find_peer
from zt_engine.sidecar.hooks.caddyfile import CaddySite, render

NAME = "caddy"
NEEDS = ("wrk",)
CERTIFICATE = "Bench-Certificate"


def measure(run: Run) -> None:
    """Alternate the two of them."""

    def app(site: Site, folder: Path, answer: bytes, who: str) -> Contestant:
        if who == "noop":
            found = contestants.listener_noop(folder, answer, core=run.client_core)
        else:
            before = site.sandbox.config.read_text()
            try:
                site.sandbox.config.write_text(before.replace('hook = "nginx"', 'hook = "caddy"'))
                found = contestants.sidecar("sidecar", site, folder, core=run.client_core)
            finally:
                site.sandbox.config.write_text(before)
        found.wait_ready()
        return found

    def proxy(site: Site, folder: Path, hosts: tuple[str, ...], _who: str, asked: int, backend: int) -> Contestant:
        folder.mkdir()
        port, ready = free_port(), free_port()
        key = folder / "pep.key"
        key.write_text(site.sandbox.pep_key)
        key.chmod(0o600)
        text = forwarding.edited(
            render(
                CaddySite(
                    proxy="front", server_names=hosts, listen=(f"127.0.0.1:{port}",), sidecar=(f"127.0.0.1:{asked}",),
                    backend=f"127.0.0.1:{backend}", key_file=str(key),
                )
            ),
            {
                "header_up -Client-Cert": f"header_up Client-Cert {{http.request.header.{CERTIFICATE}}}\n"
                f"\t\t\theader_up -{CERTIFICATE}",
            },
        )  # fmt: skip
        text += f"http://:{ready} {{\n\tbind 127.0.0.1\n\trespond 200\n}}\n"
        config = folder / "Caddyfile"
        config.write_text(text)
        executable = find_peer(NAME)
        assert executable is not None
        return Contestant(
            NAME, [executable, "run", "--config", config, "--adapter", "caddyfile"], core=run.core,
            log=folder / "output", port=port, ready=f"http://127.0.0.1:{ready}/",
            env={"GOMAXPROCS": "1", "HOME": str(folder)},
        )  # fmt: skip

    forwarding.measure(run, NAME, header=CERTIFICATE.encode(), app=app, proxy=proxy)
