"""What a browser's cookies prove: whose session it is, and which device signed for it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from zt_engine.core.decision import Decision, Effect
from zt_engine.core.device_proof import Proven, halves, require_of
from zt_engine.core.errors import InputError
from zt_engine.core.identity import VerifiedToken
from zt_engine.core.request import AccessRequest
from zt_engine.core.session import SessionRecord, sid_of
from zt_engine.ports import DeviceProofVerifier
from zt_engine.sidecar.replica import Replica

PASSED: Final = frozenset(("DEVICE_PROOF_STALE", "DEVICE_PROOF_SESSION"))
"""What becomes of a proof in the course of things: its time is over, or its session is. It proves nothing any more, and
the session is one without a device. Every other fault refuses the request."""


def session_of(request: AccessRequest, replica: Replica, issuers: Container[str], now: float) -> SessionRecord:
    """Return the session of a cookie; raises InputError SESSION_UNKNOWN, SESSION_FOREIGN, SESSION_EXPIRED."""
    found = replica.sessions.get(sid_of(request.session))
    if found is None:
        raise InputError("SESSION_UNKNOWN", "nobody is signed in with this cookie")
    if found.host != request.target.host:
        raise InputError("SESSION_FOREIGN", "this cookie was given out at another host")
    if now >= found.until:
        raise InputError("SESSION_EXPIRED", "the session has not been refreshed in time")
    if found.issuer not in issuers:
        raise InputError("TOKEN_ISSUER_UNKNOWN", "the session's issuer is not trusted here")
    replica.used[found.sid] = now
    return found


def proof_for(
    session: SessionRecord, request: AccessRequest, verifier: DeviceProofVerifier | None, now: float
) -> Proven | None:
    """Return what a device proof proves; None when its time has passed. InputError DEVICE_PROOF_*, CERT_*."""
    if verifier is None:
        raise InputError("DEVICE_PROOF_MALFORMED", "nobody verifies device proofs here")
    secret, jws = halves(request.device_proof)
    try:
        proven = verifier.verify(jws, now=now)
        require_of(proven.statement, secret=secret, sid=session.sid, host=request.target.host, now=now)
    except InputError as error:
        if error.code in PASSED:
            return None
        raise
    return proven


def lacks_device(decision: Decision, kinds: Mapping[str, str]) -> bool:
    """Whether what a decision asks for first is a device, so that proving one may be all that is missing."""
    first = decision.reasons[0] if decision.reasons else ""
    return decision.effect is Effect.DENY and kinds.get(first) in ("device", "report")


def token_of(session: SessionRecord) -> VerifiedToken:
    """Return what a session says as a token says it: the control plane verified it, and the stream's key signs it."""
    return VerifiedToken(
        issuer=session.issuer,
        subject=session.subject,
        client_id=session.client_id,
        claims=session.claims,
        expires_at=session.until,
        not_before=0,
        jti=session.sid,
        key_id="",
        x5t="",
        jkt="",
        session=session.provider_session,
        acr=session.acr,
        amr=session.amr,
        auth_time=session.auth_time,
        actor=None,
        digest=session.sid,
    )
