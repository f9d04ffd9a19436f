"""Client certificates as proxies hand them on in base64, turned into the escaped PEM that the rest reads.

The conversion is remembered, since a client shows the same certificate with every request.
"""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes

from zt_engine.core.errors import InputError
from zt_engine.core.generations import Generations

MAX_BASE64_BYTES = 12 * 1024
KEPT_BYTES = 16 << 20
_LINE = 64
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


class ForwardedCertificates:
    """Base64 of DER -> URL-escaped PEM; a bounded number of them is kept."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: Generations[bytes, bytes] = Generations(KEPT_BYTES, _size)

    def of(self, der: bytes) -> bytes:
        """Return one certificate as escaped PEM, empty if there is none.

        Raises InputError CERT_MALFORMED or CERT_TOO_LARGE.
        """
        if not der:
            return der
        escaped = self._kept.get(der)
        if escaped is None:
            escaped = _escaped(der)
            self._kept.put(der, escaped)
        return escaped


def _escaped(der: bytes) -> bytes:
    if len(der) > MAX_BASE64_BYTES:
        raise InputError("CERT_TOO_LARGE", f"{len(der)} bytes, {MAX_BASE64_BYTES} are allowed")
    if _BASE64.fullmatch(der) is None:
        raise InputError("CERT_MALFORMED", "the certificate is not base64 in one spelling")
    lines = [der[start : start + _LINE] for start in range(0, len(der), _LINE)]
    pem = b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])
    return quote_from_bytes(pem, safe="").encode("ascii")


def _size(key: bytes, value: bytes) -> int:
    return 200 + len(key) + len(value)
