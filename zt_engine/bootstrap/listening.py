"""Where a sidecar listens, under names that mean the same to a successor that takes the sockets over."""

from __future__ import annotations

import socket

from zt_engine.bootstrap.sockets import bind
from zt_engine.config import Settings

ADMIN, TLS, AUTHZEN, GRPC, FASTCGI, BROWSER, BROWSER_TLS = (
    "admin", "tls", "authzen", "grpc", "fastcgi", "browser", "browser-tls",
)  # fmt: skip
OTHERS = (AUTHZEN, GRPC, FASTCGI, BROWSER)
"""Listeners that speak something else than the hooks over HTTP/1.1."""
"""How the names of places begin; all others are the proxies'."""


def places(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return where to listen, and by which setting."""
    sidecar = settings.sidecar
    found = {f"{ADMIN} {sidecar.admin_listen}": (sidecar.admin_listen, "sidecar.admin_listen")}
    for number, listen in enumerate(sidecar.listen):
        same = sidecar.listen[:number].count(listen)
        found[f"decisions {listen} {same}"] = (listen, "sidecar.listen")
    found |= {f"{TLS} {listen}": (listen, "sidecar.tls_listen") for listen in sidecar.tls_listen}
    found |= {f"{GRPC} {listen}": (listen, "sidecar.grpc_listen") for listen in sidecar.grpc_listen}
    found |= {f"{FASTCGI} {listen}": (listen, "sidecar.fastcgi_listen") for listen in sidecar.fastcgi_listen}
    found |= {f"{BROWSER} {listen}": (listen, "sidecar.browser_listen") for listen in sidecar.browser_listen}
    tls = "sidecar.browser_tls_listen"
    found |= {f"{BROWSER_TLS} {listen}": (listen, tls) for listen in sidecar.browser_tls_listen}
    return found | {f"{AUTHZEN} {listen}": (listen, "authzen.listen") for listen in settings.authzen.listen}


def bound(place: str, listen: str, *, key: str) -> socket.socket:
    """Return a listening socket for a place; off loopback only where callers show a certificate."""
    return bind(listen, key=key, anywhere=place.startswith((TLS, AUTHZEN, GRPC, BROWSER_TLS)))
