"""`zt hook envoy`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zt_engine.bootstrap.envoy_hook import envoy_config, write_key_environment
from zt_engine.bootstrap.nginx_hook import BACKEND, find_proxy
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
from zt_engine.sidecar.hooks.envoy_config import SESSION_SECONDS, render

WROTE = {
    "en": "zt: wrote {path}, which holds the proxy's key for the environment of Envoy; it is yours alone to read",
    "ja": "zt: 鍵を含む {path} を作成しました。Envoy の環境変数として渡してください（所有者のみ読み取り可）",
}


def envoy(
    config: Config = Path(CONFIG_NAME),
    proxy: ProxyName = None,
    grpc: Annotated[bool, typer.Option("--grpc", help="Ask over gRPC instead of HTTP.")] = False,
    backend: Annotated[str, typer.Option(help="What Envoy protects: HOST:PORT or unix:/path.")] = BACKEND,
    listen: Annotated[
        list[str] | None,
        typer.Option(help="ADDRESS:PORT; may be repeated. Default: port 443 with a certificate, else this machine."),
    ] = None,
    service: Service = None,
    server_name: ServerName = None,
    certificate: Certificate = None,
    certificate_key: PrivateKey = None,
    device_cas: DeviceCas = None,
    backend_http2: BackendHttp2 = False,
    client_certificate: Annotated[
        Path | None, typer.Option(help="With --grpc over TCP: what Envoy shows to the sidecar (PEM).")
    ] = None,
    client_key: PrivateKey = None,
    sidecar_ca: Annotated[Path | None, typer.Option(help="CA of the sidecar's certificate (PEM).")] = None,
    sidecar_name: Annotated[str, typer.Option(help="DNS name in the sidecar's certificate.")] = "",
    session: Annotated[int, typer.Option(help="The longest that a stream may last, in seconds.")] = SESSION_SECONDS,
    request_body: Annotated[
        int, typer.Option(help="For a proxy with `rego`: tell the rule bodies up to so many bytes, refuse longer ones.")
    ] = 0,
    lang: Lang = None,
) -> None:
    """Print a complete configuration for one service and its backend, for Envoy 1.40 or later (docs/hooks/envoy.md).

    The key of the proxy does not stand in it: Envoy takes it from its environment, and a file for that is written
    beside the key file.
    """
    language = chosen_language(lang)
    settings = load(config)
    chosen = find_proxy(settings, proxy)
    printed = envoy_config(
        settings,
        chosen,
        grpc=grpc,
        backend=backend,
        listen=listen or (),
        service=service,
        server_names=server_name or (),
        certificate=certificate,
        certificate_key=certificate_key,
        device_cas=device_cas,
        backend_http2=backend_http2,
        client_certificate=client_certificate,
        client_key=client_key,
        sidecar_ca=sidecar_ca,
        sidecar_name=sidecar_name,
        session=session,
        request_body=request_body,
    )
    text = render(printed)
    written = write_key_environment(settings, chosen)
    if written is not None:
        print(WROTE[language].format(path=written), file=sys.stderr)
    tell_unenforced(language, chosen.name, printed.unenforced)
    print(text, end="")
