"""The Caddyfile that makes Caddy ask this sidecar: settings in, text out.

The text is what the tests run, so what an operator pastes is what was tested.
"""

from __future__ import annotations

import re
from importlib import resources

import msgspec
from jinja2 import Environment, StrictUndefined

from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS
from zt_engine.sidecar.hooks.caddy import FAMILY
from zt_engine.sidecar.hooks.headers import FRAMING, METHOD_OVERRIDES, RESERVED_NAMES
from zt_engine.sidecar.hooks.printing import (
    ENGINE_OWNED,
    FORWARDED,
    HOST,
    NAME,
    SET_FOR_BACKEND,
    check_pair,
    check_values,
    fault,
    titles,
)

_ADDRESS = re.compile(r"[A-Za-z0-9.-]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}|unix//[A-Za-z0-9_./@+-]+")
_LISTEN = re.compile(r"(?:(?:[0-9.]+|\[[0-9A-Fa-f:.]+\]):)?\d{1,5}")
_PATH = re.compile(r"/[A-Za-z0-9_./ @+-]+")
_ENFORCES = frozenset({"no_store"})

REQUIRED = ("proxy", "server_name", "listen", "sidecar", "backend")


class CaddySite(msgspec.Struct, frozen=True, kw_only=True):
    """What one site depends on. Addresses as Caddy writes them."""

    proxy: str
    server_names: tuple[str, ...]
    """The hosts of one service, and all that this site serves."""
    listen: tuple[str, ...]
    """Ports, or addresses with one port: Caddy names a site by host and port, and binds it to addresses."""
    sidecar: tuple[str, ...]
    backend: str
    key_file: str = ""
    """The file from which Caddy reads the proxy's key; empty when the sidecar knows Caddy by its user id."""
    certificate: str = ""
    certificate_key: str = ""
    device_cas: str = ""
    backend_http2: bool = False
    """Whether the backend speaks HTTP/2 without TLS, as services of gRPC do."""
    enforces: tuple[str, ...] = ()
    alone: bool = True
    """Whether this is the whole Caddyfile; otherwise a site to be imported beside others."""
    browser: tuple[str, ...] = ()
    """Where the sidecar signs browsers in; empty where it does not."""

    @property
    def unenforced(self) -> tuple[str, ...]:
        """Obligations that the settings promise in Caddy's name, and that this site does not carry out."""
        return tuple(name for name in self.enforces if name not in _ENFORCES)


def render(site: CaddySite) -> str:
    """Return the text; raises ConfigError CONFIG_VALUE for a value that Caddy would read as something else."""
    _check(site)
    port, bind = _where(site.listen)
    source = (resources.files("zt_engine.pages") / "templates" / "Caddyfile.j2").read_text(encoding="utf-8")
    # Not HTML: every value has passed `_check`, which lets no quote, brace or backtick through.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    scheme = "https" if site.certificate else "http"
    return environment.from_string(source).render(
        proxy=site.proxy,
        addresses=", ".join(f"{scheme}://{name}:{port}" for name in site.server_names),
        everything=f"{scheme}://:{port}",
        hosts=" ".join(site.server_names),
        bind=" ".join(bind),
        sidecar=" ".join(site.sidecar),
        browser=" ".join(site.browser),
        several=len(site.sidecar) > 1,
        backend=site.backend,
        key_file=site.key_file,
        certificate=site.certificate,
        certificate_key=site.certificate_key,
        device_cas=site.device_cas,
        backend_http2=site.backend_http2,
        no_store="no_store" in site.enforces,
        identity=" ".join(("Zt-Decision", *IDENTITY_HEADERS)),
        literal=any(name.startswith("[") for name in site.server_names),
        alone=site.alone,
        hook_cleared=hook_cleared(),
        browser_cleared=[name for name in hook_cleared() if name not in ("Connection", "Transfer-Encoding")],
        backend_cleared=backend_cleared(),
    )


def hook_cleared() -> tuple[str, ...]:
    """Headers that are taken away on the way to the hook: honest, but not for it to judge, or about a body."""
    return titles(({name.lower() for name in FORWARDED} | FRAMING | {"connection", "x-real-ip"}) - set(FAMILY.known))


def backend_cleared() -> tuple[str, ...]:
    """Headers that never reach the backend: reserved ones to which the site gives no value, and method overrides."""
    known = {name for name in FAMILY.known if name.startswith(("x-", "zt-", "client-"))}
    named = {name.lower() for name in (*FORWARDED, *ENGINE_OWNED, "Proxy")}
    return titles((named | known | RESERVED_NAMES | METHOD_OVERRIDES) - SET_FOR_BACKEND)


def _where(listen: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the one port and the addresses to bind to, none for all."""
    places = [place.rpartition(":") for place in listen]
    ports = {port for _, _, port in places}
    if len(ports) > 1:
        raise fault("listen", "one site has one port: print another for the other", "")
    bind = tuple(address.strip("[]") for address, _, _ in places if address)
    if bind and len(bind) != len(places):
        raise fault("listen", "either every address is named or none", "")
    return ports.pop(), bind


def _check(site: CaddySite) -> None:
    checks = [("proxy", NAME, (site.proxy,)), ("server_name", HOST, site.server_names)]
    checks += [("listen", _LISTEN, site.listen), ("sidecar", _ADDRESS, site.sidecar)]
    checks += [("backend", _ADDRESS, (site.backend,)), ("browser", _ADDRESS, site.browser)]
    files = (site.key_file, site.certificate, site.certificate_key, site.device_cas)
    checks += [("file", _PATH, tuple(path for path in files if path))]
    check_values(checks, what="a Caddyfile", required=REQUIRED)
    check_pair(site.certificate, site.certificate_key)
