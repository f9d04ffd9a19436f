"""The certificate of a TLS client, handed to the application: uvicorn leaves it out of the scope.

It stands where the TLS extension of ASGI says: `scope["extensions"]["tls"]["client_cert_chain"]`, PEM, the client's own
certificate first. What is there was proven by the handshake; a request without TLS has no `tls` at all.
"""

from __future__ import annotations

import asyncio
import ssl

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class ClientCertificateProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol (`Config(http=ClientCertificateProtocol)`) that also says who the TLS client is."""

    _tls: dict[object, object] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember what the handshake proved; it cannot change while the connection lasts."""
        super().connection_made(transport)
        self._tls = _extension(transport)

    def on_message_begin(self) -> None:
        """Put it into the scope of each request."""
        super().on_message_begin()
        if self._tls is not None:
            self.scope["extensions"] = {"tls": {**self._tls}}


def server_context(*, certificate: str, key: str, authorities: bytes) -> ssl.SSLContext:
    """Return a TLS context that takes client certificates of these CAs, and clients without one.

    A certificate that does not verify ends the handshake. Sessions are not resumed: each connection proves its key.
    `trust_also` adds a CA while the listener runs; without any, no client certificate verifies.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    if authorities:
        trust_also(context, authorities)
    return context


def trust_also(context: ssl.SSLContext, authorities: bytes) -> None:
    """Take client certificates of these CAs as well, from the next handshake on.

    A context forgets no CA, so whoever asks for a certificate checks it against the CAs that hold now.
    """
    context.load_verify_locations(cadata=authorities.decode("ascii"))


def _extension(transport: asyncio.BaseTransport) -> dict[object, object] | None:
    connection = transport.get_extra_info("ssl_object")
    if connection is None:
        return None
    der = connection.getpeercert(binary_form=True)
    return {
        "server_cert": None,
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(der)] if der else [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": None,
        "cipher_suite": None,
    }
