"""The virtual host that makes Apache httpd ask this sidecar: settings in, text out. It is what the tests run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from importlib import resources
from itertools import product

import msgspec
from jinja2 import Environment, StrictUndefined, Template

from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS
from zt_engine.sidecar.hooks.headers import METHOD_OVERRIDES, RESERVED_NAMES, RESERVED_PREFIXES
from zt_engine.sidecar.hooks.printing import FORWARDED, HOST, KEY, NAME, check_pair, check_values, fault, titles

EMPTY = "nothing"
"""The folder that httpd would serve files from, of a root of its own: there are none, and nobody may read them."""
MODULES = (
    "mpm_event", "authn_core", "authz_core", "authz_user", "authnz_fcgi", "alias", "setenvif", "headers", "proxy",
    "proxy_http", "unique_id",
)  # fmt: skip
TLS_MODULES = ("socache_shmcb", "ssl")

_ADDRESS = re.compile(r"[A-Za-z0-9.-]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")
_LISTEN = re.compile(r"(?:[0-9.]+:|\[[0-9A-Fa-f:.]+\]:|\*:)?\d{1,5}")
_BROWSER = re.compile(_ADDRESS.pattern + r"|unix:/[A-Za-z0-9_./@+-]+")
_PATH = re.compile(r"[A-Za-z0-9_./ @+-]+")
_ENFORCES = frozenset({"no_store"})


class ApacheBlock(msgspec.Struct, frozen=True, kw_only=True):
    """What one virtual host depends on."""

    proxy: str
    server_names: tuple[str, ...]
    """The hosts of one service, and all that this virtual host serves."""
    listen: tuple[str, ...]
    sidecar: str
    """`sidecar.fastcgi_listen`; httpd asks over TCP only."""
    backend: str
    key_include: str
    """A file of one line made by `key_line`."""
    certificate: str = ""
    certificate_key: str = ""
    device_cas: str = ""
    enforces: tuple[str, ...] = ()
    root: str = ""
    """The folder of a whole httpd.conf; empty for the virtual host alone."""
    modules: str = "/usr/lib/apache2/modules"
    user: str = "www-data"
    """Whom the workers become when root starts httpd."""
    browser: str = ""
    """Where the sidecar signs browsers in; empty where it does not."""

    @property
    def unenforced(self) -> tuple[str, ...]:
        """Obligations that the settings promise in httpd's name, and that this virtual host does not carry out."""
        return tuple(name for name in self.enforces if name not in _ENFORCES)


def render(block: ApacheBlock) -> str:
    """Return the text; raises ConfigError CONFIG_VALUE for a value that httpd would read as something else."""
    _check(block)
    first, *others = block.server_names
    digest = hashlib.sha256(f"{block.proxy} {first}".encode()).hexdigest()[:10]
    modules = MODULES + (TLS_MODULES if block.certificate else ())
    text = ""
    if block.root:
        text = _template("apache-httpd.conf.j2").render(
            root=block.root, modules=modules, folder=block.modules, listen=block.listen, user=block.user,
            nobody=f"zt-{digest}.invalid", tls=bool(block.certificate),
        )  # fmt: skip
    return text + _template("apache-vhost.conf.j2").render(
        proxy=block.proxy,
        server_names=" ".join(block.server_names),
        first=first,
        others=others,
        nobody=f"zt-{digest}.invalid",
        name=f"zt_{digest}",
        modules=" ".join(modules[1:]),
        listen=" ".join(address if ":" in address else f"*:{address}" for address in block.listen),
        sidecar=block.sidecar,
        backend=block.backend,
        key_include=block.key_include,
        nowhere=f"{block.root}/{EMPTY}" if block.root else "/nonexistent",
        certificate=block.certificate,
        certificate_key=block.certificate_key,
        device_cas=block.device_cas,
        scheme="https" if block.certificate else "http",
        browser=_upstream(block.browser),
        browser_cleared=titles(cleared_for_browsers()),
        hosts=[(name, re.escape(name).replace("\\-", "-")) for name in block.server_names],
        forged=forged(),
        taken=taken(),
        cleared=cleared(),
        identity=[
            (name, name.upper().replace("-", "_")) for name in ("Zt-Decision", *IDENTITY_HEADERS, "Zt-Request-Id")
        ],
        no_store="no_store" in block.enforces,
    )


def key_line(key: bytes) -> str:
    """Return the content of the include file with the proxy's key; raises ConfigError for a key httpd cannot carry."""
    if KEY.fullmatch(key) is None:
        raise fault("key_file", "the key has characters that httpd would read as syntax", "`openssl rand -hex 32`")
    return f'SetEnvIfExpr "true" ZT_PEP_KEY={key.decode("ascii")}\n'


def forged() -> str:
    """Return a pattern of every spelling of a reserved name that httpd would leave out of the question."""
    starts = "|".join(prefix.removesuffix("-").replace("-", "[-_.]") for prefix in RESERVED_PREFIXES)
    names = sorted({*RESERVED_NAMES, *METHOD_OVERRIDES, "authorization", "dpop", "cookie", "host"})
    whole = "|".join(name.replace("-", "[-_.]") for name in names if "-" in name)
    return f"^(?=.*[_.])(?:(?:{starts})[-_.]|(?:{whole})$)"


def taken() -> str:
    """Return how the names begin that nobody may have taken away on the way to the backend."""
    names = {prefix.removesuffix("-") for prefix in RESERVED_PREFIXES} | {"forwarded", "x-real-ip", "host", "cookie"}
    return "|".join(sorted(names | {"authorization", "dpop", "client-cert"}))


def cleared() -> tuple[str, ...]:
    """Return the headers that never reach the backend as a client sent them; the hook refuses most of them already."""
    names = {*RESERVED_NAMES, *METHOD_OVERRIDES, *map(str.lower, FORWARDED), "proxy", "zt-pep-key"}
    own = {name.lower() for name in (*IDENTITY_HEADERS, "Zt-Decision", "Zt-Request-Id")}
    # An alias without a value escapes the pattern that looks for aliases.
    aliases = {alias for name in names | own for alias in _spellings(name)}
    return tuple(sorted((names | aliases) - own))


def cleared_for_browsers() -> tuple[str, ...]:
    """Return what the virtual host says to a backend and not to the sidecar, which takes it for a forgery."""
    told = {name.lower() for name in ("Zt-Decision", *IDENTITY_HEADERS)}
    told |= {f"x-forwarded-{name}" for name in ("proto", "port", "for", "host")}
    return tuple(sorted(told | {"expect", "upgrade"}))


def _upstream(address: str) -> str:
    """Return a place of the sidecar as `ProxyPass` writes it."""
    if not address:
        return ""
    return f"{address}|http://zt-sidecar" if address.startswith("unix:") else f"http://{address}"


def _spellings(name: str) -> Iterable[str]:
    parts = name.split("-")
    for marks in product("-_.", repeat=len(parts) - 1):
        yield "".join(part + mark for part, mark in zip(parts, (*marks, ""), strict=True))


def _template(name: str) -> Template:
    source = (resources.files("zt_engine.pages") / "templates" / name).read_text(encoding="utf-8")
    # Not HTML: every value has passed `_check`, which lets no quote, `$`, `%`, `<` or line break through.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    return environment.from_string(source)


def _check(block: ApacheBlock) -> None:
    checks: list[tuple[str, re.Pattern[str], Iterable[str]]] = [
        ("proxy", NAME, (block.proxy,)), ("server_name", HOST, block.server_names),
        ("listen", _LISTEN, block.listen), ("sidecar", _ADDRESS, (block.sidecar,)),
        ("backend", _ADDRESS, (block.backend,)), ("key_file", _PATH, (block.key_include,)),
        ("modules", _PATH, (block.modules,)),
    ]  # fmt: skip
    checks.append(("browser", _BROWSER, filter(None, (block.browser,))))
    files = (block.certificate, block.certificate_key, block.device_cas, block.root)
    checks += [("file", _PATH, filter(None, files)), ("user", NAME, filter(None, (block.user,)))]
    check_values(checks, what="a configuration of httpd")
    if not (block.server_names and block.listen):
        raise fault("server_name" if block.listen else "listen", "at least one is required")
    check_pair(block.certificate, block.certificate_key)
