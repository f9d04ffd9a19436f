"""HAProxy with the printed Lua action: the headers that it sends over `core.httpclient`.

The action sends these headers alone, and whatever a client sent under a name that is nobody's but ours or a proxy's, so
that a forgery is seen and refused. It hands status, challenge and body of a refusal to the client.
"""

from __future__ import annotations

from zt_engine.core.errors import InputError
from zt_engine.sidecar.hooks.client_cert import ClientCertHook
from zt_engine.sidecar.hooks.headers import Family

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


class HaproxyHook(ClientCertHook):
    """Reads the headers that the printed action sends, and nothing else."""

    name = "haproxy"
    path = PATH
    family = FAMILY
    id_line = b"\r\nzt-request-id: "  # HAProxy writes every name in lower case

    def base64(self, value: bytes) -> bytes:
        """Return what stands between the colons (RFC 9440, 2.2)."""
        if not value:
            return value
        if len(value) < 3 or value[:1] != b":" or value[-1:] != b":":
            raise InputError("CERT_MALFORMED", "the certificate does not stand between colons")
        return value[1:-1]
