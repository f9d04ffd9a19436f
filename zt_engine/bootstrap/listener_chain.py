"""The CA that invitations name, and what the chain of the TLS listener lacks for those who are to know it by that."""

from __future__ import annotations

import hashlib

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from zt_engine.config import ControlSettings
from zt_engine.core.errors import ConfigError, Problem

log = structlog.get_logger()


def warn_unsent(settings: ControlSettings, ca_sha256: str) -> None:
    """Say so where invitations name a CA that the listener does not send: an agent takes it from the chain."""
    path = settings.control.cert_file
    if path is None or not ca_sha256:
        return
    chain = settings.path(path)
    if ca_sha256 not in digests(chain.read_bytes()):
        log.warning(
            "control.ca_not_sent",
            code="AGENT_CA_NOT_SENT",
            problem="invitations name the CA of `control.ca_file`, and no certificate of `control.cert_file` is it",
            hint="append the certificate of `ca_file` to `cert_file` and restart; "
            "until then `zt agent enroll` needs the file with `--ca`",
            where=str(chain),
        )


def sole_certificate(pem: bytes, *, where: str) -> bytes:
    """Return the one certificate of a file, as bare PEM; raises ConfigError CONFIG_FILE for none and for several.

    A link names one CA, so that of two nobody could say which.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        found = []
    if len(found) != 1:
        hint = "put the certificate of the CA that issued `cert_file` into it, in PEM, and nothing else"
        problem = Problem(
            code="CONFIG_FILE", message=f"{len(found)} certificates, and one is needed", where=where, hint=hint
        )
        raise ConfigError((problem,))
    return found[0].public_bytes(Encoding.PEM)


def digests(pem: bytes) -> frozenset[str]:
    """Return the SHA-256 of each certificate; none where there are no readable ones."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return frozenset()
    return frozenset(hashlib.sha256(one.public_bytes(Encoding.DER)).hexdigest() for one in found)
