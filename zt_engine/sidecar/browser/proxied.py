"""Requests at `/.zt/` as each proxy hands them on, in the words of its hook wherever that has words of its own.

Caddy, HAProxy and nginx say there what they say in a question. Traefik, Envoy and httpd hand the request itself on, so
target and method are those of the request line, and the rest stands in headers that they write over a client's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from zt_engine.core.errors import InputError
from zt_engine.sidecar.hooks import envoy, traefik
from zt_engine.sidecar.hooks.caddy import CaddyHook
from zt_engine.sidecar.hooks.certificates import ForwardedCertificates
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.haproxy import HaproxyHook
from zt_engine.sidecar.hooks.headers import Family
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.hooks.reading import HeaderHook, Sent

_PEM = re.compile(rb"-----BEGIN CERTIFICATE----- ([A-Za-z0-9+/= ]+) -----END CERTIFICATE-----")
"""A PEM in one line, as httpd writes it into a header."""


class TraefikBrowser(HeaderHook):
    """What Traefik says of a request that it hands on."""

    name = traefik.TraefikHook.name
    path = traefik.PATH
    family = Family(
        required=("x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-for"),
        optional=("x-forwarded-tls-client-cert", "cookie"),
        tolerated=traefik.FAMILY.tolerated,
        ignored=traefik.FAMILY.ignored,
    )

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self._certificates = ForwardedCertificates()

    def sent(self, values: tuple[bytes, ...], *, method: bytes, rest: bytes) -> Sent:
        """Return the values; `rest` is the request's own target, and its number is nobody's: Traefik has none."""
        host, scheme, port, address, certificates, cookie = values
        escaped = self._certificates.of(certificates.partition(b",")[0])
        verify = b"SUCCESS" if escaped else b""
        return Sent(
            rest, method, host, scheme, port, address, b"0" * 32, b"", verify, escaped, b"", b"", cookie,
        )  # fmt: skip


class EnvoyBrowser(envoy.EnvoyHook):
    """What Envoy says of a request that it hands on: what it says in a question."""


class ApacheBrowser(HeaderHook):
    """What the printed virtual host says of a request that it hands on."""

    name = "apache"
    path = b""
    family = Family(
        required=("x-original-host", "x-original-proto", "x-original-port", "x-real-ip", "zt-request-id"),
        optional=("zt-pep-key", "zt-client-verify", "zt-client-cert", "cookie"),
    )

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self._certificates = ForwardedCertificates()

    def sent(self, values: tuple[bytes, ...], *, method: bytes, rest: bytes) -> Sent:
        """Return the values; raises InputError CERT_MALFORMED for a certificate that is not one PEM."""
        host, scheme, port, address, number, key, verify, certificate, cookie = values
        escaped = self._certificates.of(_der(certificate))
        return Sent(
            rest, method, host, scheme, port, address, number.replace(b"@", b"_"), key, verify, escaped, b"", b"",
            cookie,
        )  # fmt: skip


def _der(pem: bytes) -> bytes:
    if pem in (b"", b"(null)"):
        return b""
    found = _PEM.fullmatch(pem.strip())
    if found is None:
        raise InputError("CERT_MALFORMED", "not exactly one PEM certificate")
    return found[1].replace(b" ", b"")


KINDS: tuple[type[HeaderHook], ...] = (
    NginxHook, CaddyHook, HaproxyHook, EnvoyBrowser, TraefikBrowser, ApacheBrowser,
)  # fmt: skip


def browser_hooks(credentials: Credentials, used: Iterable[str]) -> tuple[HeaderHook, ...]:
    """Return how the proxies of these hooks hand browsers on; Envoy over gRPC has no way."""
    wanted = frozenset(used)
    return tuple(kind(credentials) for kind in KINDS if kind.name in wanted)
