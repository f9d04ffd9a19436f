"""Envoy `ext_authz` over HTTP: the client's own request with our path before it, and what Envoy vouches for beside it.

Envoy asks with the client's method, host and path. Everything else it says stands in headers that the printed
configuration writes over whatever the client sent: scheme and request id by the connection manager, address, port and
key by `headers_to_add`, the certificate by `SANITIZE_SET`. Allow is exactly 200; any other answer goes to the client.
"""

from __future__ import annotations

import re

from zt_engine.core.errors import InputError
from zt_engine.sidecar.hooks.headers import Family
from zt_engine.sidecar.hooks.reading import HeaderHook, Paths, Sent

PATH = b"/v1/hooks/envoy"

FAMILY = Family(
    required=("host", "x-forwarded-proto", "x-forwarded-port", "x-real-ip", "x-request-id"),
    optional=("zt-pep-key", "x-forwarded-client-cert", "authorization", "dpop", "cookie"),
    ignored=frozenset(
        {"x-forwarded-for", "x-envoy-external-address", "x-envoy-internal", "x-envoy-expected-rq-timeout-ms"}
    ),
)

_CERTIFICATE = re.compile(rb'(?:By=[^",;=]*;)?Hash=[0-9a-f]{64};Cert="([A-Za-z0-9%._~-]+)"')
"""One element, as `SANITIZE_SET` writes it. A second one would be somebody else's word."""


class EnvoyHook(HeaderHook):
    """Reads what Envoy's `ext_authz` sends over HTTP, and nothing else."""

    name = "envoy"
    path = PATH
    paths = Paths.TIDIED
    appends = True
    any_method = True
    family = FAMILY
    id_line = b"\r\nx-request-id: "

    def sent(self, values: tuple[bytes, ...], *, method: bytes, rest: bytes) -> Sent:
        """Return the values; raises InputError CERT_UNVERIFIED for a certificate not in Envoy's own form."""
        host, scheme, port, address, request_id, key, certificate, authorization, dpop, cookie = values
        verified = forwarded_certificate(certificate)
        return Sent(
            rest,
            method,
            host,
            scheme,
            port,
            address,
            request_id,
            key,
            b"SUCCESS" if verified else b"NONE",
            verified,
            authorization,
            dpop,
            cookie,
        )


def forwarded_certificate(value: bytes) -> bytes:
    """Return the escaped PEM of `X-Forwarded-Client-Cert`, empty where there is none; raises CERT_UNVERIFIED."""
    if not value:
        return b""
    found = _CERTIFICATE.fullmatch(value)
    if found is None:
        raise InputError("CERT_UNVERIFIED", "the forwarded certificate is not one element with `Hash` and `Cert`")
    return found[1]
