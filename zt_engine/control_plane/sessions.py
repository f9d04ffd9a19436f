"""Browser sessions: how one begins at the identity provider, lives on by refreshing, and ends.

Everything that is secret stays here: state, nonce and verifier of a sign-in under way, and the refresh token. The
browser holds a ticket while it signs in and a handle afterwards; of both only the digests are kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

from zt_engine.control_plane.enrolling import actor_of
from zt_engine.control_plane.ledger import write_down
from zt_engine.control_plane.limits import Rate, RateLimiter
from zt_engine.control_plane.refreshing import Refreshing
from zt_engine.control_plane.session_changes import EVENT, Ground, ended, forget, give_way
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.jose import to_base64url
from zt_engine.core.session import SessionRecord, sid_of
from zt_engine.core.session import check_return as check_return  # noqa: PLC0414  (asked for here by others)
from zt_engine.core.wish import Wish
from zt_engine.ports.credentials import Person, SignInVerifier
from zt_engine.ports.inventory import Transaction
from zt_engine.ports.sessions import HeldSession, PendingSignIn, Sealer, SignInProvider, Tokens

SIGN_IN_SECONDS: Final = 600
TICKET_LENGTH: Final = 43
LOGOUT: Final = "logout"
LOGOUT_SECONDS: Final = 3600
CALLBACK: Final = "/.zt/callback"
SIGNED_OUT: Final = "/.zt/signed-out"
EACH: Final = Rate(300, 20)
TOGETHER: Final = Rate(1000, 100)
"""How often sign-ins begin: a ministry may stand behind one address, and each is a row for ten minutes."""
EXCHANGES: Final = 16
"""Sign-ins that wait for the provider at the same time: a slow one must not take every thread there is."""
KEY_SECONDS: Final = 3.0
"""How long a sign-in waits for a key of the provider that is new here."""
KEY_LOOK: Final = 0.2
MAX_HINT: Final = 3072
"""An ID token that is longer makes a URL that is too long for some."""
_SWEEP: Final = 200
_KEY_TURNED: Final = frozenset({"TOKEN_KEY_UNKNOWN", "TOKEN_SIGNATURE"})
"""What a provider's new key looks like: under an id of its own, or under an old one."""


class SessionRules(msgspec.Struct, frozen=True, kw_only=True):
    """How long sessions live, in seconds."""

    client_id: str
    whole: int = 8 * 3600
    renewed: int = 900
    """Until a refresh, where the provider gives refresh tokens."""
    onward: bool = False
    """Whether signing out goes on to the provider, where it offers that."""


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
    wish: Wish


class Sessions:
    """The sessions of one control plane. For use by many threads."""

    def __init__(
        self,
        plane: Ground,
        *,
        provider: SignInProvider,
        people: SignInVerifier,
        sealer: Sealer,
        rules: SessionRules,
        wait: Callable[[float], None] = time.sleep,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plane = plane
        self._provider = provider
        self._people = people
        self._sealer = sealer
        self._rules = rules
        self._wait = wait
        self._elapsed = elapsed
        self._begins = RateLimiter(each=EACH, together=TOGETHER)
        self._refreshing = Refreshing(plane, provider=provider, people=people, sealer=sealer, renewed=rules.renewed)
        self._exchanging = threading.BoundedSemaphore(EXCHANGES)

    # -- beginning

    def begin(
        self, *, scheme: str, host: str, authority: str, to: str, acr_values: str, max_age: int | None, device_id: str,
        now: int, ticket: str = "", address: str = "",
    ) -> Begun:  # fmt: skip
        """Begin a sign-in for a browser at a host; InputError SIGN_IN_RETURN for a path that leads elsewhere.

        A browser that signs in in two tabs shows the ticket of the first and keeps it, so that both come back.
        Whoever begins too many from one `address` is told to wait (UnavailableError SIGN_IN_BUSY): each is kept.
        """
        check_return(to)
        if address and self._begins.admit(address, elapsed=self._elapsed()) > 0:
            raise UnavailableError("SIGN_IN_BUSY", "too many sign-ins were begun")
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        ticket = ticket if len(ticket) == TICKET_LENGTH else secrets.token_urlsafe(32)
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
            wish=Wish(acr_values=acr_values, max_age=max_age),
        )
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            tx.sessions.begin(pending)
        return Begun(location=location, ticket=ticket, seconds=SIGN_IN_SECONDS)

    def finish(
        self, *, state: str, ticket: str, host: str, device_id: str, code: str, issuer: str | None, error: str,
        now: int, replaces: str = "",
    ) -> Finished:  # fmt: skip
        """Finish a sign-in that came back. `replaces` is the session that the browser had until now.

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
        if not self._exchanging.acquire(blocking=False):
            raise UnavailableError("SIGN_IN_PROVIDER", "too many sign-ins wait for the identity provider")
        try:
            tokens = self._provider.exchange(code, verifier=pending.verifier, redirect_uri=pending.redirect_uri)
            person = self._verified(tokens.id_token, now)
        finally:
            self._exchanging.release()
        if not hmac.compare_digest(person.nonce.encode(), pending.nonce.encode()):
            raise InputError("SIGN_IN_MIXED", "the ID token was made for another sign-in")
        handle = secrets.token_urlsafe(32)
        held = self._held(person, tokens, sid=sid_of(handle.encode()), pending=pending, now=now)
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            self._keep(tx, held, action="session.began", now=now)
            before = tx.sessions.get(replaces) if replaces else None
            if before is not None and before.record.host == host:
                give_way(tx, before, to=held.record.sid, now=now)
        seconds = held.ends_at - now
        return Finished(handle=handle, sid=held.record.sid, to=pending.to, seconds=seconds, wish=pending.wish)

    def _verified(self, id_token: bytes, now: int) -> Person:
        """Return who signed in; where the provider has turned its keys over, once the new ones are here."""
        waited = 0.0
        while True:
            try:
                return self._people.verify(id_token, now=now)
            except InputError as error:
                if error.code not in _KEY_TURNED or waited >= KEY_SECONDS:
                    raise
            self._wait(KEY_LOOK)
            waited += KEY_LOOK

    # -- living on

    def refresh(self, sid: str, *, now: int) -> SessionRecord | None:
        """Refresh a session if it is time, and return it; None when it has ended.

        However many ask at once, the provider is asked once: whoever claims the session asks, the others get it as it
        is, which is good until then.
        """
        return self._refreshing.refresh(sid, now=now)

    # -- ending

    def end(self, sid: str, *, reason: str, actor: str, now: int) -> bool:
        """End a session; whether there was one."""
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            held = tx.sessions.get(sid)
            if held is None:
                return False
            ended(tx, [held], reason=reason, actor=actor, now=now)
        return True

    def sign_out(self, sid: str, *, back: str, state: str, reason: str, actor: str, now: int) -> str | None:
        """End a session whose browser goes on; return where to: empty for nowhere. None when there was no session.

        `back` is the origin the provider is to send the browser back to.
        """
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            held = tx.sessions.get(sid)
            if held is None:
                return None
            ended(tx, [held], reason=reason, actor=actor, now=now)
        if not self._rules.onward or not back:
            return ""
        try:
            hint = self._sealer.open(held.hint, about=sid) if held.hint else ""
            return self._provider.sign_out_url(hint=hint, redirect_uri=back + SIGNED_OUT, state=state)
        except UnavailableError:
            return ""  # signed out here all the same

    def logged_out(self, token: bytes, *, now: int) -> int:
        """Take a provider's logout token, once; InputError LOGOUT_TOKEN, TOKEN_*. Returns how many sessions ended.

        What it ends and that it was used are one transaction: a provider that got no answer sends it again.
        """
        told = self._people.logged_out(token, now=now)
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            if told.session:
                found = tx.sessions.of_provider(told.issuer, told.session)
                found = [one for one in found if not told.subject or one.record.subject == told.subject]
            else:
                found = list(tx.sessions.of_person(told.issuer, told.subject)) if told.subject else []
            fresh = tx.nonces.first_use(
                digest(f"{told.issuer}|{told.id}"), purpose=LOGOUT, expires_at=now + LOGOUT_SECONDS, now=now
            )
            if not fresh:
                raise InputError("LOGOUT_TOKEN", "this logout token was used before")
            ended(tx, found, reason="the identity provider ended it", actor="provider", now=now)
            return len(found)

    def sweep(self, *, now: int) -> int:
        """Forget sessions that are over, and tell sidecars; return how many."""
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            found = tx.sessions.over(now=now, limit=_SWEEP)
            for held in found:
                forget(tx, held)
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
        keeps = self._rules.onward and len(tokens.id_token) <= MAX_HINT
        hint = self._sealer.seal(tokens.id_token.decode("ascii", "replace"), about=sid) if keeps else ""
        return HeldSession(record=record, ends_at=ends_at, refresh=sealed, hint=hint)

    def _keep(self, tx: Transaction, held: HeldSession, *, action: str, now: int) -> None:
        record = held.record
        tx.sessions.put(held)
        tx.outbox.announce(EVENT, msgspec.json.encode(record))
        write_down(
            tx,
            actor=actor_of(record.issuer, record.subject),
            action=action,
            object_=f"session:{record.sid[:12]}",
            after={"host": record.host, "acr": record.acr, "until": record.until},
            now=now,
        )


def digest(secret: str) -> str:
    """Return base64url SHA-256: what is kept of a secret, and PKCE's challenge (RFC 7636, S256)."""
    return to_base64url(hashlib.sha256(secret.encode()).digest())
