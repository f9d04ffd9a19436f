"""The table of `[[proxies]]` that a printed configuration is for."""

from __future__ import annotations

from collections.abc import Mapping

from zt_engine.config import Proxy
from zt_engine.core.errors import ConfigError, Problem

_KEY_OR_SOCKET = ("key_file", "socket_uids")
PROOFS: Mapping[str, tuple[str, ...]] = {
    "nginx": _KEY_OR_SOCKET,
    "caddy": _KEY_OR_SOCKET,
    "haproxy": _KEY_OR_SOCKET,
    "envoy": _KEY_OR_SOCKET,
    "apache": ("key_file",),
    "traefik": ("certificate_names",),
    "envoy_grpc": ("socket_uids", "certificate_names"),
}
"""What each proxy can show of itself with the configuration that is printed for it."""


def fitting(proxy: Proxy, hook: str) -> None:
    """Raise ConfigError PROXY_HOOK_OTHER for a table that a proxy of this kind is not known by.

    The sidecar answers such a proxy as one that it does not know, and the proxy then refuses everybody.
    """
    shown = [name for name in ("key_file", "socket_uids", "certificate_names") if getattr(proxy, name)]
    if proxy.hook == hook and set(shown) & set(PROOFS[hook]):
        return
    has = " and ".join([f'`hook = "{proxy.hook}"`', *(f"`{name}`" for name in shown)])
    wanted = f'`hook = "{hook}"` and ' + " or ".join(f"`{name}`" for name in PROOFS[hook])
    message = f"proxy `{proxy.name}` has {has}; this configuration is for one with {wanted}"
    raise ConfigError((Problem(code="PROXY_HOOK_OTHER", message=message, where="proxies"),))
