"""Addresses in the settings: where a program listens, and where a control plane is reached."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LOOPBACK_EXAMPLE = "for example `127.0.0.1:9191` or `[::1]:9191`"
SERVE_EXAMPLE = "for example `127.0.0.1:9443` or `[::]:9443`"


def parse_listen(listen: str) -> tuple[Address, int]:
    """Return address and port of `host:port` or `[v6]:port`; an error of ours names what is wrong and what to write.

    Nothing of a sidecar listens off loopback: what is asked there, and by whom, nobody else may see or say.
    """
    address, port = split_listen(listen, LOOPBACK_EXAMPLE)
    if not address.is_loopback:
        raise _fault(f"`{listen}` is not a loopback address", "use a Unix socket or loopback, beside the proxy")
    return address, port


def split_listen(listen: str, example: str) -> tuple[Address, int]:
    """Return address and port wherever that is."""
    host, _, port = listen.rpartition(":")
    try:
        address, number = ipaddress.ip_address(host.removeprefix("[").removesuffix("]")), int(port)
    except ValueError:
        number = -1
    if not 0 <= number < 65536:
        raise _fault(f"`{listen}` is no address with a port", example)
    return address, number


def _fault(message: str, hint: str) -> PydanticCustomError:
    # The text is no template of pydantic's: what a person wrote may hold braces.
    return PydanticCustomError("listen", "{text}", {"text": message, "hint": hint})


def _listens(listen: str) -> str:
    if not listen.startswith(UNIX):
        parse_listen(listen)
    return listen


UNIX = "unix:"
Listen = Annotated[str, AfterValidator(_listens)]


def _listens_on_loopback(listen: str) -> str:
    parse_listen(listen)
    return listen


Loopback = Annotated[str, AfterValidator(_listens_on_loopback)]
"""An address of this machine, for who cannot ask over a Unix socket."""


def _serves(listen: str) -> str:
    split_listen(listen, SERVE_EXAMPLE)
    return listen


Serve = Annotated[str, AfterValidator(_serves)]
"""Where a control plane serves; off loopback it needs TLS, which its section sees to."""


def _serves_or_unix(listen: str) -> str:
    return listen if listen.startswith(UNIX) else _serves(listen)


Grpc = Annotated[str, AfterValidator(_serves_or_unix)]
"""A Unix socket, or an address with TLS."""


def check_plane_url(url: str) -> None:
    """Raise ValueError unless this is an https address, or an http one on loopback, with nothing behind the port."""
    parts = urlsplit(url)
    try:
        local = parts.hostname is not None and ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        local = parts.hostname == "localhost"
    if parts.scheme not in ("https", "http") or not parts.hostname or (parts.scheme == "http" and not local):
        raise ValueError("a control plane is reached by https, and by http only on loopback")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("an address of a control plane ends with its port")


def check_floor_url(url: str) -> None:
    """Raise ValueError unless this is a folder of this machine, an https address, or an http one on loopback."""
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme not in ("https", "http") or not parts.hostname or (parts.scheme == "http" and not local):
        raise ValueError("a floor is `file:///FOLDER`, or an https address")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("the address of a floor ends with its folder")
