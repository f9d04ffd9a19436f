"""Addresses as people write them."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from zt_engine.core.errors import ConfigError, Problem
from zt_engine.corpus.wire import Address

PORTS = {"http": 80, "https": 443}


def read_target(url: str, ca: Path | None) -> tuple[Address, str]:
    """Return the address of a URL and its host; raises ConfigError CORPUS_TARGET.

    `ca` has the authorities to trust; without it the system's are.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _wrong(f"`{url}`: {error}", "--target") from None
    if parts.scheme not in PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise _wrong(f"`{url}` is not `http://HOST:PORT` or `https://HOST:PORT`", "--target")
    context = None
    if parts.scheme == "https":
        try:
            context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        except (OSError, ssl.SSLError) as error:
            raise _wrong(f"the authorities cannot be read: {error}", str(ca)) from None
    return Address(parts.hostname, port or PORTS[parts.scheme], tls=context, server_name=parts.hostname), parts.hostname


def with_certificate(front: Address, pem: Path, ca: Path | None) -> Address:
    """Return the same address, over TLS with a client certificate (PEM, with its key); raises ConfigError."""
    if front.tls is None:
        raise _wrong("a client certificate takes an https target", str(pem))
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        context.load_cert_chain(pem)
    except (OSError, ssl.SSLError) as error:
        raise _wrong(f"the certificate cannot be read: {error}", str(pem)) from None
    return msgspec.structs.replace(front, tls=context)


def read_address(text: str, where: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`; raises ConfigError CORPUS_TARGET."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise _wrong(f"`{text}` is not HOST:PORT", where)
    return host.strip("[]"), int(port)


def _wrong(message: str, where: str) -> ConfigError:
    return ConfigError((Problem(code="CORPUS_TARGET", message=message, where=where),))
