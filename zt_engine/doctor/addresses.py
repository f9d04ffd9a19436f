"""Addresses as proxies write them: does one leave the machine, does a list of networks trust everybody?"""

from __future__ import annotations

import ipaddress
import re

_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})
_PORT = re.compile(r":\d*$")
_SCHEME = re.compile(r"^(?:[a-z0-9+.-]+)://", re.IGNORECASE)
_FAMILY = re.compile(r"^ipv[46]@", re.IGNORECASE)
"""HAProxy's way to say which."""

_UNIX = re.compile(r"(?:[a-z]+://)?(?:unix(?:\+h2c)?[:/@]|abns@|/(?!/)|@)", re.IGNORECASE)

_WIDEST = {4: 8, 6: 16}
"""A shorter prefix is no list of one's own proxies."""


def host_of(address: str) -> str:
    """Return the host of `scheme://host:port/path`, `host:port`, `[v6]:port` or `:port` (which is empty)."""
    text = _FAMILY.sub("", _SCHEME.sub("", address.strip())).split("/", 1)[0].rsplit("@", 1)[-1]
    if text.startswith("["):
        return text[1:].split("]", 1)[0].lower()
    return _PORT.sub("", text).lower() if text.count(":") <= 1 else text.lower()


def is_socket(address: str) -> bool:
    """Whether an address is a Unix socket."""
    return _UNIX.match(address.strip()) is not None


def stays_here(address: str) -> bool:
    """Whether what is sent to, or taken at, an address never leaves this machine. A name we cannot know does."""
    if is_socket(address):
        return True
    host = host_of(address)
    if host in _LOOPBACK_NAMES or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def trusts_everybody(network: str) -> bool:
    """Whether a trusted network is so wide that it is no list of proxies."""
    try:
        parsed = ipaddress.ip_network(network.strip(), strict=False)
    except ValueError:
        return network.strip() in {"*", "all"}
    return parsed.prefixlen < _WIDEST[parsed.version]
