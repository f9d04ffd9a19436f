"""The seams of browser sign-in: where sessions are kept, and the identity provider that people sign in at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from zt_engine.core.session import SessionRecord
from zt_engine.core.wish import Wish


class PendingSignIn(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in that was begun and has not come back. Of its secrets only digests are held, but for the verifier."""

    state: str
    """base64url SHA-256 of `state`."""
    ticket: str
    """base64url SHA-256 of the cookie that ties it to the browser that began it."""
    host: str
    to: str
    """The path to return to, at this very host."""
    nonce: str
    verifier: str
    """Of PKCE (RFC 7636)."""
    redirect_uri: str
    device_id: str
    """The device whose certificate was shown when it began; empty without one."""
    expires_at: int
    wish: Wish = Wish()
    """What the provider was asked for beside a sign-in."""

    def __repr__(self) -> str:
        return f"PendingSignIn({self.state[:8]!r}, {self.host!r})"


class HeldSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session as the control plane keeps it."""

    record: SessionRecord
    ends_at: int
    """Nothing refreshes it beyond this."""
    refresh: str = ""
    """The provider's refresh token, encrypted; empty where it gave none."""
    claimed_until: int = 0
    """Until then somebody is refreshing it; nobody else does."""
    unanswered: bool = False
    """Whether the refresh token may have been used without anybody keeping what came of it."""
    hint: str = ""
    """The ID token, encrypted, where signing out goes on to the provider."""
    replaced: bool = False
    """Whether its browser has a newer one."""
    raised_by: str = ""
    """The key by which its person proved to be there, if that was what it says of its sign-in."""
    raised_before: tuple[str, ...] = ()
    """Other keys of its person that raised it earlier: it ends with each of them that is lost."""

    def __repr__(self) -> str:
        return f"HeldSession({self.record!r})"


class SessionStore(Protocol):
    """The browser sessions of the tenant, and the sign-ins under way."""

    def begin(self, pending: PendingSignIn) -> None:
        """Keep a sign-in that was begun."""
        ...

    def take(self, state: str, *, now: int) -> PendingSignIn | None:
        """Return a sign-in under way and forget it: it comes back once."""
        ...

    def get(self, sid: str) -> HeldSession | None:
        """Return a session, locked for the rest of a writing transaction."""
        ...

    def put(self, session: HeldSession) -> None:
        """Insert or replace."""
        ...

    def remove(self, sid: str) -> None:
        """Forget a session."""
        ...

    def of_person(self, issuer: str, subject: str) -> Sequence[HeldSession]:
        """Return every session of a person, locked likewise, in the order of their ids."""
        ...

    def of_provider(self, issuer: str, provider_session: str) -> Sequence[HeldSession]:
        """Return every session that came from one session at the provider, locked likewise."""
        ...

    def page(self, *, after: str, limit: int) -> Sequence[HeldSession]:
        """Return sessions in the order of their ids."""
        ...

    def over(self, *, now: int, limit: int) -> Sequence[HeldSession]:
        """Return sessions that prove nothing any more, locked likewise; pending sign-ins that are over are removed."""
        ...


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider's token endpoint gave."""

    id_token: bytes
    refresh_token: str = ""

    def __repr__(self) -> str:
        return "Tokens(...)"


class SignInProvider(Protocol):
    """The identity provider (OpenID Connect Core 1.0, Discovery 1.0). Silence is UnavailableError SIGN_IN_PROVIDER.

    UnavailableError SIGN_IN_CLIENT: it does not know our client, whoever signs in.
    """

    @property
    def issuer(self) -> str:
        """Its issuer identifier."""
        ...

    def authorization_url(
        self, *, redirect_uri: str, state: str, nonce: str, challenge: str, acr_values: str, max_age: int | None
    ) -> str:
        """Return where to send a browser."""
        ...

    def promises_issuer(self) -> bool:
        """Whether every answer to a browser names the issuer (RFC 9207)."""
        ...

    def sign_out_url(self, *, hint: str, redirect_uri: str, state: str) -> str:
        """Return where to send a browser that signs out (RP-Initiated Logout 1.0, 2); empty where none is offered."""
        ...

    def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> Tokens:
        """Redeem a code; InputError SIGN_IN_CODE when the provider refuses it."""
        ...

    def refresh(self, refresh_token: str) -> Tokens:
        """Redeem a refresh token; InputError SIGN_IN_ENDED when the provider refuses it."""
        ...


class Sealer(Protocol):
    """Encrypts what has to be kept and is a secret."""

    def seal(self, text: str, *, about: str) -> str:
        """Encrypt; `about` has to be the same when it is opened."""
        ...

    def open(self, sealed: str, *, about: str) -> str:
        """Decrypt, or raise UnavailableError SIGN_IN_SEALED."""
        ...


class Begun(msgspec.Struct, frozen=True):
    """Where a browser is to be sent, and what ties the sign-in to it."""

    location: str
    ticket: str
    seconds: int


class Finished(msgspec.Struct, frozen=True):
    """A session that has begun."""

    handle: str
    sid: str
    to: str
    seconds: int
    wish: Wish = Wish()
    """What it was begun for: a step-up may come back without it."""


class SignInDesk(Protocol):
    """The control plane, for a browser that signs in. Refusals are InputError, silence is UnavailableError."""

    async def begin(self, asked: Mapping[str, object]) -> Begun:
        """Begin a sign-in."""
        ...

    async def finish(self, told: Mapping[str, object]) -> Finished:
        """Finish one."""
        ...

    async def refresh(self, sid: str) -> None:
        """Have a session refreshed, if it is time."""
        ...

    async def end(self, sid: str, *, back: str = "", state: str = "") -> str:
        """End a session; return where its browser goes on to, empty for nowhere.

        `back` is the origin it would come back to, at `/.zt/signed-out` and with this `state`.
        """
        ...
