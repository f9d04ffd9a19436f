"""`zt hook caddy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zt_engine.bootstrap.caddy_hook import caddy_site, write_key_copy
from zt_engine.bootstrap.nginx_hook import BACKEND, find_proxy
from zt_engine.cli.hook_notes import tell_key_copy, tell_unenforced
from zt_engine.cli.hook_options import (
    BackendHttp2,
    Certificate,
    Config,
    DeviceCas,
    Lang,
    PrivateKey,
    ProxyName,
    ServerName,
    Service,
)
from zt_engine.cli.output import chosen_language
from zt_engine.config import CONFIG_NAME, load
from zt_engine.sidecar.hooks.caddyfile import render


def caddy(
    config: Config = Path(CONFIG_NAME),
    proxy: ProxyName = None,
    backend: Annotated[str, typer.Option(help="What Caddy protects: HOST:PORT or unix:/path.")] = BACKEND,
    listen: Annotated[
        list[str] | None,
        typer.Option(help="PORT or ADDRESS:PORT; may be repeated. Default: 443 with a certificate, else this machine."),
    ] = None,
    service: Service = None,
    server_name: ServerName = None,
    certificate: Certificate = None,
    certificate_key: PrivateKey = None,
    device_cas: DeviceCas = None,
    backend_http2: BackendHttp2 = False,
    key_file: Annotated[
        Path | None, typer.Option(help="Where Caddy finds the proxy's key. Default: a copy beside the key file.")
    ] = None,
    site: Annotated[bool, typer.Option("--site", help="The site alone, to be imported beside others.")] = False,
    lang: Lang = None,
) -> None:
    """Print a complete Caddyfile for one service and its backend, for Caddy 2.8 or later (docs/hooks/caddy.md).

    The key of the proxy does not stand in it: Caddy reads it from a file.
    """
    language = chosen_language(lang)
    settings = load(config)
    chosen = find_proxy(settings, proxy)
    printed = caddy_site(
        settings,
        chosen,
        backend=backend,
        listen=listen or (),
        service=service,
        server_names=server_name or (),
        certificate=certificate,
        certificate_key=certificate_key,
        device_cas=device_cas,
        backend_http2=backend_http2,
        key_file=key_file,
        alone=not site,
    )
    text = render(printed)
    if key_file is None:
        tell_key_copy(language, write_key_copy(settings, chosen), kind="Caddy")
    tell_unenforced(language, chosen.name, printed.unenforced)
    print(text, end="")
