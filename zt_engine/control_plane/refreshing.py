"""How a browser's session lives on: the provider is asked once, whoever asks and however many do.

Whoever finds a session due claims it in a transaction, asks the provider outside of one, and keeps the answer in
another. A refresh token that may have been used and whose answer nobody has kept (a crash, a broken line) is the hard
case: a provider that turns its tokens over takes the next use for a theft. So its "no" after such a question is no word
about the person: the session lives until its time, is refreshed no more, and ends with a new sign-in.
"""

from __future__ import annotations

import threading
from typing import Final

import msgspec
from msgspec.structs import replace

from zt_engine.control_plane.session_changes import EVENT, Ground, ended
from zt_engine.core.errors import InputError, UnavailableError, ZtError
from zt_engine.core.session import SessionRecord
from zt_engine.ports.credentials import Person, SignInVerifier
from zt_engine.ports.sessions import HeldSession, Sealer, SignInProvider, Tokens

CLAIM_SECONDS: Final = 20
"""How long nobody else tries; longer than the provider is waited for."""
AT_ONCE: Final = 8
"""Refreshes that wait for the provider at the same time: a slow one must not take every thread there is."""


class Refreshing:
    """Refreshes sessions, for use by many threads of many processes."""

    def __init__(
        self, plane: Ground, *, provider: SignInProvider, people: SignInVerifier, sealer: Sealer, renewed: int
    ) -> None:
        self._plane = plane
        self._provider = provider
        self._people = people
        self._sealer = sealer
        self._renewed = renewed
        self._waiting = threading.BoundedSemaphore(AT_ONCE)

    def refresh(self, sid: str, *, now: int) -> SessionRecord | None:
        """Refresh a session if it is time, and return it; None when it has ended."""
        with self._plane.store.reading(self._plane.settings.tenant) as tx:  # most of ten thousand need no more
            held = tx.sessions.get(sid)
        if held is None or not self._due(held, now):
            return _good(held, now)
        if not self._waiting.acquire(blocking=False):
            return held.record  # it is asked for again in a moment
        try:
            return self._asked(sid, now)
        finally:
            self._waiting.release()

    def _asked(self, sid: str, now: int) -> SessionRecord | None:
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            held = tx.sessions.get(sid)
            if held is None or not self._due(held, now):
                return _good(held, now)
            tx.sessions.put(replace(held, claimed_until=now + CLAIM_SECONDS, unanswered=True))
        try:
            secret = self._sealer.open(held.refresh, about=sid)
        except UnavailableError:
            self._over(sid, "the key it was kept under was retired", now)
            return None
        try:
            tokens = self._provider.refresh(secret)
        except InputError:
            return self._refused(held, now)
        except UnavailableError:
            return held.record  # silent for now: good until its time, and no longer
        return self._answered(held, tokens, now)

    def _answered(self, held: HeldSession, tokens: Tokens, now: int) -> SessionRecord | None:
        record = held.record
        sealed = self._sealer.seal(tokens.refresh_token, about=record.sid) if tokens.refresh_token else held.refresh
        person: Person | None = None
        try:
            if tokens.id_token:
                person = self._people.verify(tokens.id_token, now=now)
        except ZtError:
            # Perhaps its key is too new to be known here. What cannot be read prolongs nothing; a later one may.
            return self._settled(record.sid, record=None, refresh=sealed, claimed_until=now + CLAIM_SECONDS)
        if person is not None and (person.issuer, person.subject) != (record.issuer, record.subject):
            self._over(record.sid, "the identity provider answered for somebody else", now)
            return None
        until = min(held.ends_at, now + self._renewed)
        claims = record.claims if person is None else person.claims
        return self._settled(record.sid, record=replace(record, until=until, claims=claims), refresh=sealed)

    def _refused(self, held: HeldSession, now: int) -> SessionRecord | None:
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            before = tx.sessions.get(held.record.sid)
            if before is None:
                return None
            if before.refresh != held.refresh:  # somebody else got an answer, and keeps a newer token
                return before.record
            if held.unanswered:
                tx.sessions.put(replace(before, refresh=""))
                return before.record
            ended(tx, [before], reason="the identity provider ended it", actor="system", now=now)
        return None

    def _settled(
        self, sid: str, *, record: SessionRecord | None, refresh: str, claimed_until: int = 0
    ) -> SessionRecord | None:
        """Keep an answer; sidecars are told of a record that says something else."""
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            before = tx.sessions.get(sid)
            if before is None:  # it was ended meanwhile, and stays so
                return None
            old = before.record
            if before.replaced:
                refresh = ""
            elif record is not None and (record.until, record.claims) != (old.until, old.claims):
                # What others have changed of it meanwhile stays.
                old = replace(old, version=old.version + 1, until=record.until, claims=record.claims)
                tx.outbox.announce(EVENT, msgspec.json.encode(old))
            tx.sessions.put(replace(before, record=old, refresh=refresh, claimed_until=claimed_until, unanswered=False))
        return old

    def _over(self, sid: str, reason: str, now: int) -> None:
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            held = tx.sessions.get(sid)
            if held is not None:
                ended(tx, [held], reason=reason, actor="system", now=now)

    def _due(self, held: HeldSession, now: int) -> bool:
        """Whether it is time to refresh, and nobody does it already."""
        left = held.record.until - now
        may = bool(held.refresh) and held.record.until < held.ends_at and held.claimed_until <= now
        return may and 0 < left <= self._renewed // 2


def _good(held: HeldSession | None, now: int) -> SessionRecord | None:
    return held.record if held is not None and held.record.until > now else None
