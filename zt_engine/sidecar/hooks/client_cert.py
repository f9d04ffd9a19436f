"""What the hooks of Caddy and HAProxy do alike: the certificate is base64 in `Client-Cert`, set anew by the proxy."""

from __future__ import annotations

from zt_engine.sidecar.hooks.certificates import ForwardedCertificates
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.reading import HeaderHook, Sent


class ClientCertHook(HeaderHook):
    """Its family reads URI, method, host, scheme, port, address, id, key, certificate, and the client's credentials."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self._certificates = ForwardedCertificates()

    def base64(self, value: bytes) -> bytes:
        """Return the base64 of a `Client-Cert` header, empty without one; raises InputError CERT_MALFORMED."""
        raise NotImplementedError

    def sent(self, values: tuple[bytes, ...], *, method: bytes, rest: bytes) -> Sent:
        """Return the values. The proxy sends a certificate only if it has verified it."""
        uri, asked, host, scheme, port, address, number, key, certificate, authorization, dpop, cookie = values
        escaped = self._certificates.of(self.base64(certificate))
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
