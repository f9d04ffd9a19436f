"""`/.zt/device`: sends a browser to the agent on its own machine, and takes it back with what the device signed.

Nothing is kept here in between, so the browser may come back to another sidecar: the secret waits in the browser, the
rest is signed by the device. Whatever is wrong with an answer, the address with the proof in it does not stay: the
browser is sent on, so that no page, history or picture of a screen holds it.
"""

from __future__ import annotations

import secrets
from collections.abc import Container
from typing import Final
from urllib.parse import urlencode

import msgspec
import structlog

from zt_engine.core.cookies import gone, issued
from zt_engine.core.device_proof import (
    AGENT_PATH,
    COOKIE,
    TICKET,
    TICKET_SECONDS,
    Proven,
    cookie_value,
    digest,
    proof_of,
    require_fresh,
    require_of,
    secret_of,
)
from zt_engine.core.errors import InputError
from zt_engine.core.session import SessionRecord, check_return, require_same_origin
from zt_engine.ports import Clock, DeviceProofVerifier
from zt_engine.sidecar.browser.answers import answer
from zt_engine.sidecar.browser.visit import Pages, RetoldError, Visit, value_of
from zt_engine.sidecar.browser_sessions import proof_for, session_of
from zt_engine.sidecar.replica import Replica

log = structlog.get_logger()

DEVICE: Final = b"/.zt/device"
ENDED: Final = frozenset(("SESSION_UNKNOWN", "SESSION_EXPIRED"))
MAX_STATE: Final = 3000
BEGUN_ELSEWHERE: Final = "DEVICE_PROOF_BROWSER"
TOLD: Final = frozenset(
    (
        *("DEVICE_PROOF_MALFORMED", "DEVICE_PROOF_SIGNATURE", BEGUN_ELSEWHERE, "DEVICE_PROOF_SESSION"),
        *("DEVICE_PROOF_HOST", "DEVICE_PROOF_FUTURE", "DEVICE_PROOF_STALE", "DEVICE_UNKNOWN", "DEVICE_REVOKED"),
        *("CERT_MALFORMED", "CERT_TOO_LARGE", "CERT_UNTRUSTED", "CERT_EXPIRED", "CERT_NOT_YET_VALID", "CERT_REVOKED"),
        *("CERT_AUTHORITY", "CERT_KEY_WEAK", "CERT_EKU", "CERT_NO_DEVICE", "CERT_AMBIGUOUS"),
    )
)
"""What an agent's answer can be refused for, and so what a browser that is on this way may be told."""


class DeviceProofs:
    """The pages, for one reading of the settings. `port` is the first at which agents answer."""

    def __init__(
        self, *, replica: Replica, verifier: DeviceProofVerifier, issuers: Container[str], clock: Clock, port: int
    ) -> None:
        self._replica = replica
        self._verifier = verifier
        self._issuers = issuers
        self._now = clock.now
        self._port = port

    @property
    def pages(self) -> Pages:
        """What is answered where."""
        return {(b"GET", DEVICE): self._device}

    async def _device(self, visit: Visit) -> bytes:
        query = visit.query
        if value_of(visit.raw, b"sec-fetch-mode") not in ("", "navigate"):
            raise InputError("AUTH_REQUIRED", "a page's script cannot have a device confirmed")
        if "refused" in query:
            raise RetoldError(_told(visit), "told once more")
        if "proof" not in query:
            # INVARIANT: only a page of this very origin, or whoever types the address, begins.
            sent, expected = visit.sent, visit.request.target.origin
            require_same_origin(origin=sent.origin, fetch_site=sent.fetch_site, expected=expected)
        to = query.get("state" if "proof" in query else "to", "/")
        check_return(to)
        try:
            session = self._session(visit)
        except InputError as error:
            if error.code not in ENDED:
                raise
            return answer(302, b"", ("Location", "/.zt/login?" + urlencode({"to": to})))
        if "proof" in query:
            return self._taken(visit, session, to)
        return self._challenge(visit, session, to if len(to) <= MAX_STATE else "/")

    def _session(self, visit: Visit) -> SessionRecord:
        """Return the browser's session; InputError SESSION_*."""
        if not visit.request.session:
            raise InputError("SESSION_UNKNOWN", "nobody is signed in")
        session = session_of(visit.request, self._replica, self._issuers, self._now())
        if session.device_id:
            raise InputError("SESSION_DEVICE", "this session is bound by a certificate, and by nothing else")
        return session

    def _challenge(self, visit: Visit, session: SessionRecord, to: str) -> bytes:
        """Send the browser to the agent. Two tabs share one secret, so that the slower one is not refused."""
        secret = secret_of(visit.sent.cookie) or secrets.token_urlsafe(32).encode()
        place = visit.request.target
        asked = {"host": place.host, "port": place.port, "sid": session.sid, "nonce": digest(secret), "state": to}
        cookie = issued(TICKET.decode(), secret.decode(), seconds=TICKET_SECONDS)
        location = f"http://127.0.0.1:{self._port}{AGENT_PATH}?{urlencode(asked)}"
        return answer(302, b"", ("Location", location), ("Set-Cookie", cookie))

    def _taken(self, visit: Visit, session: SessionRecord, to: str) -> bytes:
        """Take what the agent sent, and give the cookie for it; else tell why, at an address without it."""
        jws, secret, now = visit.query["proof"].encode("ascii", "replace"), secret_of(visit.sent.cookie), self._now()
        device = ""
        try:
            proven = self._verifier.verify(jws, now=now)
            device = proven.certificate.device_id
            require_of(proven.statement, secret=secret, sid=session.sid, host=visit.request.target.host, now=now)
            require_fresh(proven.statement, now=now)
            self._require_known(proven, now)
        except InputError as error:
            if self._has_proof(visit, session, now):  # the back button, or a second tab
                return answer(303, b"", ("Location", to))
            log.warning("device_proof.refused", code=error.code, device=device, session=session.sid[:12])
            return answer(303, b"", ("Location", f"{DEVICE.decode()}?" + urlencode({"refused": error.code})))
        log.info(
            "device_proof.taken",
            device=device,
            session=session.sid[:12],
            host=session.host,
            proof=proven.statement.id,
        )
        # A browser that keeps a proof whose certificate is over would be refused even what it opens without one.
        seconds = int(min(proven.statement.until, proven.certificate.not_after) - now)
        value = cookie_value(secret, jws).decode("ascii")
        cookie = issued(COOKIE.decode(), value, seconds=seconds)
        ticket = ("Set-Cookie", gone(TICKET.decode()))
        return answer(303, b"", ("Location", to), ("Set-Cookie", cookie), ticket)

    def _require_known(self, proven: Proven, now: float) -> None:
        """Require a device that is known by the key that signed and not revoked; InputError DEVICE_*, CERT_REVOKED."""
        certificate, situation = proven.certificate, self._replica.situation
        found = self._replica.device_of(certificate.x5t, now=now)
        names = (certificate.x5t, f"{certificate.issuer}|{certificate.serial}")
        if situation is None:
            raise InputError("NOT_READY", "no situation has been loaded")
        if situation.is_revoked("device", certificate.device_id, now=now):
            raise InputError("DEVICE_REVOKED", "the device was revoked")
        if any(situation.is_revoked("cert", name, now=now) for name in names):
            raise InputError("CERT_REVOKED", "the certificate was revoked")
        if found is None or found[0].device_id != certificate.device_id:
            raise InputError("DEVICE_UNKNOWN", "no device has the key of this certificate")

    def _has_proof(self, visit: Visit, session: SessionRecord, now: float) -> bool:
        """Whether the browser holds a proof for this session that counts."""
        try:
            shown = proof_of(visit.sent.cookie)
            request = msgspec.structs.replace(visit.request, device_proof=shown)
            return bool(shown) and proof_for(session, request, self._verifier, now) is not None
        except InputError:
            return False


def _told(visit: Visit) -> str:
    """Return the code to show for the one in the address, which anybody can write there.

    A browser that is not on this way is told so at most, which is true; it is what the victim of a relay reads.
    """
    code = visit.query["refused"]
    known = code in TOLD if secret_of(visit.sent.cookie) else code == BEGUN_ELSEWHERE
    return code if known else "DEVICE_UNPROVEN"
