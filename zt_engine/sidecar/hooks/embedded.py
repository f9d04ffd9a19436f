"""The hook of an application that asks in its own process: what its server read, proven as for any proxy.

There is no proxy to believe, so nothing is read from forwarding headers: the target, the method and the address are
those of the connection. What a proxy before the application adds is ignored, not believed; a name that only an engine
may set is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote_from_bytes

from zt_engine.core.request import DEFAULT_PORTS, AccessRequest
from zt_engine.core.session import COOKIE
from zt_engine.sidecar.hooks.credentials import Credential
from zt_engine.sidecar.hooks.headers import FRAMING, Family, Layouts
from zt_engine.sidecar.hooks.reading import Prover, Sent, said_of_page

NAME = "embedded"
PEM_SAFE = "/+=:"
FAMILY = Family(
    required=("host",),
    optional=("authorization", "dpop", "cookie"),
    tolerated=FRAMING,
    ignored=frozenset(
        {
            "forwarded", "x-forwarded", "x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
            "x-forwarded-port", "x-forwarded-server",
        }
    ),
)  # fmt: skip


class EmbeddedHook:
    """Reads one request of the application's own server. Knows one credential: the process itself."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential
        self._layouts = Layouts(FAMILY)
        self._prover = Prover()

    def read(
        self, headers: Sequence[tuple[bytes, bytes]], *, target: bytes, method: bytes, scheme: bytes, address: bytes,
        request_id: bytes, certificate: bytes,
    ) -> AccessRequest:  # fmt: skip
        """Return the request as it will be authorised; raises InputError with the code of the first rule that refuses.

        `headers` in order, repeats included. `target` is the request target as it was sent (RFC 9112, 3.2), undecoded.
        `certificate` is the PEM of a client certificate that the server has verified; empty without one.
        """
        values = dict(headers)
        values[b""] = b""
        layout = self._layouts.of(tuple(name for name, _ in headers))
        assert layout.pick is not None  # Layouts.of raised otherwise
        host, authorization, dpop, cookie = layout.pick(values)
        origin, fetch_site = said_of_page(values) if COOKIE in cookie else (b"", b"")
        sent = Sent(
            uri=target,
            method=method,
            host=host,
            scheme=scheme,
            port=_port(host, scheme),
            address=address,
            request_id=request_id,
            pep_key=b"",
            verify=b"SUCCESS" if certificate else b"",
            cert=quote_from_bytes(certificate, safe=PEM_SAFE).encode("ascii") if certificate else b"",
            authorization=authorization,
            dpop=dpop,
            cookie=cookie,
            origin=origin,
            fetch_site=fetch_site,
        )
        return self._prover.prove(NAME, sent, self._credential)


def _port(host: bytes, scheme: bytes) -> bytes:
    """Return the port that the client named, or the one its scheme stands for."""
    name, colon, port = host.rpartition(b":")
    if colon and not name.count(b":") and port.isdigit():
        return port
    if colon and name.endswith(b"]") and port.isdigit():
        return port
    return b"%d" % DEFAULT_PORTS.get(scheme.decode("latin-1"), 443)
