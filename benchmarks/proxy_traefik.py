"""What does the question cost through Traefik: against the same listener deciding nothing?

Two Traefiks of one thread on core 0, each with what `zt hook traefik` prints; what they ask, their backend and wrk
share core 1. Both are asked over mutual TLS, of which Traefik keeps two connections: under load most questions begin
with a handshake. wrk shows no client certificate, so Traefik is told to believe the header of whoever asks it.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from benchmarks import contestants, forwarding
from benchmarks.bench import Run
from benchmarks.processes import Contestant, free_port
from benchmarks.site import Site
from tests.peers import find_peer
from tests.proxies.asking import NAME as SHOWN
from tests.proxies.asking import Inside
from zt_engine.sidecar.hooks.traefik_config import TraefikConfig, render_dynamic, render_static

NAME = "traefik"
NEEDS = ("wrk",)
CERTIFICATE = "X-Forwarded-Tls-Client-Cert"


def measure(run: Run) -> None:
    """Alternate the two of them."""
    inside = Inside(run.folder / "traefik-inside")

    def app(site: Site, folder: Path, answer: bytes, who: str) -> Contestant:
        port = free_port()
        if who == "noop":
            mutual = (*inside.sidecar, inside.authority.path)
            return contestants.noop("noop_listener", port, folder, answer, *mutual, core=run.client_core)
        settings = partial(configured, inside=inside, port=port)
        found = contestants.sidecar_with(settings, site, folder, core=run.client_core)
        found.wait_ready()
        found.port = port
        return found

    def proxy(_site: Site, folder: Path, hosts: tuple[str, ...], _who: str, asked: int, backend: int) -> Contestant:
        services = folder / "services"
        services.mkdir(parents=True)
        port = free_port()
        config = TraefikConfig(
            proxy="front", server_names=hosts, listen=f"127.0.0.1:{port}", sidecar=f"127.0.0.1:{asked}",
            backend=f"127.0.0.1:{backend}", sidecar_ca=str(inside.authority.path),
            client_certificate=str(inside.front.certificate), client_key=str(inside.front.key), folder=str(services),
        )  # fmt: skip
        static = forwarding.edited(render_static(config), {"insecure: false": "insecure: true"})
        static += "ping:\n  entryPoint: ready\n"
        ready = free_port()
        static = static.replace("entryPoints:\n", f'entryPoints:\n  ready:\n    address: "127.0.0.1:{ready}"\n', 1)
        (folder / "traefik.yaml").write_text(static)
        dynamic = forwarding.edited(render_dynamic(config), {f'          {CERTIFICATE}: ""\n': ""})
        (services / "service.yaml").write_text(dynamic)
        executable = find_peer(NAME)
        assert executable is not None
        return Contestant(
            NAME, [executable, f"--configfile={folder / 'traefik.yaml'}"], core=run.core, log=folder / "output",
            port=port, ready=f"http://127.0.0.1:{ready}/ping", env={"GOMAXPROCS": "1", "HOME": str(folder)},
        )  # fmt: skip

    forwarding.measure(run, NAME, header=CERTIFICATE.encode(), app=app, proxy=proxy)


def configured(text: str, inside: Inside, port: int) -> str:
    """Return an installation's settings with Traefik as its one proxy, and a TLS listener."""
    text = text.replace('hook = "nginx"', 'hook = "traefik"')
    text = re.sub(r"^key_file = .keys/pep.key.*$", f'certificate_names = ["{SHOWN}"]', text, flags=re.MULTILINE)
    lines = (
        f'tls_listen = ["127.0.0.1:{port}"]\ntls_certificate = "{inside.sidecar.certificate}"\n'
        f'tls_key = "{inside.sidecar.key}"\ntls_client_ca = "{inside.authority.path}"\n'
    )
    return text.replace("[sidecar]\n", "[sidecar]\n" + lines, 1)
