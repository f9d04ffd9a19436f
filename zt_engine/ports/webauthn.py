"""The seams of WebAuthn: who verifies what a browser's key answers, and where keys and ceremonies are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from zt_engine.core.webauthn import Answered, Passkey


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was made just now, by somebody whom it verified."""

    credential: str
    """base64url, as everything binary here."""
    public_key: str
    counter: int
    backup_eligible: bool
    backed_up: bool
    attested: bool
    aaguid: str
    transports: tuple[str, ...] = ()


class KeyVerifier(Protocol):
    """Options for a browser, and the verification of its answers (WebAuthn Level 3, 7.1 and 7.2).

    INVARIANT: user verification is always required, and the only origin that counts is the control plane's own.

    Refusals are InputError: PASSKEY_ORIGIN (made for another origin or relying party, or inside another site's page),
    PASSKEY_VERIFICATION (nobody unlocked the key), PASSKEY_CHALLENGE (made for another challenge), PASSKEY_INVALID.
    """

    def creation(self, *, challenge: str, handle: str, name: str, display: str, known: Sequence[Passkey]) -> bytes:
        """Return the options for a new key as JSON (`PublicKeyCredentialCreationOptionsJSON`)."""
        ...

    def request(self, *, challenge: str, keys: Sequence[Passkey]) -> bytes:
        """Return the options for using one of these keys as JSON (`PublicKeyCredentialRequestOptionsJSON`)."""
        ...

    def created(self, answer: bytes, *, challenge: str) -> NewKey:
        """Verify what a browser answered to options for a new key."""
        ...

    def named(self, answer: bytes) -> str:
        """Return the credential id an answer names, unverified."""
        ...

    def proved(self, answer: bytes, *, challenge: str, key: Passkey) -> Answered:
        """Verify a key's answer. Whether its counter grew is for the caller to judge: the signature held by then."""
        ...


CeremonyKind = Literal["register", "prove", "proven"]


class Ceremony(msgspec.Struct, frozen=True, kw_only=True):
    """Something begun with a browser that comes back once. Of its secret only the digest is held."""

    id: str
    """base64url SHA-256 of what the browser comes back with."""
    kind: CeremonyKind
    issuer: str
    subject: str
    challenge: str = ""
    sid: str
    """The session it is about, and which alone may finish it."""
    handle: str = ""
    """The user handle of a key to be registered."""
    host: str = ""
    origin: str = ""
    """Where the browser goes back to, `https://HOST[:PORT]`."""
    to: str = ""
    """The page that was asked for, a path of that origin."""
    device_id: str = ""
    ticket: str = ""
    """Digest of the cookie of the browser that began it."""
    wanted: tuple[str, ...] = ()
    """The `acr` values one of which is enough."""
    asked: str = ""
    """The query by which the identity provider is asked for as much, for whoever has no key at hand."""
    key: str = ""
    """The key that was used, once it was."""
    acr: str = ""
    amr: tuple[str, ...] = ()
    proven_at: int = 0
    expires_at: int

    def __repr__(self) -> str:
        return f"Ceremony({self.id[:8]!r}, {self.kind!r}, {self.subject!r})"


class PasskeyStore(Protocol):
    """The keys of the tenant's people, and the ceremonies under way."""

    def get(self, key_id: str) -> Passkey | None:
        """Return a key, locked for the rest of a writing transaction."""
        ...

    def put(self, key: Passkey) -> None:
        """Insert or replace."""
        ...

    def remove(self, key_id: str) -> None:
        """Forget a key."""
        ...

    def of_person(self, issuer: str, subject: str) -> Sequence[Passkey]:
        """Return every key of a person, locked likewise, in the order of their ids."""
        ...

    def begin(self, ceremony: Ceremony) -> None:
        """Keep a ceremony that was begun."""
        ...

    def look(self, ceremony_id: str, *, now: int) -> Ceremony | None:
        """Return a ceremony under way, and leave it."""
        ...

    def take(self, ceremony_id: str, *, now: int) -> Ceremony | None:
        """Return a ceremony under way and forget it: only one of two transactions can."""
        ...


class StepUpBegun(msgspec.Struct, frozen=True):
    """Where a browser is to be sent to use a key, and what ties the ceremony to it."""

    location: str
    ticket: str
    seconds: int

    def __repr__(self) -> str:
        return "StepUpBegun(...)"


class StepUpRaised(msgspec.Struct, frozen=True):
    """The page that was asked for, and the version of the session that says more now."""

    to: str
    version: int


class StepUpDesk(Protocol):
    """The control plane, for a session that proves itself with a key. Refusals are InputError."""

    async def begin(self, asked: Mapping[str, object]) -> StepUpBegun:
        """Begin a ceremony."""
        ...

    async def finish(self, told: Mapping[str, object]) -> StepUpRaised:
        """Finish one."""
        ...
