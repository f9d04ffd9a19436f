"""Options that every `zt hook` command has, with one name and one help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Option(envvar="ZT_CONFIG", help="The configuration file.")]
ProxyName = Annotated[str | None, typer.Option(help="Which proxy; may be left out if there is one.")]
Service = Annotated[
    str | None, typer.Option(help="Whose backend this is, with all its hosts. May be left out if there is one.")
]
ServerName = Annotated[list[str] | None, typer.Option(help="Only these hosts of the service; may be repeated.")]
Certificate = Annotated[Path | None, typer.Option(help="TLS certificate chain (PEM).")]
PrivateKey = Annotated[Path | None, typer.Option(help="Its private key (PEM).")]
DeviceCas = Annotated[
    Path | None, typer.Option(help="CAs of device certificates. Default: device-cas.pem of the policy folder.")
]
BackendHttp2 = Annotated[
    bool, typer.Option("--backend-http2", help="The backend speaks HTTP/2 without TLS, as services of gRPC do.")
]
Lang = Annotated[str | None, typer.Option(help="ja or en, for notes on standard error.")]
