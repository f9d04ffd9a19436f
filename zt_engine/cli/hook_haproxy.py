"""`zt hook haproxy`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zt_engine.bootstrap.haproxy_hook import haproxy_block, write_lua
from zt_engine.bootstrap.nginx_hook import BACKEND, find_proxy
from zt_engine.cli.hook_notes import tell_unenforced
from zt_engine.cli.hook_options import Config, DeviceCas, Lang, ProxyName, ServerName, Service
from zt_engine.cli.output import chosen_language
from zt_engine.config import CONFIG_NAME, load
from zt_engine.sidecar.hooks.haproxy_config import render

WROTE = {
    "en": "zt: wrote {path}, the Lua action that the configuration loads; HAProxy reads it when it starts",
    "ja": "zt: 設定から読み込まれる Lua アクション {path} を作成しました。HAProxy は起動時に読み込みます",
}


def haproxy(
    config: Config = Path(CONFIG_NAME),
    proxy: ProxyName = None,
    backend: Annotated[str, typer.Option(help="What HAProxy protects: HOST:PORT or unix:/path.")] = BACKEND,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            help="Where HAProxy listens; may be repeated. Default: 443 with a certificate, else this machine."
        ),
    ] = None,
    service: Service = None,
    server_name: ServerName = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="TLS certificate chain and private key in one file (PEM), or the key in FILE.key."),
    ] = None,
    device_cas: DeviceCas = None,
    user: Annotated[
        str | None, typer.Option(help="Whom HAProxy becomes, if root starts it. Default: haproxy with a certificate.")
    ] = None,
    lua: Annotated[
        Path | None,
        typer.Option(help="Where the Lua action is written. Default: beside the key, one for each frontend."),
    ] = None,
    lang: Lang = None,
) -> None:
    """Print a complete haproxy.cfg for one service and its backend, for HAProxy 2.6 or later (docs/hooks/haproxy.md).

    The Lua action that asks the sidecar is written beside it. The key of the proxy stands in neither: the action reads
    it from the key file.
    """
    language = chosen_language(lang)
    settings = load(config)
    chosen = find_proxy(settings, proxy)
    block = haproxy_block(
        settings,
        chosen,
        backend=backend,
        listen=listen or (),
        service=service,
        server_names=server_name or (),
        certificate=certificate,
        device_cas=device_cas,
        user=user,
        lua=lua,
    )
    text = render(block)
    written = write_lua(block)
    if written is not None:
        print(WROTE[language].format(path=written), file=sys.stderr)
    tell_unenforced(language, chosen.name, block.unenforced)
    print(text, end="")
