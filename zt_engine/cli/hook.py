"""`zt hook`: what a reverse proxy needs to ask this sidecar."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zt_engine.bootstrap.nginx_hook import BACKEND, find_proxy, nginx_block, write_key_include
from zt_engine.cli.hook_apache import apache
from zt_engine.cli.hook_caddy import caddy
from zt_engine.cli.hook_envoy import envoy
from zt_engine.cli.hook_haproxy import haproxy
from zt_engine.cli.hook_notes import tell_unenforced
from zt_engine.cli.hook_options import Certificate, Config, DeviceCas, Lang, PrivateKey, ProxyName, ServerName, Service
from zt_engine.cli.hook_traefik import traefik
from zt_engine.cli.output import chosen_language
from zt_engine.config import CONFIG_NAME, load
from zt_engine.sidecar.hooks.snippet import render

app = typer.Typer(no_args_is_help=True)
app.command()(haproxy)
app.command()(apache)
app.command()(caddy)
app.command()(traefik)
app.command()(envoy)

WROTE = {
    "en": "zt: wrote {path}, which the block includes; it holds the proxy's key and is yours alone to read",
    "ja": "zt: 鍵を含む {path} を作成しました。設定から読み込まれます（所有者のみ読み取り可）",
}


@app.callback()
def group() -> None:
    """Print what a reverse proxy needs."""


@app.command()
def nginx(
    config: Config = Path(CONFIG_NAME),
    proxy: ProxyName = None,
    backend: Annotated[str, typer.Option(help="What nginx protects: HOST:PORT or unix:/path.")] = BACKEND,
    listen: Annotated[
        list[str] | None,
        typer.Option(help="Where nginx listens; may be repeated. Default: 443 with a certificate, else this machine."),
    ] = None,
    service: Service = None,
    server_name: ServerName = None,
    certificate: Certificate = None,
    certificate_key: PrivateKey = None,
    device_cas: DeviceCas = None,
    lang: Lang = None,
) -> None:
    """Print a complete server block for one service and its backend, for nginx 1.22 or later (docs/hooks/nginx.md).

    With several services, print one for each: the blocks stand side by side.

    The key of the proxy does not stand in it: it is kept in a file beside the key file, which the block includes.
    """
    language = chosen_language(lang)
    settings = load(config)
    chosen = find_proxy(settings, proxy)
    block = nginx_block(
        settings,
        chosen,
        backend=backend,
        listen=listen or (),
        service=service,
        server_names=server_name or (),
        certificate=certificate,
        certificate_key=certificate_key,
        device_cas=device_cas,
    )
    text = render(block)
    written = write_key_include(settings, chosen)
    if written is not None:
        print(WROTE[language].format(path=written), file=sys.stderr)
    tell_unenforced(language, chosen.name, block.unenforced)
    print(text, end="")
