"""By which names somebody's rights are taken back: one list, for whoever decides and for whoever shows pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zt_engine.core.session import SessionRecord
from zt_engine.core.situation import RevocationKind

RevocationName = tuple[RevocationKind, str]
"""A kind and its key."""

REVOKED: Final[Mapping[RevocationKind, str]] = {
    "device": "DEVICE_REVOKED",
    "cert": "CERT_REVOKED",
    "subject": "SUBJECT_REVOKED",
    "session": "SESSION_REVOKED",
    "jti": "TOKEN_REVOKED",
}
"""What is said of each kind."""


def person_names(issuer: str, subject: str) -> tuple[RevocationName, ...]:
    """Return the names of a person; `sub` alone names whoever has it, at every issuer."""
    return ("subject", f"{issuer}|{subject}"), ("subject", subject)


def session_names(record: SessionRecord) -> tuple[RevocationName, ...]:
    """Return the names of a browser's session, its own two last: what stands before them a new session has as well."""
    names = [*person_names(record.issuer, record.subject)]
    if record.device_id:
        names.append(("device", record.device_id))
    if record.provider_session:
        names.append(("session", record.provider_session))
    return (*names, ("jti", record.sid), ("session", record.sid))
