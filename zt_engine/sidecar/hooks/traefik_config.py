"""The configuration that makes Traefik ask this sidecar, static and dynamic: settings in, text out.

The texts are what the tests run, so what an operator pastes is what was tested.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from importlib import resources

import msgspec
from jinja2 import Environment, StrictUndefined

from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS
from zt_engine.sidecar.hooks.headers import METHOD_OVERRIDES, RESERVED_NAMES
from zt_engine.sidecar.hooks.printing import ENGINE_OWNED, FORWARDED, NAME, check_pair, check_values, fault, titles
from zt_engine.sidecar.hooks.traefik import FAMILY, PATH

SET_BY_TRAEFIK = frozenset(
    {"x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-server"}
)
"""Reserved names that Traefik sets itself, whatever the client sent."""

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_ADDRESS = re.compile(r"[A-Za-z0-9.-]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")
_LISTEN = re.compile(r"(?:[0-9.]+|\[[0-9A-Fa-f:.]+\]|):\d{1,5}")
_PATH = re.compile(r"/[A-Za-z0-9_./ @+-]+")
_ENFORCES = frozenset({"no_store"})


class TraefikConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What both texts depend on."""

    proxy: str
    server_names: tuple[str, ...]
    """The hosts of one service, and all that its router serves."""
    listen: str
    """The address of the entry point: `:443` or `127.0.0.1:8000`."""
    sidecar: str
    """One of `sidecar.tls_listen`, under a name that its certificate has."""
    backend: str
    sidecar_ca: str
    """CA certificates (PEM) that the sidecar's certificate is verified with."""
    client_certificate: str
    """What Traefik shows the sidecar; its name is one of `certificate_names`."""
    client_key: str
    folder: str
    """From which Traefik reads dynamic configuration."""
    certificate: str = ""
    certificate_key: str = ""
    device_cas: str = ""
    backend_http2: bool = False
    """Whether the backend speaks HTTP/2 without TLS, as services of gRPC do."""
    enforces: tuple[str, ...] = ()
    browser: tuple[str, ...] = ()
    """Of `sidecar.browser_tls_listen`; empty where the sidecar signs nobody in."""

    @property
    def unenforced(self) -> tuple[str, ...]:
        """Obligations that the settings promise in Traefik's name, and that this configuration does not carry out."""
        return tuple(name for name in self.enforces if name not in _ENFORCES)


def render_static(config: TraefikConfig) -> str:
    """Return the static configuration, of which one Traefik has one; raises ConfigError CONFIG_VALUE."""
    return _render("traefik.yaml.j2", config)


def render_dynamic(config: TraefikConfig) -> str:
    """Return the dynamic configuration of one service; raises ConfigError CONFIG_VALUE."""
    return _render("traefik-service.yaml.j2", config)


def _render(template: str, config: TraefikConfig) -> str:
    _check(config)
    source = (resources.files("zt_engine.pages") / "templates" / template).read_text(encoding="utf-8")
    # Not HTML: every value has passed `_check`, which lets no quote, backslash, line end or backtick through.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    return environment.from_string(source).render(
        config=config,
        hosts=" ".join(config.server_names),
        name=f"zt-{config.proxy}-" + re.sub(r"[^a-z0-9-]", "_", config.server_names[0]),
        rule="(" + " || ".join(f"Host(`{host}`)" for host in config.server_names) + ")",
        other_protocol=other_than("websocket"),
        port=config.listen.rpartition(":")[2],
        address=f"https://{config.sidecar}{PATH.decode('ascii')}",
        identity=("Zt-Decision", *IDENTITY_HEADERS),
        browser=config.browser,
        no_store="no_store" in config.enforces,
        client_cleared=client_cleared(),
        backend_cleared=backend_cleared(),
    )


def other_than(word: str) -> str:
    """Return a pattern for every text but this word, in any case; Traefik's patterns have no negation."""
    wrong = [f".{{{at}}}[^{letter}{letter.upper()}].*" for at, letter in enumerate(word)]
    return "|".join(f"^{form}$" for form in (f".{{1,{len(word) - 1}}}", f".{{{len(word) + 1},}}", *wrong))


def client_cleared() -> tuple[str, ...]:
    """Headers that go before the question: honest, but not to be judged, or Traefik's alone to set.

    A key in the client's hand would be taken for Traefik's, and a wrong one rules its certificate out.
    """
    own = {name for name in FAMILY.known if name.startswith("x-")} | {"x-forwarded-tls-client-cert-info", "zt-pep-key"}
    return titles(({name.lower() for name in FORWARDED} | own) - SET_BY_TRAEFIK)


def backend_cleared() -> tuple[str, ...]:
    """Headers that never reach the backend. The sidecar refuses most of them; this holds without it as well."""
    named = {name.lower() for name in (*ENGINE_OWNED, "Zt-Pep-Key", "Zt-Request-Id", "Proxy")}
    family = {"x-forwarded-tls-client-cert", "x-forwarded-tls-client-cert-info"}
    plain = titles((named | family | RESERVED_NAMES | METHOD_OVERRIDES) - SET_BY_TRAEFIK)
    return (*plain, *dotted(("Zt-Decision", *IDENTITY_HEADERS)))


def dotted(names: Iterable[str]) -> tuple[str, ...]:
    """Return every spelling of the names with a dot for a hyphen, which some backends read as the name itself."""
    found = []
    for name in names:
        parts = name.split("-")
        for signs in itertools.product("-.", repeat=len(parts) - 1):
            if "." in signs:
                found.append("".join(itertools.chain(*zip(parts, (*signs, ""), strict=True))))
    return tuple(found)


def _check(config: TraefikConfig) -> None:
    files = (
        config.sidecar_ca, config.client_certificate, config.client_key, config.folder,
        *filter(None, (config.certificate, config.certificate_key, config.device_cas)),
    )  # fmt: skip
    checks = (
        ("proxy", NAME, (config.proxy,)), ("server_name", _HOST, config.server_names),
        ("listen", _LISTEN, (config.listen,)), ("sidecar", _ADDRESS, (config.sidecar,)),
        ("backend", _ADDRESS, (config.backend,)), ("browser", _ADDRESS, config.browser), ("file", _PATH, files),
    )  # fmt: skip
    check_values(checks, what="a configuration of Traefik")
    if not config.server_names:
        raise fault("server_name", "at least one is required")
    check_pair(config.certificate, config.certificate_key)
