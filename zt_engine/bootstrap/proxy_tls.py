"""TLS of the listeners at which proxies show a client certificate."""

from __future__ import annotations

import ssl

from zt_engine.bootstrap.identity import secret_file
from zt_engine.config import Settings
from zt_engine.core.errors import ConfigError, Problem


def proxy_tls(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS of `sidecar.tls_listen`, None where there is none; raises ConfigError CONFIG_FILE, CONFIG_TLS."""
    sidecar = settings.sidecar
    if not sidecar.tls_listen:
        return None
    certificate, key, authority = sidecar.tls_certificate, sidecar.tls_key, sidecar.tls_client_ca
    assert certificate is not None  # the settings see to it that these come together
    assert key is not None
    assert authority is not None
    secret_file(settings.path(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # INVARIANT: a handshake without a certificate of a proxy ends here; what comes after has a name.
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(settings.path(certificate), settings.path(key))
        context.load_verify_locations(settings.path(authority))
    except OSError as error:  # ssl.SSLError is one
        hint = "`tls_certificate` and `tls_client_ca` are PEM files, and `tls_key` belongs to the first certificate"
        problem = Problem(code="CONFIG_TLS", message=str(error), where="sidecar.tls_certificate", hint=hint)
        raise ConfigError((problem,)) from None
    return context
