"""`zt hook apache`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from zt_engine.bootstrap.apache_hook import MODULES, apache_block, write_key_include
from zt_engine.bootstrap.nginx_hook import BACKEND, find_proxy
from zt_engine.cli.hook_notes import tell_key_copy, tell_unenforced
from zt_engine.cli.hook_options import Certificate, Config, DeviceCas, Lang, PrivateKey, ProxyName, ServerName, Service
from zt_engine.cli.output import chosen_language
from zt_engine.config import CONFIG_NAME, load
from zt_engine.sidecar.hooks.apache_config import EMPTY, render


def apache(
    config: Config = Path(CONFIG_NAME),
    proxy: ProxyName = None,
    backend: Annotated[str, typer.Option(help="What httpd protects: HOST:PORT.")] = BACKEND,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            help="Where httpd listens; may be repeated. Default: *:443 with a certificate, else this machine."
        ),
    ] = None,
    service: Service = None,
    server_name: ServerName = None,
    certificate: Certificate = None,
    certificate_key: PrivateKey = None,
    device_cas: DeviceCas = None,
    root: Annotated[
        Path | None, typer.Option(help="Print a whole httpd.conf for this folder, not the virtual host alone.")
    ] = None,
    modules: Annotated[Path, typer.Option(help="Where the modules lie, for a whole httpd.conf.")] = MODULES,
    lang: Lang = None,
) -> None:
    """Print the virtual host of one service and its backend, for Apache httpd 2.4 (docs/hooks/apache.md).

    The key of the proxy does not stand in it: it is kept in a file beside the key file, which the host includes.
    """
    language = chosen_language(lang)
    settings = load(config)
    chosen = find_proxy(settings, proxy)
    block = apache_block(
        settings,
        chosen,
        backend=backend,
        listen=listen or (),
        service=service,
        server_names=server_name or (),
        certificate=certificate,
        certificate_key=certificate_key,
        device_cas=device_cas,
        root=root,
        modules=modules,
    )
    text = render(block)
    tell_key_copy(language, write_key_include(settings, chosen), kind="httpd")
    tell_unenforced(language, chosen.name, block.unenforced)
    if root is not None:
        # Without the folder httpd warns at each start, and serves as little.
        with contextlib.suppress(OSError):
            (root / EMPTY).mkdir(exist_ok=True)
    print(text, end="")
