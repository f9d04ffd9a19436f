"""Traefik ForwardAuth: the headers that Traefik sets on its question, and answers that it hands on as they are.

Traefik has one middleware for headers, which would hand a key to every backend, so it shows a client certificate. It
names no request id: the sidecar makes one up, and a DPoP proof that comes twice is refused. `X-Forwarded-Proto` is `ws`
or `wss` for a WebSocket. The body stays with Traefik, but what the client said of it comes along.
"""

from __future__ import annotations

import secrets

from zt_engine.sidecar.hooks.certificates import ForwardedCertificates
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.headers import Family
from zt_engine.sidecar.hooks.reading import HeaderHook, Paths, Sent

PATH = b"/v1/hooks/traefik"

FAMILY = Family(
    required=(
        "x-forwarded-uri",
        "x-forwarded-method",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-for",
    ),
    optional=("x-forwarded-tls-client-cert", "authorization", "dpop", "cookie"),
    tolerated=frozenset({"expect", "content-encoding", "te"}),
    ignored=frozenset({"x-forwarded-server", "x-real-ip"}),
)
SCHEMES = {b"ws": b"http", b"wss": b"https"}


class TraefikHook(HeaderHook):
    """Reads the headers that Traefik's ForwardAuth sets, and nothing else."""

    name = "traefik"
    path = PATH
    paths = Paths.TIDIED
    family = FAMILY
    id_line = b""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self._certificates = ForwardedCertificates()

    def sent(self, values: tuple[bytes, ...], *, method: bytes, rest: bytes) -> Sent:
        """Return the values. Traefik sends the chain that it has verified, its commas between certificates."""
        uri, asked, host, scheme, port, address, certificates, authorization, dpop, cookie = values
        escaped = self._certificates.of(certificates.partition(b",")[0])
        return Sent(
            uri=uri,
            method=asked,
            host=host,
            scheme=SCHEMES.get(scheme, scheme),
            port=port,
            address=address,
            request_id=secrets.token_hex(16).encode("ascii"),
            pep_key=b"",
            verify=b"SUCCESS" if escaped else b"",
            cert=escaped,
            authorization=authorization,
            dpop=dpop,
            cookie=cookie,
        )
