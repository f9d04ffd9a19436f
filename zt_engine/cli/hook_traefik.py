"""`zt hook traefik`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zt_engine.bootstrap.nginx_hook import BACKEND, find_proxy
from zt_engine.bootstrap.traefik_hook import FOLDER, traefik_config
from zt_engine.cli.hook_notes import tell_unenforced
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
from zt_engine.sidecar.hooks.traefik_config import render_dynamic, render_static


def traefik(
    sidecar_ca: Annotated[Path, typer.Option(help="CAs (PEM) of the certificate that the sidecar shows.")],
    client_certificate: Annotated[Path, typer.Option(help="The certificate that Traefik shows the sidecar (PEM).")],
    client_key: Annotated[Path, typer.Option(help="Its private key (PEM), which Traefik alone may read.")],
    config: Config = Path(CONFIG_NAME),
    proxy: ProxyName = None,
    backend: Annotated[str, typer.Option(help="What Traefik protects: HOST:PORT.")] = BACKEND,
    listen: Annotated[
        str, typer.Option(help="The entry point. Default: :443 with a certificate, else this machine.")
    ] = "",
    sidecar: Annotated[
        str, typer.Option(help="HOST:PORT of the sidecar, a name of its certificate. Default: its TLS listener.")
    ] = "",
    service: Service = None,
    server_name: ServerName = None,
    certificate: Certificate = None,
    certificate_key: PrivateKey = None,
    device_cas: DeviceCas = None,
    backend_http2: BackendHttp2 = False,
    folder: Annotated[Path, typer.Option(help="From which Traefik reads the services.")] = FOLDER,
    static: Annotated[
        bool, typer.Option("--static", help="Print what Traefik starts with, instead of the service.")
    ] = False,
    lang: Lang = None,
) -> None:
    """Print the configuration of one service and its backend, for Traefik 3.6.20 or later (docs/hooks/traefik.md).

    With --static the file that Traefik starts with: the entry point, and where the services stand.
    """
    language = chosen_language(lang)
    settings = load(config)
    chosen = find_proxy(settings, proxy)
    printed = traefik_config(
        settings,
        chosen,
        sidecar_ca=sidecar_ca,
        client_certificate=client_certificate,
        client_key=client_key,
        backend=backend,
        listen=listen,
        service=service,
        server_names=server_name or (),
        sidecar=sidecar,
        folder=folder,
        certificate=certificate,
        certificate_key=certificate_key,
        device_cas=device_cas,
        backend_http2=backend_http2,
    )
    text = render_static(printed) if static else render_dynamic(printed)
    tell_unenforced(language, chosen.name, printed.unenforced)
    print(text, end="")
