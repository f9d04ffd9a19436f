"""HAProxy with the printed Lua action: the headers that it sends over `core.httpclient`.

The action sends these headers alone, and whatever a client sent under a name that is nobody's but ours or a proxy's, so
that a forgery is seen and refused. It hands status, challenge and body of a refusal to the client.
"""

from __future__ import annotations

from zt_engine.core.errors import InputError
from zt_engine.sidecar.hooks.certificates import ForwardedCertificates
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.headers import Family
from zt_engine.sidecar.hooks.reading import HeaderHook, Sent

PATH = b"/v1/hooks/haproxy"

FAMILY = Family(
    required=(
        "x-original-uri",
        "x-original-method",
        "x-original-host",
        "x-original-proto",
        "x-original-port",
        "x-real-ip",
        "zt-request-id",
    ),
    optional=("zt-pep-key", "client-cert", "authorization", "dpop", "cookie"),
)


class HaproxyHook(HeaderHook):
    """Reads the headers that the printed action sends, and nothing else."""

    name = "haproxy"
    path = PATH
    family = FAMILY
    id_line = b"\r\nzt-request-id: "  # HAProxy writes every name in lower case

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self._certificates = ForwardedCertificates()

    def sent(self, values: tuple[bytes, ...], *, method: bytes, rest: bytes) -> Sent:
        """Return the values. The action sends a certificate only if HAProxy has verified it."""
        uri, asked, host, scheme, port, address, number, key, certificate, authorization, dpop, cookie = values
        escaped = self._certificates.of(_base64(certificate))
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


def _base64(value: bytes) -> bytes:
    """Return what stands between the colons of a `Client-Cert` header (RFC 9440, 2.2), empty if it was not sent."""
    if not value:
        return value
    if len(value) < 3 or value[:1] != b":" or value[-1:] != b":":
        raise InputError("CERT_MALFORMED", "the certificate does not stand between colons")
    return value[1:-1]
