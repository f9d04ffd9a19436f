"""Which proxy a file belongs to, by its name and by what stands in it."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal, get_args

Kind = Literal["nginx", "traefik", "caddy", "envoy", "haproxy", "apache"]
KINDS: tuple[Kind, ...] = get_args(Kind)

HEAD = 256 << 10
"""Characters that are looked at."""

_NAMES: tuple[tuple[str, Kind], ...] = (
    (r"caddyfile(\..*)?|.*\.caddyfile", "caddy"),
    (r"haproxy.*\.cfg|.*\.lua", "haproxy"),
    (r"nginx.*\.conf|.*\.nginx(\.conf)?", "nginx"),
    (r"(httpd|apache2?).*\.conf|\.htaccess", "apache"),
    (r"envoy.*\.(ya?ml|json)", "envoy"),
    (r"traefik.*\.(ya?ml|toml)", "traefik"),
)
_TREES = (".yaml", ".yml", ".json", ".toml")
_IN_TREES: tuple[tuple[str, Kind], ...] = (
    (r"static_resources\W|envoy\.(?:filters|extensions)|type\.googleapis\.com/envoy|\btyped_config\W", "envoy"),
    (r'"apps"\s*:|"handler"\s*:|"listen"\s*:', "caddy"),
    (r"(?i)\b(?:entryPoints|forwardAuth|routers|middlewares|providers|serversTransports?)\b", "traefik"),
)
_SECTION = r"<(?:VirtualHost|Location(?:Match)?|Directory(?:Match)?|If\w*|Proxy|Files(?:Match)?|Require\w+)\b"
_DIRECTIVE = r"(?:ProxyPass|RequestHeader|AuthnzFcgi\w+|LoadModule|Require|SSLEngine|Listen|Satisfy) [^;{]*$"
_IN_TEXT: tuple[tuple[str, Kind], ...] = (
    (rf"(?im)^[ \t]*(?:{_SECTION}|{_DIRECTIVE})", "apache"),
    (r"(?m)^(?:global|defaults|frontend \S+|listen \S+|backend \S+)(?: [^{;]*)?$", "haproxy"),
    (r"(?m)(?:^|[;{}])[ \t]*(?:http|server|events|stream|upstream \S+|location [^{\n]+)[ \t]*\{", "nginx"),
    (r"(?m);[ \t]*(?:#.*)?$", "nginx"),
    (r"(?m)^[ \t]*(?:reverse_proxy|forward_auth|file_server|handle(?:_path)?|route|respond|import)\b", "caddy"),
    (r"(?m)\{[ \t]*$", "caddy"),
)


def kind_of(path: str, text: str) -> Kind | None:
    """Return the proxy, or None when neither name nor content says."""
    name = PurePath(path).name.lower()
    for pattern, kind in _NAMES:
        if re.fullmatch(pattern, name):
            return kind
    json = re.match(r'\s*\{\s*"', text) is not None
    rules = _IN_TREES if json or name.endswith(_TREES) else _IN_TEXT
    head = text[:HEAD]
    for pattern, kind in rules:
        if re.search(pattern, head):
            return kind
    return None
