"""Listening sockets: an address, or a path for a Unix socket. Nothing listens off loopback without mutual TLS."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

import structlog
from pydantic_core import PydanticCustomError

from zt_engine.config import UNIX, Address, parse_listen
from zt_engine.config.addresses import SERVE_EXAMPLE, split_listen
from zt_engine.core.errors import ConfigError, Problem

log = structlog.get_logger()

BACKLOG = 1024
_DENIED = "No permission to listen there: give this user the folder, or choose a port from 1024 on"
_HINTS = {
    errno.ENOENT: "The folder does not exist: make it, with the group of the proxy",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EADDRINUSE: "Another process listens there: stop it, or choose another address",
}


def bind(listen: str, *, key: str, anywhere: bool = False) -> socket.socket:
    """Return a listening socket for `host:port`, `[v6]:port` or `unix:/path`; raises ConfigError CONFIG_LISTEN.

    `anywhere`: also off loopback, where whoever asks shows a client certificate.
    """
    try:
        return _unix(listen[len(UNIX) :]) if listen.startswith(UNIX) else _tcp(listen, key, anywhere=anywhere)
    except OSError as error:
        raise _problem(key, f"`{listen}`: {error.strerror}", _hint(listen, error.errno or 0)) from None


def _hint(listen: str, number: int) -> str:
    if number == errno.EADDRINUSE and listen.startswith(UNIX):  # a socket that was left behind is taken away
        return "A file that is no socket stands there: move it away"
    return _HINTS.get(number, "")


def _tcp(listen: str, key: str, *, anywhere: bool) -> socket.socket:
    try:
        address, number = split_listen(listen, SERVE_EXAMPLE) if anywhere else parse_listen(listen)
    except PydanticCustomError as error:
        context = error.context or {}
        raise _problem(key, str(context["text"]), str(context["hint"])) from None
    # Several sidecars may share an address, and a successor may bind before its predecessor lets go.
    with_others = number != 0 and _taken(address, number)
    sock = tcp(address, number, shared=True)
    if with_others:
        log.info(
            "listening.shared",
            address=listen,
            hint="another process of this user listens there: every one of them has to be a sidecar of this very site",
        )
    return sock


def _taken(address: Address, port: int) -> bool:
    """Whether somebody listens there already, who may be willing to share."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:  # it never listens, so nobody is answered by it
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(address), port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def tcp(address: Address, port: int, *, shared: bool = False) -> socket.socket:
    """Return a listening socket; raises OSError. `shared`: others of this user may listen there as well."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6 and address.is_loopback:  # `[::]` serves both families
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(address), port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _unix(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        # Who may connect is decided by the user id at the other end; the file mode only keeps strangers from trying.
        os.chmod(path, 0o660)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def address_of(sock: socket.socket) -> str:
    """Return where a socket listens, as `listen` spells it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"{UNIX}{name}"
    return f"[{name[0]}]:{name[1]}" if sock.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def _problem(key: str, message: str, hint: str) -> ConfigError:
    return ConfigError((Problem(code="CONFIG_LISTEN", message=message, where=key, hint=hint),))
