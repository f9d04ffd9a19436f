"""Settings -> the configuration of Traefik."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zt_engine.bootstrap.hook_files import absolute
from zt_engine.bootstrap.hook_table import fitting
from zt_engine.bootstrap.nginx_hook import BACKEND, PLAIN_LISTEN, chosen_hosts
from zt_engine.config import Proxy, Settings
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.sidecar.hooks.traefik_config import TraefikConfig

TLS_LISTEN = ":443"
FOLDER = Path("/etc/traefik/dynamic")
WILDCARDS = ("0.0.0.0:", "[::]:")


def traefik_config(
    settings: Settings,
    proxy: Proxy,
    *,
    sidecar_ca: Path,
    client_certificate: Path,
    client_key: Path,
    backend: str = BACKEND,
    listen: str = "",
    service: str | None = None,
    server_names: Sequence[str] = (),
    sidecar: str = "",
    browser: Sequence[str] = (),
    folder: Path = FOLDER,
    certificate: Path | None = None,
    certificate_key: Path | None = None,
    device_cas: Path | None = None,
    backend_http2: bool = False,
) -> TraefikConfig:
    """Return what the texts depend on; what is not given comes from the settings, as for nginx.

    Raises ConfigError SERVICE_AMBIGUOUS, SERVICE_UNKNOWN, SERVER_NAME_UNKNOWN, CONFIG_LISTEN, or PROXY_HOOK_OTHER.
    """
    fitting(proxy, "traefik")
    if device_cas is None and certificate is not None:
        device_cas = settings.path(settings.policy.folder) / "device-cas.pem"
        device_cas = device_cas if device_cas.exists() else None
    return TraefikConfig(
        proxy=proxy.name,
        server_names=chosen_hosts(settings, proxy, service=service, server_names=server_names),
        listen=listen or (TLS_LISTEN if certificate is not None else PLAIN_LISTEN[0]),
        sidecar=sidecar or _sidecar(settings),
        backend=backend,
        sidecar_ca=absolute(sidecar_ca),
        client_certificate=absolute(client_certificate),
        client_key=absolute(client_key),
        folder=absolute(folder),
        certificate=absolute(certificate),
        certificate_key=absolute(certificate_key),
        device_cas=absolute(device_cas),
        backend_http2=backend_http2,
        enforces=tuple(proxy.enforces),
        browser=tuple(browser) or named(settings.sidecar.browser_tls_listen),
    )


def _sidecar(settings: Settings) -> str:
    """Return the first TLS listener, unless it is every address of a machine whose name nobody has said."""
    for address in named(settings.sidecar.tls_listen):
        return address
    message = "where Traefik reaches the sidecar over TLS is not said"
    hint = 'sidecar.tls_listen = ["127.0.0.1:9443"], or --sidecar HOST:PORT'
    raise ConfigError((Problem(code="CONFIG_LISTEN", message=message, where="sidecar.tls_listen", hint=hint),))


def named(listen: Sequence[str]) -> tuple[str, ...]:
    """Return those of the listeners that say under which name or address they are reached."""
    return tuple(address for address in listen if not address.startswith(WILDCARDS))
