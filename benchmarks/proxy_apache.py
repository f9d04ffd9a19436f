"""What does the question cost through Apache httpd: against the same listener deciding nothing?

Two httpds on core 0, each with what `zt hook apache` prints; what they ask over FastCGI, with a connection for each
question, their backend and wrk share core 1. wrk shows no client certificate, so it comes in a header that stands in
the place of what httpd has verified.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote_from_bytes

from benchmarks import contestants, forwarding
from benchmarks.bench import Run
from benchmarks.processes import Contestant, free_port
from benchmarks.site import Site
from tests.peers import find_peer
from zt_engine.sidecar.hooks.apache_config import ApacheBlock, key_line, render

NAME = "apache"
NEEDS = ("wrk",)
CERTIFICATE = "Bench-Certificate"
SCHEME = '    SetEnvIfExpr "true" ZT_SCHEME=http\n'
SHOWN = f"""\
    SetEnvIfExpr "true" ZT_CLIENT_VERIFY=SUCCESS
    SetEnvIfExpr "unescape(%{{HTTP:{CERTIFICATE}}}) =~ /((?s).+)/" ZT_CLIENT_CERT=$1
"""
READY = """
Listen 127.0.0.1:{ready}
<VirtualHost 127.0.0.1:{ready}>
    ServerName ready
    <Location "/">
        Require all granted
    </Location>
    ProxyPass "/" "http://127.0.0.1:{backend}/"
</VirtualHost>
"""


def measure(run: Run) -> None:
    """Alternate the two of them."""

    def app(site: Site, folder: Path, answer: bytes, who: str) -> Contestant:
        port = free_port()
        if who == "noop":
            return contestants.noop("noop_fastcgi", port, folder, answer, core=run.client_core)

        def settings(text: str) -> str:
            text = text.replace('hook = "nginx"', 'hook = "apache"')
            return text.replace("[sidecar]\n", f'[sidecar]\nfastcgi_listen = ["127.0.0.1:{port}"]\n', 1)

        found = contestants.sidecar_with(settings, site, folder, core=run.client_core)
        found.wait_ready()
        found.port = port
        return found

    def proxy(site: Site, folder: Path, hosts: tuple[str, ...], _who: str, asked: int, backend: int) -> Contestant:
        folder.mkdir()
        port, ready = free_port(), free_port()
        include = folder / "pep.apache.conf"
        include.write_text(key_line(site.sandbox.pep_key.encode()))
        include.chmod(0o600)
        block = ApacheBlock(
            proxy="front", server_names=hosts, listen=(f"127.0.0.1:{port}",), sidecar=f"127.0.0.1:{asked}",
            backend=f"127.0.0.1:{backend}", key_include=str(include), root=str(folder),
        )  # fmt: skip
        text = forwarding.edited(
            render(block),
            {
                SCHEME: SCHEME + SHOWN,
                "    ProxyAddHeaders Off": f"    RequestHeader unset {CERTIFICATE}\n    ProxyAddHeaders Off",
            },
        )
        config = folder / "httpd.conf"
        config.write_text(text + READY.format(ready=ready, backend=backend))
        executable = find_peer(NAME)
        assert executable is not None
        return Contestant(
            NAME, [executable, "-f", config, "-DFOREGROUND"], core=run.core, log=folder / "output", port=port,
            ready=f"http://127.0.0.1:{ready}/",
        )  # fmt: skip

    forwarding.measure(
        run, NAME, header=CERTIFICATE.encode(), app=app, proxy=proxy,
        written=lambda pem: quote_from_bytes(pem, safe="/+=-").encode("ascii"),
    )  # fmt: skip
