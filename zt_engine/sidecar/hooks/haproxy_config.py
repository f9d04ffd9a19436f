"""haproxy.cfg and the Lua action that make HAProxy ask this sidecar: settings in, text out.

Both are what the tests run, so what an operator prints is what was tested.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from importlib import resources

import msgspec
from jinja2 import Environment, StrictUndefined, Template

from zt_engine.core.device_proof import COOKIE as PROOF
from zt_engine.core.session import COOKIE
from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS
from zt_engine.sidecar.hooks.haproxy import FAMILY, PATH
from zt_engine.sidecar.hooks.headers import METHOD_OVERRIDES, RESERVED_NAMES, RESERVED_PREFIXES
from zt_engine.sidecar.hooks.printing import FORWARDED, HOST, KEY, NAME, check_values, fault

TIMEOUT_MS = 500
"""For one try; HAProxy makes four of a question that is not answered."""

SHOWN = (
    "www-authenticate", "zt-reason", "zt-decision", "content-type", "content-language", "content-security-policy",
    "referrer-policy", "x-content-type-options", "vary",
)  # fmt: skip

_ADDRESS = re.compile(r"[A-Za-z0-9.-]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}|unix:/[A-Za-z0-9_./@+-]+")
_LISTEN = re.compile(r"(?:[0-9.]+:|\[[0-9A-Fa-f:.]+\]:|\*:)?\d{1,5}|unix:/[A-Za-z0-9_./@+-]+")
_PATH = re.compile(r"[A-Za-z0-9_./ @+-]+")
_ENFORCES = frozenset({"no_store"})

REQUIRED = ("proxy", "server_name", "listen", "sidecar", "backend", "lua")


class HaproxyBlock(msgspec.Struct, frozen=True, kw_only=True):
    """What one frontend depends on. Addresses as `zt.toml` writes them."""

    proxy: str
    server_names: tuple[str, ...]
    """The hosts of one service, and all that this frontend serves."""
    listen: tuple[str, ...]
    sidecar: tuple[str, ...]
    backend: str
    lua: str
    """The file of the action, made by `render_lua`."""
    key_file: str = ""
    """Empty when the sidecar knows HAProxy by its user id."""
    certificate: str = ""
    """Chain and private key in one file, or the chain with the key beside it in the same name and `.key`."""
    device_cas: str = ""
    user: str = ""
    """Whom HAProxy becomes when it was started by root."""
    enforces: tuple[str, ...] = ()
    browser: tuple[str, ...] = ()
    """Where the sidecar signs browsers in; empty where it does not."""

    @property
    def unenforced(self) -> tuple[str, ...]:
        """Obligations that the settings promise in HAProxy's name, and that this configuration does not carry out."""
        return tuple(name for name in self.enforces if name not in _ENFORCES)


def render(block: HaproxyBlock) -> str:
    """Return haproxy.cfg; raises ConfigError CONFIG_VALUE for a value that HAProxy would read as something else."""
    _check(block)
    first = block.server_names[0]
    tls = f' ssl crt "{block.certificate}" alpn http/1.1 strict-sni' if block.certificate else ""
    if tls and block.device_cas:
        # HAProxy checks possession of the key; the sidecar validates the certificate itself.
        tls += f' ca-file "{block.device_cas}" verify optional'
    return _template("haproxy.cfg.j2").render(
        proxy=block.proxy,
        name=f"zt_{block.proxy}_" + re.sub(r"[^a-z0-9.-]", "_", first),
        action=action_name(block.proxy, block.server_names[0]),
        lua=block.lua,
        server_names=" ".join(block.server_names),
        listen=[_bind(address) + tls for address in block.listen],
        backend=_server(block.backend),
        certificate=block.certificate,
        device_cas=block.device_cas,
        key_file=block.key_file,
        browser=[_server(address) for address in block.browser],
        user=block.user,
        scheme="https" if tls else "http",
        cleared=cleared(),
        identity=[(name, "txn." + name.lower().replace("-", "_")) for name in ("Zt-Decision", *IDENTITY_HEADERS)],
        no_store="no_store" in block.enforces,
    )


def render_lua(block: HaproxyBlock) -> str:
    """Return the Lua action that asks for this frontend; raises ConfigError CONFIG_VALUE."""
    _check(block)
    ours = {*FAMILY.known, *map(str.lower, FORWARDED)} - {"authorization", "dpop", "cookie"}
    return _template("haproxy.lua.j2").render(
        action=action_name(block.proxy, block.server_names[0]),
        browser=block.browser,
        key_file=block.key_file,
        addresses=_quoted(map(_destination, block.sidecar)),
        path=PATH.decode("ascii"),
        timeout_ms=TIMEOUT_MS,
        cookies=_quoted(name.decode("ascii") + "=" for name in (COOKIE, PROOF)),
        ours=_quoted(sorted(ours)),
        reserved=_quoted(sorted((RESERVED_NAMES | METHOD_OVERRIDES) - ours)),
        prefixes=_quoted(RESERVED_PREFIXES),
        shown=_quoted(SHOWN),
        identity=_quoted(("zt-decision", *map(str.lower, IDENTITY_HEADERS))),
    )


def action_name(proxy: str, server_name: str) -> str:
    """Return the name of an action, distinct for each frontend by its first host: several such files go together."""
    return "zt_" + hashlib.sha256(f"{proxy} {server_name}".encode()).hexdigest()[:10]


def usable_key(key: bytes) -> None:
    """Raise ConfigError for a key that the action could not send."""
    if KEY.fullmatch(key) is None:
        raise fault("key_file", "the key has characters that no header carries", "`openssl rand -hex 32`")


def cleared() -> str:
    """Return a pattern of all names of headers that never reach the backend as a client sent them."""
    starts = "|".join(prefix.removesuffix("-").replace("-", "[-_.]") for prefix in RESERVED_PREFIXES)
    names = sorted({*RESERVED_NAMES, *METHOD_OVERRIDES, *map(str.lower, FORWARDED), "proxy"})
    whole = "|".join(name.replace("-", "[-_.]") for name in names)
    return f"^(?:(?:{starts})[-_.].*|{whole})$"


def _template(name: str) -> Template:
    source = (resources.files("zt_engine.pages") / "templates" / name).read_text(encoding="utf-8")
    # Not HTML: every value has passed `_check`, which lets no quote, `$`, `\` or line break through.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    return environment.from_string(source)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _bind(address: str) -> str:
    if address.startswith("unix:"):
        return "unix@" + address.removeprefix("unix:")
    address = address if ":" in address else f"*:{address}"
    return f"{address} v6only" if address.startswith("[") else address


def _destination(address: str) -> str:
    """Return an address of the sidecar as HAProxy's client takes it."""
    if address.startswith("unix:"):
        return "unix@" + address.removeprefix("unix:")
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return f"ipv6@{host}:{port}" if ":" in host else f"ipv4@{host}:{port}"


def _server(address: str) -> str:
    return "unix@" + address.removeprefix("unix:") if address.startswith("unix:") else address


def _check(block: HaproxyBlock) -> None:
    checks = [("proxy", NAME, (block.proxy,)), ("server_name", HOST, block.server_names)]
    checks += [("listen", _LISTEN, block.listen), ("sidecar", _ADDRESS, block.sidecar)]
    checks += [("backend", _ADDRESS, (block.backend,)), ("browser", _ADDRESS, block.browser)]
    checks += [("lua", _PATH, (block.lua,))]
    files = (block.key_file, block.certificate, block.device_cas)
    checks += [("file", _PATH, tuple(path for path in files if path))]
    checks += [("user", NAME, (block.user,) if block.user else ())]
    check_values(checks, what="a HAProxy configuration", required=REQUIRED)
    if block.device_cas and not block.certificate:
        raise fault("device_cas", "client certificates take a certificate of the server")
