"""The configuration that makes Envoy ask this sidecar: settings in, text out.

The text is what the tests run, so what an operator starts is what was tested.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from importlib import resources

import msgspec
from jinja2 import Environment, StrictUndefined

from zt_engine.sidecar.hooks import envoy, nginx
from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS
from zt_engine.sidecar.hooks.headers import METHOD_OVERRIDES, RESERVED_NAMES, RESERVED_PREFIXES
from zt_engine.sidecar.hooks.printing import ENGINE_OWNED, FORWARDED, HOST, KEY, NAME, check_pair, check_values, fault

SESSION_SECONDS = 3600
"""How long a stream may last that was authorised when it began."""
KEY_VARIABLE = "ZT_PEP_KEY"
MAX_REQUEST_BODY = 65_536
"""A question, headers and certificate included, is smaller than what the sidecar reads of one."""

_DNS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_PATH = re.compile(r"/[A-Za-z0-9_./ @+-]+")
_ENFORCES = frozenset({"no_store"})
_READ = (
    "accept", "accept-language", "authorization", "cookie", "dpop", "origin", "sec-fetch-site", "x-request-id",
    "x-forwarded-proto",
)  # fmt: skip
_SET_FOR_BACKEND = frozenset(
    {"x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "zt-request-id"}
)
_SET_FOR_BROWSER = frozenset({"zt-pep-key", "x-forwarded-client-cert"})
_TOLD = (
    "cache-control", "content-language", "content-security-policy", "content-type", "referrer-policy", "vary",
    "x-content-type-options", "zt-decision", "zt-reason",
)  # fmt: skip
"""Of a denial, beside the challenge, which Envoy always hands on."""


class Place(msgspec.Struct, frozen=True):
    """Where something listens, as Envoy writes it."""

    text: str
    host: str
    port: int
    kind: str
    """How Envoy finds it: `STATIC` by its address, `STRICT_DNS` by its name."""

    @property
    def written(self) -> str:
        """The address as a value of the configuration."""
        if not self.port:
            return f'{{pipe: {{path: "{self.host}"}}}}'
        return f'{{socket_address: {{address: "{self.host}", port_value: {self.port}}}}}'


class EnvoyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What one configuration depends on. Addresses as `HOST:PORT`, `[V6]:PORT` or `unix:/path`."""

    proxy: str
    hosts: tuple[str, ...]
    """The hosts of one service, and all that this Envoy serves."""
    listen: tuple[str, ...]
    sidecar: tuple[str, ...]
    backend: str
    grpc: bool = False
    keyed: bool = False
    """Whether Envoy shows a key; else the sidecar knows it by its user id or certificate."""
    certificate: str = ""
    certificate_key: str = ""
    device_cas: str = ""
    backend_http2: bool = False
    """Whether the backend speaks HTTP/2 without TLS, as services of gRPC do."""
    client_certificate: str = ""
    """What Envoy shows to the sidecar over gRPC, with `client_key`; `sidecar_ca` and `sidecar_name` say who answers."""
    client_key: str = ""
    sidecar_ca: str = ""
    sidecar_name: str = ""
    rego: bool = False
    """Whether a rule is asked that may read any header."""
    request_body: int = 0
    """How many bytes of a body such a rule is told; a longer one is refused."""
    enforces: tuple[str, ...] = ()
    session: int = SESSION_SECONDS
    browser: tuple[str, ...] = ()
    """Where the sidecar signs browsers in; empty where it does not, and with gRPC, which tells of no cookie."""

    @property
    def unenforced(self) -> tuple[str, ...]:
        """Obligations that the settings promise in Envoy's name, and that this configuration does not carry out."""
        return tuple(name for name in self.enforces if name not in _ENFORCES)


def render(config: EnvoyConfig) -> str:
    """Return the text; raises ConfigError CONFIG_VALUE for a value that would be read as something else."""
    _check(config)
    source = (resources.files("zt_engine.pages") / "templates" / "envoy.yaml.j2").read_text(encoding="utf-8")
    # Not HTML: every value has passed `_check`, which lets no quote, brace, `%` or line end through.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    values = {name: getattr(config, name) for name in config.__struct_fields__}
    return environment.from_string(source).render(
        values
        | {
            "listen": [place(address, "listen", numeric=True) for address in config.listen],
            "sidecar": [place(address, "sidecar", numeric=True) for address in config.sidecar],
            "backend": place(config.backend, "backend"),
            "browser": [place(address, "browser", numeric=True) for address in config.browser],
            "browser_removed": [name for name in removed_headers() if name not in _SET_FOR_BROWSER],
            "no_store": "no_store" in config.enforces,
            "path": envoy.PATH.decode("ascii"),
            "asked": asked_headers(grpc=config.grpc),
            "honest": sorted({name.lower() for name in FORWARDED} - {"x-forwarded-proto"}),
            "identity": [name.lower() for name in ("Zt-Decision", *IDENTITY_HEADERS)],
            "told": _TOLD,
            "removed": removed_headers(),
        }
    )


def asked_headers(*, grpc: bool = False) -> tuple[tuple[str, str], ...]:
    """Return what Envoy sends along, as matchers: what the hook reads, and all that it would refuse, in any spelling.

    By the first word of each name, since Envoy keeps patterns short, and prefixes cost it least. Of cookies the sidecar
    reads a browser's session, and nobody has one over gRPC.
    """
    names = {*_READ, *RESERVED_NAMES, *METHOD_OVERRIDES, *envoy.FAMILY.known, *RESERVED_PREFIXES} - {"host"}
    if grpc:
        names.remove("cookie")
    words = {name.split("-")[0] for name in names - set(_READ) if "-" in name}
    exact = sorted(name for name in names if name.split("-")[0] not in words)
    return (
        *(("exact", name) for name in exact),
        *(("prefix", word + mark) for word in sorted(words) for mark in "-._"),
    )


def removed_headers() -> tuple[str, ...]:
    """Headers that never reach the backend: reserved ones that Envoy sets nowhere else, their aliases, overrides.

    The hook refuses most of them already; this holds even where someone switched the question off.
    """
    families = {name for family in (nginx.FAMILY, envoy.FAMILY) for name in family.known}
    named = {name.lower() for name in (*FORWARDED, *ENGINE_OWNED, "Proxy", "x-forwarded-client-cert")}
    named |= {name for name in families if name.startswith(("x-original-", "x-real-", "zt-"))}
    aliases = {name.lower().replace("-", ".") for name in ("Zt-Decision", *IDENTITY_HEADERS, *ENGINE_OWNED)}
    return tuple(sorted((named | aliases | RESERVED_NAMES | METHOD_OVERRIDES) - _SET_FOR_BACKEND))


def key_line(key: bytes) -> str:
    """Return the content of the environment file; raises ConfigError for a key that Envoy cannot carry."""
    if KEY.fullmatch(key) is None:
        raise fault("key_file", "the key has characters that Envoy cannot carry", "`openssl rand -hex 32`")
    return f"{KEY_VARIABLE}={key.decode('ascii')}\n"


def place(text: str, where: str, *, numeric: bool = False) -> Place:
    """Read an address; raises ConfigError CONFIG_VALUE. `numeric`: a name will not do."""
    if text.startswith("unix:"):
        if where != "listen" and _PATH.fullmatch(text[5:]) is not None:
            return Place(text, text[5:], 0, "STATIC")
        raise fault(where, f"`{text}` cannot stand in this configuration", "")
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise fault(where, f"`{text}` is no address with a port", "for example `127.0.0.1:8080` or `[::1]:8080`")
    try:
        return Place(text, str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), int(port), "STATIC")
    except ValueError:
        if numeric or _DNS.fullmatch(host) is None:
            raise fault(where, f"`{text}` is no address with a port", "for example `127.0.0.1:8080`") from None
    return Place(text, host, int(port), "STRICT_DNS")


def _check(config: EnvoyConfig) -> None:
    checks: list[tuple[str, re.Pattern[str], Iterable[str]]] = [("proxy", NAME, (config.proxy,))]
    checks += [("server_name", HOST, config.hosts)]
    files = (
        config.certificate, config.certificate_key, config.device_cas, config.client_certificate, config.client_key,
        config.sidecar_ca,
    )  # fmt: skip
    checks += [("file", _PATH, [path for path in files if path])]
    checks += [("sidecar_name", _DNS, [config.sidecar_name] if config.sidecar_name else [])]
    check_values(checks, what="a configuration of Envoy")
    for key, required in (("server_name", config.hosts), ("listen", config.listen), ("sidecar", config.sidecar)):
        if not required:
            raise fault(key, "at least one is required", "")
    check_pair(config.certificate, config.certificate_key)
    if config.request_body and not (config.rego and 0 < config.request_body <= MAX_REQUEST_BODY):
        raise fault("request_body", f"up to {MAX_REQUEST_BODY} bytes, for a proxy with `rego`", "")
    if config.device_cas and not config.certificate:
        raise fault("device_cas", "client certificates take TLS: give `--certificate` as well", "")
    shown = (config.client_certificate, config.client_key, config.sidecar_ca, config.sidecar_name)
    if any(shown) and not (all(shown) and config.grpc):
        raise fault("client_certificate", "the sidecar's CA and name, a certificate and its key go together", "")
    if config.browser and config.grpc:
        raise fault("browser", 'over gRPC the sidecar is told of no cookie: use `hook = "envoy"` for browsers', "")
    if not 1 <= config.session <= 7 * 86400:
        raise fault("session", "a session lasts between a second and a week", "")
