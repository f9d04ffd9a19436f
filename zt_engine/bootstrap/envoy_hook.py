"""Settings -> Envoy's configuration, and the file with the proxy's key for its environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from zt_engine.bootstrap.hook_files import absolute, keep_private, spoken
from zt_engine.bootstrap.hook_table import fitting
from zt_engine.bootstrap.identity import secret_file
from zt_engine.bootstrap.nginx_hook import BACKEND, PLAIN_LISTEN, chosen_hosts
from zt_engine.config import UNIX, Proxy, Settings
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.sidecar.hooks.envoy_config import SESSION_SECONDS, EnvoyConfig, key_line

TLS_LISTEN = ("0.0.0.0:443", "[::]:443")
ENVIRONMENT_SUFFIX = ".envoy.env"


def envoy_config(
    settings: Settings,
    proxy: Proxy,
    *,
    grpc: bool = False,
    backend: str = BACKEND,
    listen: Sequence[str] = (),
    service: str | None = None,
    server_names: Sequence[str] = (),
    sidecar: Sequence[str] = (),
    browser: Sequence[str] = (),
    certificate: Path | None = None,
    certificate_key: Path | None = None,
    device_cas: Path | None = None,
    backend_http2: bool = False,
    client_certificate: Path | None = None,
    client_key: Path | None = None,
    sidecar_ca: Path | None = None,
    sidecar_name: str = "",
    session: int = SESSION_SECONDS,
    request_body: int = 0,
) -> EnvoyConfig:
    """Return what the configuration depends on; what is not given comes from the settings, as for nginx.

    Raises ConfigError SERVICE_AMBIGUOUS, SERVICE_UNKNOWN, SERVER_NAME_UNKNOWN, CONFIG_LISTEN, or PROXY_HOOK_OTHER.
    """
    fitting(proxy, "envoy_grpc" if grpc else "envoy")
    if device_cas is None and certificate is not None:
        device_cas = settings.path(settings.policy.folder) / "device-cas.pem"
        device_cas = device_cas if device_cas.exists() else None
    return EnvoyConfig(
        proxy=proxy.name,
        hosts=chosen_hosts(settings, proxy, service=service, server_names=server_names),
        listen=tuple(listen) or (TLS_LISTEN if certificate is not None else PLAIN_LISTEN),
        sidecar=_addresses(tuple(sidecar) or _asked(settings, grpc=grpc), proxy),
        backend=backend if not backend.startswith(UNIX) else UNIX + os.path.abspath(backend[len(UNIX) :]),
        grpc=grpc,
        keyed=proxy.key_file is not None,
        certificate=absolute(certificate),
        certificate_key=absolute(certificate_key),
        device_cas=absolute(device_cas),
        backend_http2=backend_http2,
        client_certificate=absolute(client_certificate),
        client_key=absolute(client_key),
        sidecar_ca=absolute(sidecar_ca),
        sidecar_name=sidecar_name,
        rego=bool(proxy.rego),
        request_body=request_body,
        enforces=tuple(proxy.enforces),
        session=session,
        browser=() if grpc else tuple(map(spoken, tuple(browser) or settings.sidecar.browser_listen)),
    )


def key_environment(settings: Settings, key_file: Path) -> Path:
    """Return the path of the file for Envoy's environment: beside the key, with another ending."""
    return settings.path(key_file).with_suffix(ENVIRONMENT_SUFFIX).resolve()


def write_key_environment(settings: Settings, proxy: Proxy) -> Path | None:
    """Write that file anew if the key has changed, for its owner's eyes only; returns its path if it did."""
    if proxy.key_file is None:
        return None
    content = key_line(secret_file(settings.path(proxy.key_file))).encode("ascii")
    path = key_environment(settings, proxy.key_file)
    return keep_private(path, content)


def _asked(settings: Settings, *, grpc: bool) -> tuple[str, ...]:
    if not grpc:
        return settings.sidecar.listen
    if not settings.sidecar.grpc_listen:
        hint = 'sidecar.grpc_listen = ["unix:/run/zt/grpc.sock"]'
        problem = Problem(code="CONFIG_LISTEN", message="nothing listens for gRPC", where="sidecar", hint=hint)
        raise ConfigError((problem,))
    return settings.sidecar.grpc_listen


def _addresses(listen: Sequence[str], proxy: Proxy) -> tuple[str, ...]:
    """Return where this proxy can show what it is known by; of several the Unix socket, which is faster."""
    unix = tuple(UNIX + os.path.abspath(address[len(UNIX) :]) for address in listen if address.startswith(UNIX))
    tcp = tuple(address for address in listen if not address.startswith(UNIX))
    if proxy.certificate_names:
        chosen, known, wanted = tcp, "certificate", "HOST:PORT"
    else:
        chosen = unix or (tcp if proxy.key_file is not None else ())
        known, wanted = "user id", "unix:/run/zt/sidecar.sock"
    if chosen:
        return chosen
    message = f"proxy `{proxy.name}` is known by its {known}, and nothing listens where it could show it"
    problem = Problem(code="CONFIG_LISTEN", message=message, where="sidecar", hint=f"listen at `{wanted}`")
    raise ConfigError((problem,))
