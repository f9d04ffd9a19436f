"""Browser sessions: how one begins at the identity provider, lives on by refreshing, and ends.

Everything that is secret stays here: state, nonce and verifier of a sign-in under way, and the refresh token. The
browser holds a ticket while it signs in and a handle afterwards; of both only the digests are kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.ledger import write_down
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.jose import to_base64url
from zt_engine.core.session import SessionRecord, sid_of
from zt_engine.ports.credentials import Person, SignInVerifier
from zt_engine.ports.inventory import Transaction
from zt_engine.ports.sessions import HeldSession, PendingSignIn, Sealer, SignInProvider, Tokens

SIGN_IN_SECONDS: Final = 600
CLAIM_SECONDS: Final = 15
"""How long whoever refreshes a session may take before somebody else may try."""
LOGOUT: Final = "logout"
LOGOUT_SECONDS: Final = 3600
EVENT: Final = "session.changed"
CALLBACK: Final = "/.zt/callback"
MAX_PATH: Final = 4096
_SWEEP: Final = 200


class SessionRules(msgspec.Struct, frozen=True, kw_only=True):
    """How long sessions live, in seconds."""

    client_id: str
    whole: int = 8 * 3600
    renewed: int = 900
    """Until a refresh, where the provider gives refresh tokens."""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send the browser, and what ties the sign-in to it."""

    location: str
    ticket: str
    seconds: int


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A session that has begun: its handle, which is told once, and the path that was asked for."""

    handle: str
    sid: str
    to: str
    seconds: int


class Sessions:
    """The sessions of one control plane. For use by many threads."""

    def __init__(
        self,
        plane: ControlPlane,
        *,
        provider: SignInProvider,
        people: SignInVerifier,
        sealer: Sealer,
        rules: SessionRules,
    ) -> None:
        self._plane = plane
        self._provider = provider
        self._people = people
        self._sealer = sealer
        self._rules = rules

    # -- beginning

    def begin(
        self, *, scheme: str, host: str, authority: str, to: str, acr_values: str, max_age: int | None, device_id: str,
        now: int,
    ) -> Begun:  # fmt: skip
        """Begin a sign-in for a browser at a host; InputError SIGN_IN_RETURN for a path that leads elsewhere."""
        check_return(to)
        state, ticket, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(4))
        redirect_uri = f"{scheme}://{authority}{CALLBACK}"
        location = self._provider.authorization_url(
            redirect_uri=redirect_uri,
            state=state,
            nonce=nonce,
            challenge=digest(verifier),
            acr_values=acr_values,
            max_age=max_age,
        )
        pending = PendingSignIn(
            state=digest(state),
            ticket=digest(ticket),
            host=host,
            to=to,
            nonce=nonce,
            verifier=verifier,
            redirect_uri=redirect_uri,
            device_id=device_id,
            expires_at=now + SIGN_IN_SECONDS,
        )
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            tx.sessions.begin(pending)
        return Begun(location=location, ticket=ticket, seconds=SIGN_IN_SECONDS)

    def finish(
        self, *, state: str, ticket: str, host: str, device_id: str, code: str, issuer: str | None, error: str, now: int
    ) -> Finished:
        """Finish a sign-in that came back.

        Raises InputError: SIGN_IN_STATE (not begun, over, or used), SIGN_IN_BROWSER (another browser, host or device
        began it), SIGN_IN_MIXED (another provider answers, RFC 9207), SIGN_IN_DENIED, SIGN_IN_CODE, TOKEN_*.
        """
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            pending = tx.sessions.take(digest(state), now=now)
        if pending is None:
            raise InputError("SIGN_IN_STATE", "no sign-in is waiting for this answer")
        same = hmac.compare_digest(pending.ticket, digest(ticket))
        if not same or pending.host != host or pending.device_id != device_id:
            raise InputError("SIGN_IN_BROWSER", "the sign-in was begun by another browser")
        if issuer is not None and issuer != self._provider.issuer:
            raise InputError("SIGN_IN_MIXED", "another identity provider answers than was asked")
        if issuer is None and self._provider.promises_issuer():
            raise InputError("SIGN_IN_MIXED", "the answer does not say which identity provider it comes from")
        if error or not code:
            raise InputError("SIGN_IN_DENIED", "the identity provider let nobody in")
        tokens = self._provider.exchange(code, verifier=pending.verifier, redirect_uri=pending.redirect_uri)
        person = self._people.verify(tokens.id_token, now=now)
        if not hmac.compare_digest(person.nonce.encode(), pending.nonce.encode()):
            raise InputError("SIGN_IN_MIXED", "the ID token was made for another sign-in")
        handle = secrets.token_urlsafe(32)
        held = self._held(person, tokens, sid=sid_of(handle.encode()), pending=pending, now=now)
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            self._keep(tx, held, action="session.began", now=now)
        return Finished(handle=handle, sid=held.record.sid, to=pending.to, seconds=held.ends_at - now)

    # -- living on

    def refresh(self, sid: str, *, now: int) -> SessionRecord | None:
        """Refresh a session if it is time, and return it; None when it has ended.

        However many ask at once, the provider is asked once: whoever claims the session asks, the others get it as it
        is, which is good until then.
        """
        tenant = self._plane.settings.tenant
        with self._plane.store.reading(tenant) as tx:  # most of ten thousand need no more than this
            held = tx.sessions.get(sid)
        if held is None or not self._due(held, now):
            return held.record if held is not None and held.record.until > now else None
        with self._plane.store.writing(tenant) as tx:
            held = tx.sessions.get(sid)
            if held is None or not self._due(held, now):
                return held.record if held is not None and held.record.until > now else None
            tx.sessions.put(replace(held, claimed_until=now + CLAIM_SECONDS))
        try:
            tokens = self._provider.refresh(self._sealer.open(held.refresh, about=sid))
        except InputError:  # the provider says that it is over
            self.end(sid, reason="the identity provider ended it", actor="system", now=now)
            return None
        except UnavailableError:
            return held.record  # silent for now: good until its time, and no longer
        with self._plane.store.writing(tenant) as tx:
            before = tx.sessions.get(sid)
            if before is None:  # it was ended meanwhile, and stays so
                return None
            record = replace(
                before.record,
                version=before.record.version + 1,
                until=min(before.ends_at, now + self._rules.renewed),
            )
            sealed = self._sealer.seal(tokens.refresh_token, about=sid) if tokens.refresh_token else before.refresh
            after = replace(before, record=record, refresh=sealed, claimed_until=0)
            tx.sessions.put(after)
            tx.outbox.announce(EVENT, msgspec.json.encode(record))
        return record

    def _due(self, held: HeldSession, now: int) -> bool:
        """Whether it is time to refresh, and nobody does it already."""
        left = held.record.until - now
        may = bool(held.refresh) and held.record.until < held.ends_at and held.claimed_until <= now
        return may and 0 < left <= self._rules.renewed // 2

    # -- ending

    def end(self, sid: str, *, reason: str, actor: str, now: int) -> bool:
        """End a session; whether there was one."""
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            held = tx.sessions.get(sid)
            if held is None:
                return False
            ended(tx, [held], reason=reason, actor=actor, now=now)
        return True

    def end_all(self, *, issuer: str, subject: str, provider_session: str, now: int) -> int:
        """End what the provider says has ended (OpenID Connect Back-Channel Logout 1.0); return how many."""
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            if provider_session:
                found = tx.sessions.of_provider(issuer, provider_session)
                found = [one for one in found if not subject or one.record.subject == subject]
            else:
                found = list(tx.sessions.of_person(issuer, subject)) if subject else []
            ended(tx, found, reason="the identity provider ended it", actor="provider", now=now)
            return len(found)

    def logged_out(self, token: bytes, *, now: int) -> int:
        """Take a provider's logout token, once; InputError LOGOUT_TOKEN, TOKEN_*. Returns how many sessions ended."""
        told = self._people.logged_out(token, now=now)
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            fresh = tx.nonces.first_use(
                digest(f"{told.issuer}|{told.id}"), purpose=LOGOUT, expires_at=now + LOGOUT_SECONDS, now=now
            )
        if not fresh:
            raise InputError("LOGOUT_TOKEN", "this logout token was used before")
        return self.end_all(issuer=told.issuer, subject=told.subject, provider_session=told.session, now=now)

    def sweep(self, *, now: int) -> int:
        """Forget sessions that are over, and tell sidecars; return how many."""
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            found = tx.sessions.over(now=now, limit=_SWEEP)
            for held in found:
                _forget(tx, held)
            return len(found)

    def _held(self, person: Person, tokens: Tokens, *, sid: str, pending: PendingSignIn, now: int) -> HeldSession:
        ends_at = now + self._rules.whole
        until = min(ends_at, now + self._rules.renewed) if tokens.refresh_token else ends_at
        record = SessionRecord(
            sid=sid,
            version=1,
            host=pending.host,
            issuer=person.issuer,
            subject=person.subject,
            client_id=self._rules.client_id,
            claims=person.claims,
            acr=person.acr,
            amr=person.amr,
            auth_time=person.auth_time,
            provider_session=person.session,
            device_id=pending.device_id,
            until=until,
        )
        sealed = self._sealer.seal(tokens.refresh_token, about=sid) if tokens.refresh_token else ""
        return HeldSession(record=record, ends_at=ends_at, refresh=sealed)

    def _keep(self, tx: Transaction, held: HeldSession, *, action: str, now: int) -> None:
        record = held.record
        tx.sessions.put(held)
        tx.outbox.announce(EVENT, msgspec.json.encode(record))
        write_down(
            tx,
            actor=f"subject:{record.issuer}|{record.subject}",
            action=action,
            object_=f"session:{record.sid[:12]}",
            after={"host": record.host, "acr": record.acr, "until": record.until},
            now=now,
        )


def ended(tx: Transaction, found: Sequence[HeldSession], *, reason: str, actor: str, now: int) -> None:
    """End sessions, in a transaction of somebody who has more to do."""
    for held in found:
        _forget(tx, held)
        record = held.record
        write_down(
            tx,
            actor=actor,
            action="session.ended",
            object_=f"session:{record.sid[:12]}",
            reason=reason,
            before={"subject": f"{record.issuer}|{record.subject}", "host": record.host},
            now=now,
        )


def _forget(tx: Transaction, held: HeldSession) -> None:
    tx.sessions.remove(held.record.sid)
    tx.outbox.announce(EVENT, msgspec.json.encode({"sid": held.record.sid, "ended": True}))


def check_return(to: str) -> None:
    """Require a path of the very host a browser came from; raises InputError SIGN_IN_RETURN for anything else.

    Browsers take two slashes, a backslash and control characters for other things than a path.
    """
    plain = to.isascii() and to.isprintable() and " " not in to and "\\" not in to
    if not plain or not to.startswith("/") or to.startswith(("//", "/.zt/")) or len(to) > MAX_PATH:
        raise InputError("SIGN_IN_RETURN", "this is no page of this site to return to")


def digest(secret: str) -> str:
    """Return base64url SHA-256: what is kept of a secret, and PKCE's challenge (RFC 7636, S256)."""
    return to_base64url(hashlib.sha256(secret.encode()).digest())
