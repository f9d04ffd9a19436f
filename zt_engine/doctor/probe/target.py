"""What is probed: an address, a path that needs a decision, and one that may be public."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

from zt_engine.core.errors import ConfigError
from zt_engine.doctor.sources import fault

_PATH = re.compile(r"/[!-~]*")
_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a proxy listens, and what is asked of it."""

    url: str
    address: str
    port: int
    encrypted: bool
    host: str
    protected: str
    public: str


def target(url: str, *, protected: str = "", host: str = "", public: str = "/") -> Target:
    """Return the target of a URL; its path is what is protected, unless that is given. ConfigError PROBE_URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        raise _wrong(url) from None
    address = parts.hostname or ""
    path = protected or parts.path or "/"
    named = host or parts.netloc.rsplit("@", 1)[-1]
    if parts.scheme not in {"http", "https"} or not address or parts.username is not None:
        raise _wrong(url)
    if _HOST.fullmatch(named) is None or not all(_PATH.fullmatch(item) for item in (path, public)):
        raise _wrong(url)
    return Target(
        url=url,
        address=address,
        port=port,
        encrypted=parts.scheme == "https",
        host=named,
        protected=path,
        public="/" + public.strip("/"),
    )


def _wrong(url: str) -> ConfigError:
    return fault("PROBE_URL", f"`{url[:200]}`: http or https, a host, paths in ASCII that begin with `/`", "")
