"""Settings -> the Caddyfile, and the file from which Caddy reads the proxy's key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from zt_engine.bootstrap.hook_files import absolute, keep_private
from zt_engine.bootstrap.hook_table import fitting
from zt_engine.bootstrap.identity import secret_file
from zt_engine.bootstrap.nginx_hook import BACKEND, PLAIN_LISTEN, chosen_hosts
from zt_engine.config import UNIX, Proxy, Settings
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.sidecar.hooks.caddyfile import CaddySite

TLS_LISTEN = ("443",)
KEY_SUFFIX = ".caddy.key"


def caddy_site(
    settings: Settings,
    proxy: Proxy,
    *,
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
    key_file: Path | None = None,
    alone: bool = True,
) -> CaddySite:
    """Return what the site depends on; what is not given comes from the settings, as for nginx.

    Raises ConfigError SERVICE_AMBIGUOUS, SERVICE_UNKNOWN, SERVER_NAME_UNKNOWN, CONFIG_LISTEN, or PROXY_HOOK_OTHER.
    """
    fitting(proxy, "caddy")
    if device_cas is None and certificate is not None:
        device_cas = settings.path(settings.policy.folder) / "device-cas.pem"
        device_cas = device_cas if device_cas.exists() else None
    if proxy.key_file is not None:
        key_file = key_file or key_copy(settings, proxy.key_file)
    return CaddySite(
        proxy=proxy.name,
        server_names=chosen_hosts(settings, proxy, service=service, server_names=server_names),
        listen=tuple(listen) or (TLS_LISTEN if certificate is not None else PLAIN_LISTEN),
        sidecar=_addresses(tuple(sidecar) or settings.sidecar.listen, proxy),
        backend=_upstream(backend),
        key_file="" if proxy.key_file is None else absolute(key_file),
        certificate=absolute(certificate),
        certificate_key=absolute(certificate_key),
        device_cas=absolute(device_cas),
        backend_http2=backend_http2,
        enforces=tuple(proxy.enforces),
        alone=alone,
        browser=tuple(map(_upstream, tuple(browser) or settings.sidecar.browser_listen)),
    )


def key_copy(settings: Settings, key_file: Path) -> Path:
    """Return the path of the copy for Caddy: beside the key, with another ending."""
    return settings.path(key_file).with_suffix(KEY_SUFFIX).resolve()


def write_key_copy(settings: Settings, proxy: Proxy) -> Path | None:
    """Write Caddy's copy of the key anew if the key has changed, for its owner's eyes only; returns its path if it did.

    It is a copy because Caddy reads it as its own user, and the sidecar's file may belong to nobody but the sidecar.
    """
    if proxy.key_file is None:
        return None
    content = secret_file(settings.path(proxy.key_file))
    path = key_copy(settings, proxy.key_file)
    return keep_private(path, content)


def _addresses(listen: Sequence[str], proxy: Proxy) -> tuple[str, ...]:
    """Prefer a Unix socket, which is faster; a proxy that is known by its user id needs one."""
    unix = tuple(address for address in listen if address.startswith(UNIX))
    if not unix and proxy.key_file is None:
        hint = 'sidecar.listen = ["unix:/run/zt/sidecar.sock"]'
        message = f"proxy `{proxy.name}` is known by its user id, and the sidecar listens on no Unix socket"
        raise ConfigError((Problem(code="CONFIG_LISTEN", message=message, where="sidecar.listen", hint=hint),))
    return tuple(map(_upstream, unix or listen))


def _upstream(address: str) -> str:
    return "unix/" + os.path.abspath(address[len(UNIX) :]) if address.startswith(UNIX) else address
