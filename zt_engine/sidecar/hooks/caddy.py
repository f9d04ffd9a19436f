"""Caddy `forward_auth`: the headers that the printed site sends, and answers that Caddy hands on as they are.

Caddy asks with GET, hands the client's headers on with it, and appends the client's query to the path unless that ends
in `?`; nothing is ever taken from there. It repeats `Upgrade`, `TE` and `Expect` of the client, which the printed site
takes away and a site written by hand may not.
"""

from __future__ import annotations

from zt_engine.sidecar.hooks.certificates import ForwardedCertificates
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.headers import Family
from zt_engine.sidecar.hooks.reading import HeaderHook, Sent

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


class CaddyHook(HeaderHook):
    """Reads the headers that Caddy's `forward_auth` sets, and nothing else."""

    name = "caddy"
    path = PATH
    appends = True
    family = FAMILY

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self._certificates = ForwardedCertificates()

    def sent(self, values: tuple[bytes, ...], *, method: bytes, rest: bytes) -> Sent:
        """Return the values. A certificate in `Client-Cert` is one that Caddy has verified: it sets the header anew."""
        uri, asked, host, scheme, port, address, number, key, certificate, authorization, dpop, cookie = values
        escaped = self._certificates.of(der_of(certificate))
        return Sent(
            uri=uri,
            method=asked,
            host=host,
            scheme=scheme,
            port=port,
            address=address,
            request_id=number,
            pep_key=key,
            verify=b"SUCCESS" if escaped else b"",
            cert=escaped,
            authorization=authorization,
            dpop=dpop,
            cookie=cookie,
        )


def der_of(value: bytes) -> bytes:
    """Return the base64 of a `Client-Cert` header: bare, as Caddy has it, or between colons (RFC 9440)."""
    return value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b":" else value
