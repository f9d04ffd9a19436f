"""nginx `auth_request`: the headers the printed server block sends, and the only answers nginx understands.

Allow is 200. Deny is 401 or 403: nginx turns anything else into a 500 for the client, and drops bodies and all headers
of a denial except `WWW-Authenticate`; the printed server block picks `Zt-Reason` up with `auth_request_set`, and asks
for the page in a second request (`pages`).
"""

from __future__ import annotations

from zt_engine.sidecar.hooks.headers import Family
from zt_engine.sidecar.hooks.reading import HeaderHook, Sent

PATH = b"/v1/hooks/nginx"

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
    optional=("zt-pep-key", "zt-client-verify", "zt-client-cert", "authorization", "dpop", "cookie"),
)


class NginxHook(HeaderHook):
    """Reads the nginx header family, and nothing else."""

    name = "nginx"
    path = PATH
    family = FAMILY
    carries = False

    def sent(self, values: tuple[bytes, ...], *, method: bytes, rest: bytes) -> Sent:
        """Return the values, which the block sends in the order of `Sent`."""
        return Sent(*values)
