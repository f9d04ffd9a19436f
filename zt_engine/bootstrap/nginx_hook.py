"""Settings -> the nginx server block, and the file with the proxy's key that it includes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.bootstrap.hook_files import absolute, keep_private, spoken
from zt_engine.bootstrap.hook_table import fitting
from zt_engine.bootstrap.identity import secret_file
from zt_engine.config import UNIX, Proxy, Settings
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.sidecar.hooks.snippet import NginxBlock, key_line

PLAIN_LISTEN = ("127.0.0.1:8000",)
"""Without a certificate the block serves this machine only: enough to try it, and no plain text on a network."""
TLS_LISTEN = ("443", "[::]:443")
BACKEND = "127.0.0.1:8080"
INCLUDE_SUFFIX = ".nginx.conf"


def find_proxy(settings: Settings, name: str | None) -> Proxy:
    """Return the named proxy of the settings, or the only one; raises ConfigError PROXY_UNKNOWN."""
    known = {proxy.name: proxy for proxy in settings.proxies}
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name in known:
        return known[name]
    message = "the settings have more than one proxy" if name is None else f"`{name}` is no proxy of the settings"
    hint = "--proxy " + " or ".join(known)
    raise ConfigError((Problem(code="PROXY_UNKNOWN", message=message, where="proxies", hint=hint),))


def nginx_block(
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
) -> NginxBlock:
    """Return what the block depends on. What is not given comes from the settings.

    One block has one backend, so its hosts belong to one service: `service`, that of `server_names`, or the only one
    the proxy speaks for. `sidecar` replaces `sidecar.listen` of the settings, for one that was started on free ports.
    Raises ConfigError SERVICE_AMBIGUOUS, SERVICE_UNKNOWN, SERVER_NAME_UNKNOWN, CONFIG_LISTEN, or PROXY_HOOK_OTHER.
    """
    fitting(proxy, "nginx")
    addresses = _addresses(tuple(sidecar) or settings.sidecar.listen, proxy)
    if device_cas is None and certificate is not None:
        device_cas = settings.path(settings.policy.folder) / "device-cas.pem"
        device_cas = device_cas if device_cas.exists() else None
    return NginxBlock(
        proxy=proxy.name,
        server_names=chosen_hosts(settings, proxy, service=service, server_names=server_names),
        listen=tuple(listen) or (TLS_LISTEN if certificate is not None else PLAIN_LISTEN),
        sidecar=addresses,
        backend=backend,
        key_include="" if proxy.key_file is None else str(key_include(settings, proxy.key_file)),
        certificate=absolute(certificate),
        certificate_key=absolute(certificate_key),
        device_cas=absolute(device_cas),
        enforces=tuple(proxy.enforces),
        browser=tuple(browser) or tuple(map(spoken, settings.sidecar.browser_listen)),
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


def _addresses(listen: Sequence[str], proxy: Proxy) -> tuple[str, ...]:
    """Prefer a Unix socket, which is faster; a proxy that is known by its user id needs one."""
    unix = tuple(UNIX + os.path.abspath(address[len(UNIX) :]) for address in listen if address.startswith(UNIX))
    if unix or proxy.key_file is None:
        if not unix:
            hint = 'sidecar.listen = ["unix:/run/zt/sidecar.sock"]'
            message = f"proxy `{proxy.name}` is known by its user id, and the sidecar listens on no Unix socket"
            raise ConfigError((Problem(code="CONFIG_LISTEN", message=message, where="sidecar.listen", hint=hint),))
        return unix
    return tuple(listen)


def services(settings: Settings, proxy: Proxy) -> dict[str, tuple[str, ...]]:
    """Return the hosts of each service the proxy may speak for; empty where there is no catalogue to read.

    Raises ConfigError for a catalogue with faults: which host belongs to whom is then not known.
    """
    path = settings.path(settings.policy.folder) / "catalogue.yaml"
    try:
        catalogue = load_catalogue(path.read_bytes(), where=str(path))
    except OSError:
        return {}
    found = {
        service.id: tuple(host for host in service.hosts if not proxy.hosts or host in proxy.hosts)
        for service in catalogue.services.values()
    }
    return {name: hosts for name, hosts in found.items() if hosts}


def chosen_hosts(
    settings: Settings, proxy: Proxy, *, service: str | None, server_names: Sequence[str]
) -> tuple[str, ...]:
    """Return the hosts of one block, all of one service: whoever names one host must not reach another's backend."""
    known = services(settings, proxy)
    if service is not None and service not in known:
        raise _unclear("SERVICE_UNKNOWN", f"`{service}` has no host that proxy `{proxy.name}` may speak for", known)
    named = tuple(name.lower() for name in server_names)
    if not known:
        named = named or proxy.hosts
        if not named:
            raise _unclear("SERVER_NAME_UNKNOWN", "there is no catalogue to take the hosts from", known)
        return tuple(map(_spelt, named))
    chosen = known.values() if service is None else (known[service],)
    named = named or tuple(host for hosts in chosen for host in hosts)
    owners: set[str] = set()
    for name in named:
        served = {owner for owner, hosts in known.items() if _spelt(name) in map(_spelt, hosts)}
        if not served:
            raise _unclear("SERVER_NAME_UNKNOWN", f"`{name}` is no host that proxy `{proxy.name}` may speak for", known)
        owners |= served
    if service is not None:
        owners.add(service)
    if len(owners) > 1:
        message = f"one backend cannot be that of {len(owners)} services: " + ", ".join(sorted(owners))
        raise _unclear("SERVICE_AMBIGUOUS", message, known)
    return tuple(map(_spelt, named))


def _spelt(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _unclear(code: str, message: str, known: Mapping[str, tuple[str, ...]]) -> ConfigError:
    hint = "--service " + " or ".join(sorted(known)) if known else "--server-name HOST"
    return ConfigError((Problem(code=code, message=message, where="zt hook", hint=hint),))
