"""What does the question cost through HAProxy: against the same listener deciding nothing?

Two HAProxys of one thread on core 0, each with what `zt hook haproxy` prints; what they ask, their backend and wrk
share core 1. wrk shows no client certificate, so it comes in a header that the action takes in its place.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import forwarding
from benchmarks.bench import Run
from benchmarks.processes import Contestant, free_port
from benchmarks.site import Site
from tests.peers import find_peer
from zt_engine.sidecar.hooks.haproxy_config import HaproxyBlock, render, render_lua

NAME = "haproxy"
NEEDS = ("wrk",)
CERTIFICATE = "Bench-Certificate"


def measure(run: Run) -> None:
    """Alternate the two of them."""

    def proxy(site: Site, folder: Path, hosts: tuple[str, ...], _who: str, asked: int, backend: int) -> Contestant:
        folder.mkdir()
        port, ready = free_port(), free_port()
        key, lua = folder / "pep.key", folder / "zt.lua"
        key.write_text(site.sandbox.pep_key)
        key.chmod(0o600)
        block = HaproxyBlock(
            proxy="front", server_names=hosts, listen=(f"127.0.0.1:{port}",), sidecar=(f"127.0.0.1:{asked}",),
            backend=f"127.0.0.1:{backend}", lua=str(lua), key_file=str(key),
        )  # fmt: skip
        header = f'sent["{CERTIFICATE.lower()}"]'
        taken = f'{header} and {{ ":" .. {header}[0] .. ":" }} or NOTHING'
        lua.write_text(
            forwarding.edited(render_lua(block), {'["client-cert"] = certificate(txn)': f'["client-cert"] = {taken}'})
        )
        text = forwarding.edited(
            render(block),
            {
                "global\n": "global\n    nbthread 1\n",
                "    http-request set-header Zt-Request-Id": f"    http-request del-header {CERTIFICATE}\n"
                "    http-request set-header Zt-Request-Id",
            },
        )
        text += f"\nfrontend ready\n    mode http\n    timeout client 5s\n    bind 127.0.0.1:{ready}\n"
        config = folder / "haproxy.cfg"
        config.write_text(text + "    http-request return status 200\n")
        executable = find_peer(NAME)
        assert executable is not None
        return Contestant(
            NAME, [executable, "-f", config], core=run.core, log=folder / "output", port=port,
            ready=f"http://127.0.0.1:{ready}/",
        )  # fmt: skip

    forwarding.measure(run, NAME, header=CERTIFICATE.encode(), app=forwarding.asked_by_key(run, NAME), proxy=proxy)
