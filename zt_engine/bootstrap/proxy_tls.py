"""TLS of the listeners at which proxies show a client certificate."""

from __future__ import annotations

import ssl

from zt_engine.bootstrap.identity import secret_file
from zt_engine.config import Settings
from zt_engine.core.errors import ConfigError, Problem


class ProxyTls:
    """What a listener is given once; the certificates behind it are exchanged while it serves.

    Each handshake is handed to the context that is in force when it begins. Connections that stand stay as they are.
    """

    def __init__(self, settings: Settings) -> None:
        """Read certificate, key and CAs; raises ConfigError CONFIG_FILE or CONFIG_TLS."""
        self._current = proxy_context(settings)
        self.context = proxy_context(settings)
        """For the listener."""
        self.context.sni_callback = self._hand_over

    def use(self, fresh: ssl.SSLContext) -> None:
        """Serve the next handshake with another certificate, and believe other CAs."""
        self._current = fresh

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current


def proxy_context(settings: Settings) -> ssl.SSLContext:
    """Return the TLS of `sidecar.tls_listen`, which has to be set; raises ConfigError CONFIG_FILE, CONFIG_TLS."""
    sidecar = settings.sidecar
    certificate, key, authority = sidecar.tls_certificate, sidecar.tls_key, sidecar.tls_client_ca
    assert certificate is not None  # the settings see to it that these come together
    assert key is not None
    assert authority is not None
    secret_file(settings.path(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # INVARIANT: a handshake without a certificate of a proxy ends here; what comes after has a name.
    context.verify_mode = ssl.CERT_REQUIRED
    # A resumed session would bring back a certificate that was verified with CAs of another day.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        context.load_cert_chain(settings.path(certificate), settings.path(key))
        context.load_verify_locations(settings.path(authority))
    except OSError as error:  # ssl.SSLError is one
        hint = "`tls_certificate` and `tls_client_ca` are PEM files, and `tls_key` belongs to the first certificate"
        problem = Problem(code="CONFIG_TLS", message=str(error), where="sidecar.tls_certificate", hint=hint)
        raise ConfigError((problem,)) from None
    return context
