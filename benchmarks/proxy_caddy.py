"""What does the question cost through Caddy: against the same listener deciding nothing?

Two Caddys of one thread on core 0, each with what `zt hook caddy` prints; what they ask, their backend and wrk share
core 1. wrk shows no client certificate, so it comes in a header that the site moves to where Caddy's own stands.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import forwarding
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

    forwarding.measure(run, NAME, header=CERTIFICATE.encode(), app=forwarding.asked_by_key(run, NAME), proxy=proxy)
