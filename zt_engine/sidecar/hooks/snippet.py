"""The nginx server block that makes nginx ask this sidecar: settings in, text out.

The block is what the tests run, so what an operator pastes is what was tested. It states even nginx's defaults where
the guarantee rests on them, since an `http` block around it may have changed them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from importlib import resources

import msgspec
from jinja2 import Environment, StrictUndefined

from zt_engine.core.errors import ConfigError, Problem
from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS
from zt_engine.sidecar.hooks.headers import FRAMING, METHOD_OVERRIDES, RESERVED_NAMES
from zt_engine.sidecar.hooks.nginx import FAMILY

FORWARDED = (
    "Forwarded", "X-Forwarded-By", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix",
    "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Forwarded-Ssl",
)  # fmt: skip
"""What honest proxies between client and us add: removed, not refused. Any other reserved name is an attack."""

ENGINE_OWNED = ("Zt-Challenge", "Zt-Label", "Zt-Reason")
"""Names of answers that no request may carry to a backend, beside those of the header family."""

SET_FOR_BACKEND = frozenset(
    {"zt-request-id", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port"}
)
"""Reserved names to which the block gives a value of its own on the way to the backend."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\]")
_ADDRESS = re.compile(r"[A-Za-z0-9.-]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}|unix:/[A-Za-z0-9_./@+-]+")
_LISTEN = re.compile(r"(?:[0-9.]+:|\[[0-9A-Fa-f:.]+\]:|\*:)?\d{1,5}|unix:/[A-Za-z0-9_./@+-]+")
_PATH = re.compile(r"[A-Za-z0-9_./ @+-]+")
_KEY = re.compile(rb"[A-Za-z0-9_.~+/=-]{16,512}")
_NGINX_ENFORCES = frozenset({"no_store"})


class NginxBlock(msgspec.Struct, frozen=True, kw_only=True):
    """What one server block depends on. Addresses as nginx writes them."""

    proxy: str
    server_names: tuple[str, ...]
    """The hosts of one service, and all that this block serves; the first one distinguishes it from its neighbours."""
    listen: tuple[str, ...]
    sidecar: tuple[str, ...]
    backend: str
    key_include: str = ""
    """A file of one line made by `key_line`; empty when the sidecar knows nginx by its user id."""
    certificate: str = ""
    certificate_key: str = ""
    device_cas: str = ""
    enforces: tuple[str, ...] = ()
    browser: tuple[str, ...] = ()
    """Where the sidecar signs browsers in; empty where it does not."""

    @property
    def unenforced(self) -> tuple[str, ...]:
        """Obligations that the settings promise in nginx's name, and that this block does not carry out."""
        return tuple(name for name in self.enforces if name not in _NGINX_ENFORCES)


def render(block: NginxBlock) -> str:
    """Return the text; raises ConfigError CONFIG_VALUE for a value that nginx would read as something else."""
    _check(block)
    source = (resources.files("zt_engine.pages") / "templates" / "nginx.conf.j2").read_text(encoding="utf-8")
    # Not HTML: every value has passed `_check`, which lets no quote, `$`, `;` or brace through.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    # Distinct for each block of a proxy. nginx hashes names of variables into 64 bytes, so these are short.
    first = block.server_names[0]
    digest = hashlib.sha256(f"{block.proxy} {first}".encode()).hexdigest()[:10]
    return environment.from_string(source).render(
        proxy=block.proxy,
        upstream=f"zt_{block.proxy}_" + re.sub(r"[^a-z0-9.-]", "_", first),
        variable=f"zt_{digest}",
        cache="zt_" + block.proxy,
        nobody=f"zt-{digest}.invalid",
        server_names=" ".join(block.server_names),
        names=block.server_names,
        listen=[f"{address} ssl" if block.certificate else address for address in block.listen],
        sidecar=block.sidecar,
        backend=block.backend,
        key_include=block.key_include,
        certificate=block.certificate,
        certificate_key=block.certificate_key,
        device_cas=block.device_cas,
        browser=block.browser,
        no_store="no_store" in block.enforces,
        identity=[(name, variable_of(name)) for name in ("Zt-Decision", *IDENTITY_HEADERS)],
        answers=[(name, variable_of(name)) for name in ("Zt-Decision", "Zt-Reason", *IDENTITY_HEADERS)],
        backend_cleared=backend_cleared(),
        hook_cleared=hook_cleared(),
    )


def variable_of(header: str) -> str:
    """Return the nginx variable that carries an answer header."""
    return header.lower().replace("-", "_")


def hook_cleared() -> tuple[str, ...]:
    """Headers that are taken away on the way to the hook: honest, but not for it to judge, or about a body."""
    return _titles((*FORWARDED, *FRAMING, "Content-Length"))


def backend_cleared() -> tuple[str, ...]:
    """Headers that never reach the backend: reserved ones that nginx sets nowhere else, and method overrides.

    The hook refuses most of them already; this holds even in a location where someone switched the question off.
    """
    known = {name for name in FAMILY.known if name.startswith(("x-", "zt-"))}
    named = {name.lower() for name in (*FORWARDED, *ENGINE_OWNED, "Proxy")}
    return _titles((named | known | RESERVED_NAMES | METHOD_OVERRIDES) - SET_FOR_BACKEND)


def _titles(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({"-".join(part.capitalize() for part in name.split("-")) for name in names}))


def key_line(key: bytes) -> str:
    """Return the content of the include file with the proxy's key; raises ConfigError for a key nginx cannot carry."""
    if _KEY.fullmatch(key) is None:
        raise _fault("key_file", "the key has characters that nginx would read as syntax", "`openssl rand -hex 32`")
    return f'proxy_set_header Zt-Pep-Key "{key.decode("ascii")}";\n'


def _check(block: NginxBlock) -> None:
    checks = [("proxy", _NAME, (block.proxy,)), ("server_name", _HOST, block.server_names)]
    checks += [("listen", _LISTEN, block.listen), ("sidecar", _ADDRESS, block.sidecar)]
    checks += [("backend", _ADDRESS, (block.backend,))]
    if block.browser:
        checks.append(("browser", _ADDRESS, block.browser))
    files = (block.key_include, block.certificate, block.certificate_key, block.device_cas)
    checks += [("file", _PATH, tuple(path for path in files if path))]
    for key, pattern, values in checks:
        if not values and key != "file":
            raise _fault(key, "at least one is required", "")
        for value in values:
            if pattern.fullmatch(value) is None:
                raise _fault(key, f"`{value}` cannot stand in an nginx configuration", "")
    if bool(block.certificate) != bool(block.certificate_key):
        raise _fault("certificate", "a certificate needs its key, and a key its certificate", "")


def _fault(where: str, message: str, hint: str) -> ConfigError:
    return ConfigError((Problem(code="CONFIG_VALUE", message=message, where=where, hint=hint),))
