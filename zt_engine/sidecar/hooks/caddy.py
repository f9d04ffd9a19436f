"""Caddy `forward_auth`: the headers that the printed site sends, and answers that Caddy hands on as they are.

Caddy asks with GET, hands the client's headers on with it, and appends the client's query to the path unless that ends
in `?`; nothing is ever taken from there. It repeats `Upgrade`, `TE` and `Expect` of the client, which the printed site
takes away and a site written by hand may not.
"""

from __future__ import annotations

from zt_engine.sidecar.hooks.client_cert import ClientCertHook
from zt_engine.sidecar.hooks.headers import Family

PATH = b"/v1/hooks/caddy"

FAMILY = Family(
    required=(
        "x-forwarded-uri",
        "x-forwarded-method",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-for",
        "zt-request-id",
    ),
    optional=("zt-pep-key", "client-cert", "authorization", "dpop", "cookie"),
    tolerated=frozenset({"upgrade", "expect", "te"}),
)


class CaddyHook(ClientCertHook):
    """Reads the headers that Caddy's `forward_auth` sets, and nothing else."""

    name = "caddy"
    path = PATH
    appends = True
    family = FAMILY

    def base64(self, value: bytes) -> bytes:
        """Return the base64 of a header that Caddy sets anew."""
        return der_of(value)


def der_of(value: bytes) -> bytes:
    """Return the base64 of a `Client-Cert` header: bare, as Caddy has it, or between colons (RFC 9440)."""
    return value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b":" else value
