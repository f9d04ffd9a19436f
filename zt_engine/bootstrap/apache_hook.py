"""Settings -> the virtual host for Apache httpd, and the file with the proxy's key that it includes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zt_engine.bootstrap.hook_files import absolute, keep_private, spoken
from zt_engine.bootstrap.hook_table import fitting
from zt_engine.bootstrap.identity import secret_file
from zt_engine.bootstrap.nginx_hook import BACKEND, PLAIN_LISTEN, chosen_hosts
from zt_engine.config import Proxy, Settings
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.sidecar.hooks.apache_config import ApacheBlock, key_line

TLS_LISTEN = ("*:443",)
INCLUDE_SUFFIX = ".apache.conf"
MODULES = Path("/usr/lib/apache2/modules")


def apache_block(
    settings: Settings,
    proxy: Proxy,
    *,
    backend: str = BACKEND,
    listen: Sequence[str] = (),
    service: str | None = None,
    server_names: Sequence[str] = (),
    sidecar: str | None = None,
    browser: str | None = None,
    certificate: Path | None = None,
    certificate_key: Path | None = None,
    device_cas: Path | None = None,
    root: Path | None = None,
    modules: Path = MODULES,
) -> ApacheBlock:
    """Return what the virtual host depends on. What is not given comes from the settings; `root` asks for all of it.

    Raises ConfigError SERVICE_AMBIGUOUS, SERVICE_UNKNOWN, SERVER_NAME_UNKNOWN, CONFIG_LISTEN or PROXY_HOOK_OTHER.
    """
    fitting(proxy, "apache")
    asked = sidecar or next(iter(settings.sidecar.fastcgi_listen), "")
    if not asked:
        hint = 'sidecar.fastcgi_listen = ["127.0.0.1:9194"]'
        message = "the sidecar has no FastCGI listener"
        raise ConfigError((Problem(code="CONFIG_LISTEN", message=message, where="sidecar.fastcgi_listen", hint=hint),))
    if device_cas is None and certificate is not None:
        device_cas = settings.path(settings.policy.folder) / "device-cas.pem"
        device_cas = device_cas if device_cas.exists() else None
    return ApacheBlock(
        proxy=proxy.name,
        server_names=chosen_hosts(settings, proxy, service=service, server_names=server_names),
        listen=tuple(listen) or (TLS_LISTEN if certificate is not None else PLAIN_LISTEN),
        sidecar=asked,
        backend=backend,
        key_include="" if proxy.key_file is None else str(key_include(settings, proxy.key_file)),
        certificate=absolute(certificate),
        certificate_key=absolute(certificate_key),
        device_cas=absolute(device_cas),
        enforces=tuple(proxy.enforces),
        root=absolute(root),
        modules=str(modules),
        browser=browser or next(map(spoken, settings.sidecar.browser_listen), ""),
    )


def key_include(settings: Settings, key_file: Path) -> Path:
    """Return the path of the include file: beside the key, with another ending."""
    return settings.path(key_file).with_suffix(INCLUDE_SUFFIX).resolve()


def write_key_include(settings: Settings, proxy: Proxy) -> Path | None:
    """Write the include file anew if the key has changed, for its owner's eyes only; returns its path if it did."""
    if proxy.key_file is None:
        return None
    content = key_line(secret_file(settings.path(proxy.key_file))).encode("ascii")
    path = key_include(settings, proxy.key_file)
    return keep_private(path, content)
