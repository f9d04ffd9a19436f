"""A scenario in a browser: a session instead of a token, and a device that signed for it instead of a certificate."""

from __future__ import annotations

from typing import Final

from zt_engine.core.device_proof import Proven, Statement, digest, halves
from zt_engine.core.identity import VerifiedCertificate, VerifiedToken
from zt_engine.core.session import SessionRecord, sid_of

HANDLE: Final = b"scenario"
PROOF: Final = b"scenario.proof"


def session_of(token: VerifiedToken, host: str) -> SessionRecord:
    """Return the session that says what a token would have said."""
    return SessionRecord(
        sid=sid_of(HANDLE),
        version=1,
        host=host,
        issuer=token.issuer,
        subject=token.subject,
        client_id=token.client_id,
        claims=token.claims,
        acr=token.acr,
        amr=token.amr,
        auth_time=token.auth_time,
        until=token.expires_at,
    )


class SignedForBrowser:
    """The `DeviceProofVerifier` of a scenario: its device has just signed for its browser."""

    def __init__(self, certificate: VerifiedCertificate, host: str, at: int) -> None:
        self._certificate = certificate
        self._statement = Statement(
            id="scenario", host=host, sid=sid_of(HANDLE), nonce=digest(halves(PROOF)[0]), issued_at=at
        )

    def verify(self, jws: bytes, *, now: float) -> Proven:
        """Return what was signed."""
        return Proven(statement=self._statement, certificate=self._certificate)
