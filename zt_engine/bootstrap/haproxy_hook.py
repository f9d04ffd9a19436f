"""Settings -> haproxy.cfg, and the file with its Lua action."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from zt_engine.bootstrap.hook_files import spoken
from zt_engine.bootstrap.hook_table import fitting
from zt_engine.bootstrap.identity import secret_file
from zt_engine.bootstrap.nginx_hook import BACKEND, PLAIN_LISTEN, TLS_LISTEN, chosen_hosts
from zt_engine.config import UNIX, Proxy, Settings
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.sidecar.hooks.haproxy_config import HaproxyBlock, action_name, render_lua, usable_key

USER = "haproxy"
LUA_SUFFIX = ".haproxy.{action}.lua"


def haproxy_block(
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
    device_cas: Path | None = None,
    user: str | None = None,
    lua: Path | None = None,
) -> HaproxyBlock:
    """Return what the frontend depends on. What is not given comes from the settings.

    Raises ConfigError SERVICE_AMBIGUOUS, SERVICE_UNKNOWN, SERVER_NAME_UNKNOWN, CONFIG_LISTEN, PROXY_HOOK_OTHER, or
    CONFIG_VALUE for a key that the action could not send.
    """
    fitting(proxy, "haproxy")
    if device_cas is None and certificate is not None:
        device_cas = settings.path(settings.policy.folder) / "device-cas.pem"
        device_cas = device_cas if device_cas.exists() else None
    key_file = "" if proxy.key_file is None else str(settings.path(proxy.key_file).resolve())
    if key_file:
        usable_key(secret_file(Path(key_file)))
    if user is None:
        user = USER if certificate is not None else ""
    hosts = chosen_hosts(settings, proxy, service=service, server_names=server_names)
    return HaproxyBlock(
        proxy=proxy.name,
        server_names=hosts,
        listen=tuple(listen) or (TLS_LISTEN if certificate is not None else PLAIN_LISTEN),
        sidecar=_addresses(tuple(sidecar) or settings.sidecar.listen, proxy),
        backend=backend,
        lua=str((lua or _lua(settings, proxy, hosts[0])).absolute()),
        key_file=key_file,
        certificate="" if certificate is None else str(certificate.absolute()),
        device_cas="" if device_cas is None else str(device_cas.absolute()),
        user=user,
        enforces=tuple(proxy.enforces),
        browser=tuple(map(spoken, tuple(browser) or settings.sidecar.browser_listen)),
    )


def write_lua(block: HaproxyBlock) -> Path | None:
    """Write the action if it has changed; returns its path if it did. It holds no secret, only where the key lies."""
    path, content = Path(block.lua), render_lua(block)
    try:
        if path.exists() and path.read_text(encoding="utf-8") == content:
            return None
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(content, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        problem = Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(path))
        raise ConfigError((problem,)) from None
    return path


def _lua(settings: Settings, proxy: Proxy, host: str) -> Path:
    """Return where the action stands by default: beside the key, else beside the settings.

    The file has the name of its action, so what is printed for another service leaves it as it is.
    """
    suffix = LUA_SUFFIX.format(action=action_name(proxy.name, host))
    if proxy.key_file is not None:
        return settings.path(proxy.key_file).with_suffix(suffix).resolve()
    return settings.path(Path(proxy.name + suffix)).resolve()


def _addresses(listen: Sequence[str], proxy: Proxy) -> tuple[str, ...]:
    """Prefer a Unix socket, which is faster; a proxy that is known by its user id needs one."""
    unix = tuple(UNIX + os.path.abspath(address[len(UNIX) :]) for address in listen if address.startswith(UNIX))
    if unix or proxy.key_file is not None:
        return unix or tuple(listen)
    hint = 'sidecar.listen = ["unix:/run/zt/sidecar.sock"]'
    message = f"proxy `{proxy.name}` is known by its user id, and the sidecar listens on no Unix socket"
    raise ConfigError((Problem(code="CONFIG_LISTEN", message=message, where="sidecar.listen", hint=hint),))
