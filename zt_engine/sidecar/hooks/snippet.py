"""The nginx server block that makes nginx ask this sidecar: settings in, text out.

The block is what the tests run, so what an operator pastes is what was tested. It states even nginx's defaults where
the guarantee rests on them, since an `http` block around it may have changed them.
"""

from __future__ import annotations

import hashlib
import re
from importlib import resources

import msgspec
from jinja2 import Environment, StrictUndefined

from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS
from zt_engine.sidecar.hooks.headers import FRAMING, METHOD_OVERRIDES, RESERVED_NAMES
from zt_engine.sidecar.hooks.nginx import FAMILY
from zt_engine.sidecar.hooks.printing import (
    ENGINE_OWNED,
    FORWARDED,
    HOST,
    KEY,
    NAME,
    SET_FOR_BACKEND,
    check_pair,
    check_values,
    fault,
    titles,
)

_ADDRESS = re.compile(r"[A-Za-z0-9.-]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}|unix:/[A-Za-z0-9_./@+-]+")
_LISTEN = re.compile(r"(?:[0-9.]+:|\[[0-9A-Fa-f:.]+\]:|\*:)?\d{1,5}|unix:/[A-Za-z0-9_./@+-]+")
_PATH = re.compile(r"[A-Za-z0-9_./ @+-]+")
_NGINX_ENFORCES = frozenset({"no_store"})

REQUIRED = ("proxy", "server_name", "listen", "sidecar", "backend")


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
        answers=[(name, variable_of(name)) for name in ("Zt-Decision", "Zt-Reason", "Zt-Language", *IDENTITY_HEADERS)],
        backend_cleared=backend_cleared(),
        hook_cleared=hook_cleared(),
        browser_cleared=titles((*FORWARDED, *FRAMING)),
    )


def variable_of(header: str) -> str:
    """Return the nginx variable that carries an answer header."""
    return header.lower().replace("-", "_")


def hook_cleared() -> tuple[str, ...]:
    """Headers that are taken away on the way to the hook: honest, but not for it to judge, or about a body."""
    return titles((*FORWARDED, *FRAMING, "Content-Length"))


def backend_cleared() -> tuple[str, ...]:
    """Headers that never reach the backend: reserved ones that nginx sets nowhere else, and method overrides.

    The hook refuses most of them already; this holds even in a location where someone switched the question off.
    """
    known = {name for name in FAMILY.known if name.startswith(("x-", "zt-"))}
    named = {name.lower() for name in (*FORWARDED, *ENGINE_OWNED, "Proxy")}
    return titles((named | known | RESERVED_NAMES | METHOD_OVERRIDES) - SET_FOR_BACKEND)


def key_line(key: bytes) -> str:
    """Return the content of the include file with the proxy's key; raises ConfigError for a key nginx cannot carry."""
    if KEY.fullmatch(key) is None:
        raise fault("key_file", "the key has characters that nginx would read as syntax", "`openssl rand -hex 32`")
    return f'proxy_set_header Zt-Pep-Key "{key.decode("ascii")}";\n'


def _check(block: NginxBlock) -> None:
    checks = [("proxy", NAME, (block.proxy,)), ("server_name", HOST, block.server_names)]
    checks += [("listen", _LISTEN, block.listen), ("sidecar", _ADDRESS, block.sidecar)]
    checks += [("backend", _ADDRESS, (block.backend,))]
    if block.browser:
        checks.append(("browser", _ADDRESS, block.browser))
    files = (block.key_include, block.certificate, block.certificate_key, block.device_cas)
    checks += [("file", _PATH, tuple(path for path in files if path))]
    check_values(checks, what="an nginx configuration", required=REQUIRED)
    check_pair(block.certificate, block.certificate_key)
