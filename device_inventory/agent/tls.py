"""Which server is believed: the one whose certificate comes from the CA that was pinned, and no other.

The public CAs of the system are not asked. A device tells its control plane what is wrong with it, and whoever can get
a certificate for a name that resembles the server's must not be told.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
import socket
import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from device_inventory.agent.errors import AgentError, UnreachableError

_URL: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
"""The characters of RFC 3986: other scripts have names that look like ours, and blanks end an argument."""
TIMEOUT: Final = 10.0
MOST_BYTES: Final = 256 * 1024


def server_url(text: str) -> str:
    """Return a server's URL without a slash at its end; AGENT_SERVER_URL unless it is https, or http on loopback."""
    text = text.rstrip("/")
    if not safe_url(text) or urlsplit(text).query or urlsplit(text).fragment:
        raise AgentError("AGENT_SERVER_URL", "neither https nor http to a loopback address", where=text[:200])
    return text


def safe_url(text: str) -> bool:
    """Whether what is sent there can be read by nobody on the way: https, or http that does not leave the machine."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.username is not None or parts.password is not None or not _URL.fullmatch(text):
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback address. A name, even `localhost`, is what a resolver says it is."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def pinned_context(pem: bytes, *, where: str = "") -> ssl.SSLContext:
    """Return the TLS settings that believe these CAs and nobody else; AGENT_CA_UNREADABLE."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # What was pinned may be an intermediate, or the server's own certificate.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise AgentError("AGENT_CA_UNREADABLE", "no CA certificates in PEM", where=where) from None
    return context


def system_context() -> ssl.SSLContext:
    """Return the TLS settings for the identity provider: the CAs of this machine."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def read_ca(path: Path) -> bytes:
    """Return a CA file that can be used; AGENT_CA_UNREADABLE."""
    try:
        with path.open("rb") as file:
            pem = file.read(MOST_BYTES)
    except OSError as error:
        raise AgentError("AGENT_CA_UNREADABLE", error.strerror or "cannot be read", where=str(path)) from None
    pinned_context(pem, where=str(path))
    return pem


def fetch_ca(url: str, ca_sha256: str) -> bytes:
    """Return the certificate with this SHA-256 from what the server presents, as PEM.

    Nothing is believed but the digest: the connection only serves to read the chain. AGENT_CA_NOT_SENT when it is not
    in it.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, parts.port or 443), timeout=TIMEOUT) as raw,
            context.wrap_socket(raw, server_hostname=host) as tls,
        ):
            chain = _presented(tls)
    except OSError as error:
        raise UnreachableError("AGENT_SERVER_UNREACHABLE", type(error).__name__, where=url) from None
    for der in chain:
        if hashlib.sha256(der).hexdigest() == ca_sha256:
            return ssl.DER_cert_to_PEM_cert(der).encode("ascii")
    raise AgentError("AGENT_CA_NOT_SENT", "no certificate of the server's chain has that digest", where=url)


def _presented(tls: ssl.SSLSocket) -> list[bytes]:
    connection: Any = tls
    if hasattr(connection, "get_unverified_chain"):  # Python 3.13
        return [bytes(der) for der in connection.get_unverified_chain()]
    found: list[bytes] = []
    with contextlib.suppress(AttributeError):
        chain = connection._sslobj.get_unverified_chain() or ()  # noqa: SLF001 - public from Python 3.13 on
        found = [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain]
    return found or [connection.getpeercert(binary_form=True)]
