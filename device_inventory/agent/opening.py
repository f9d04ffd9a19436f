"""Reaching the control plane this folder belongs to: its URL, the CA that was pinned, and nobody else."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from device_inventory.agent.control_plane import ControlPlane
from device_inventory.agent.device import Clock
from device_inventory.agent.errors import AgentError
from device_inventory.agent.link import Ticket
from device_inventory.agent.state import Home, ca_name
from device_inventory.agent.tls import fetch_ca, pinned_context, read_ca, server_url, system_context
from device_inventory.agent.wire import Wire


def which_server(home: Home, asked: str, ticket: Ticket | None, *, again: bool = False) -> str:
    """Return the URL that option, link and folder agree on; AGENT_LINK_SERVER, AGENT_SERVER_OTHER, AGENT_SERVER_URL.

    `again`: the folder is about to belong to whatever was named.
    """
    url = server_url(asked) if asked else ""
    if ticket is not None and ticket.url:
        if url and url != ticket.url:
            raise AgentError("AGENT_LINK_SERVER", f"the link leads to `{ticket.url}`", where=url)
        url = ticket.url
    state = home.load()
    if state is not None and not url:
        return state.url
    if not url:
        raise AgentError("AGENT_SERVER_URL", "no control plane was named")
    if state is not None and state.url != url and not again:
        raise AgentError("AGENT_SERVER_OTHER", f"this folder belongs to `{state.url}`", where=url)
    return url


def pin(home: Home, url: str, *, ca_file: Path | None, ca_sha256: str, again: bool = False) -> None:
    """Remember by which CA the server is known.

    INVARIANT: a link never replaces what was pinned before, or whoever sends links could put himself in between; a
    file does, and `again`. AGENT_SERVER_UNPINNED where nothing says so, AGENT_CA_OTHER where two things do not agree.
    """
    if url.startswith("http:"):
        return  # loopback: nothing leaves this machine
    name = ca_name(url)
    if ca_file is not None:
        pem = read_ca(ca_file)
        if ca_sha256 and ca_sha256 not in _digests(pem):
            raise AgentError("AGENT_CA_OTHER", "the link names another CA than this file holds", where=str(ca_file))
        home.write(name, pem)
        return
    held = home.read(name)
    if held is None and not ca_sha256:
        raise AgentError("AGENT_SERVER_UNPINNED", "nothing says by which CA the server is known", where=url)
    if not ca_sha256 or (held is not None and ca_sha256 in _digests(held)):
        return
    if held is not None and not again:
        raise AgentError("AGENT_CA_OTHER", "the link names another CA than was pinned here", where=url)
    home.write(name, fetch_ca(url, ca_sha256))


def connect(home: Home, url: str, clock: Clock, *, language: str, proxy: str = "") -> tuple[Wire, ControlPlane]:
    """Return a connection that talks to this control plane only; AGENT_SERVER_UNPINNED without its CA."""
    context: ssl.SSLContext | None = None
    if url.startswith("https:"):
        where = str(home.path / ca_name(url))
        pem = home.read(ca_name(url))
        if pem is None:
            raise AgentError("AGENT_SERVER_UNPINNED", "the CA of the control plane is gone", where=where)
        context = pinned_context(pem, where=where)
    wire = Wire(tls=context, elapsed=clock.elapsed, proxy=proxy, language=language)
    return wire, ControlPlane(wire, url, clock.now)


def to_provider(clock: Clock, *, language: str, proxy: str = "") -> Wire:
    """Return a connection to the identity provider, which is known by the CAs of this machine."""
    return Wire(tls=system_context(), elapsed=clock.elapsed, proxy=proxy, language=language)


def _digests(pem: bytes) -> frozenset[str]:
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return frozenset()
    return frozenset(hashlib.sha256(held.public_bytes(Encoding.DER)).hexdigest() for held in certificates)
