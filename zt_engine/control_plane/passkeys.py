"""Keys of people: registered after a fresh sign-in, named, and taken away when they are no longer used or were lost.

What a key is good for is for `core.webauthn` to say, and using one for `passkeys_proving`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.ledger import write_down
from zt_engine.control_plane.session_changes import ended
from zt_engine.control_plane.sessions import digest
from zt_engine.core.errors import InputError
from zt_engine.core.webauthn import MAX_KEYS, Passkey, key_name
from zt_engine.ports.inventory import Transaction
from zt_engine.ports.webauthn import Ceremony, KeyVerifier, NewKey

FRESH_SECONDS: Final = 600
"""How long after signing in somebody may register a key."""
CEREMONY_SECONDS: Final = 300
PASSKEYS: Final = "passkeys"
"""Under which name `ControlPlane.extras` holds `Passkeys`."""

Why = Literal["removed", "lost"]


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who signed in, and how."""

    issuer: str
    subject: str
    name: str
    sid: str
    acr: str
    amr: tuple[str, ...]
    auth_time: int | None

    @property
    def actor(self) -> str:
        """As audit events name them."""
        return f"person:{self.issuer}|{self.subject}"


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a browser is to make a key with, and what it comes back with."""

    secret: str
    options: bytes

    def __repr__(self) -> str:
        return "Offer(...)"


class Passkeys:
    """The keys of one control plane's people. For use by many threads."""

    def __init__(self, plane: ControlPlane, verifier: KeyVerifier, *, sign_in: frozenset[str] = frozenset()) -> None:
        """`sign_in`: `acr` or `amr` values one of which a sign-in must show before a key is registered; empty: any."""
        self.verifier = verifier
        self._plane = plane
        self._sign_in = sign_in

    def of(self, issuer: str, subject: str) -> Sequence[Passkey]:
        """Return somebody's keys, the oldest first."""
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            found = tx.passkeys.of_person(issuer, subject)
        return sorted(found, key=lambda key: (key.created_at, key.id))

    def get(self, holder: Holder, key_id: str) -> Passkey:
        """Return one of somebody's keys; PASSKEY_NOT_FOUND for what is nobody's or another's."""
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            return _own(tx, holder, key_id)

    def last(self, holder: Holder, key_id: str) -> str:
        """Return what was done last to a key, as the audit names it, if they did that themselves; or empty."""
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            events = tx.audit.of(f"passkey:{key_id[:12]}", limit=1)
        return next((event.action for event in events if event.actor == holder.actor), "")

    def check(self, holder: Holder, *, now: int) -> None:
        """Require that somebody may register a key now; raises InputError PASSKEY_STALE or PASSKEY_SIGN_IN."""
        if holder.auth_time is None or not 0 <= now - holder.auth_time <= FRESH_SECONDS:
            raise InputError("PASSKEY_STALE", "the sign-in is too old to register a key")
        if self._sign_in and self._sign_in.isdisjoint((holder.acr, *holder.amr)):
            raise InputError("PASSKEY_SIGN_IN", "the sign-in was none after which a key may be registered")

    # -- registering

    def begin(self, holder: Holder, *, now: int) -> Offer:
        """Begin to register a key; PASSKEY_STALE, PASSKEY_SIGN_IN, PASSKEY_LIMIT."""
        self.check(holder, now=now)
        secret, challenge = (secrets.token_urlsafe(32) for _ in range(2))
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            known = tx.passkeys.of_person(holder.issuer, holder.subject)
            _room(known)
            handle = known[0].handle if known else secrets.token_urlsafe(32)
            tx.passkeys.begin(
                Ceremony(
                    id=digest(secret),
                    kind="register",
                    issuer=holder.issuer,
                    subject=holder.subject,
                    challenge=challenge,
                    sid=holder.sid,
                    handle=handle,
                    expires_at=now + CEREMONY_SECONDS,
                )
            )
        options = self.verifier.creation(
            challenge=challenge, handle=handle, name=holder.name, display=holder.name, known=known
        )
        return Offer(secret=secret, options=options)

    def register(self, holder: Holder, *, secret: str, name: str, answer: bytes, now: int) -> Passkey:
        """Register the key a browser made.

        Raises InputError: PASSKEY_CHALLENGE (not begun, over, or used), PASSKEY_SESSION (another session began it),
        PASSKEY_TAKEN, PASSKEY_LIMIT, PASSKEY_NAME, and what `begin` and the verifier raise.
        """
        self.check(holder, now=now)
        tenant = self._plane.settings.tenant
        with self._plane.store.writing(tenant) as tx:
            ceremony = tx.passkeys.take(digest(secret), now=now)
        if ceremony is None or ceremony.kind != "register":
            raise InputError("PASSKEY_CHALLENGE", "no key is to be registered with this")
        if (ceremony.issuer, ceremony.subject, ceremony.sid) != (holder.issuer, holder.subject, holder.sid):
            raise InputError("PASSKEY_SESSION", "another session began this")
        made = self.verifier.created(answer, challenge=ceremony.challenge)
        with self._plane.store.writing(tenant) as tx:
            known = tx.passkeys.of_person(holder.issuer, holder.subject)
            _room(known)
            key = _key(made, ceremony, name=key_name(name, taken=[one.name for one in known]), now=now)
            if tx.passkeys.get(key.id) is not None:
                raise InputError("PASSKEY_TAKEN", "the key is registered already")
            tx.passkeys.put(key)
            write_down(
                tx,
                actor=holder.actor,
                action="passkey.registered",
                object_=f"passkey:{key.id[:12]}",
                now=now,
                after={**_told(key), "acr": holder.acr, "amr": list(holder.amr), "auth_time": holder.auth_time},
            )
        return key

    # -- looking after them

    def rename(self, holder: Holder, key_id: str, *, name: str, now: int) -> Passkey:
        """Give a key another name; PASSKEY_NAME, PASSKEY_NOT_FOUND."""
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            known = tx.passkeys.of_person(holder.issuer, holder.subject)
            key = _own(tx, holder, key_id)
            after = replace(key, name=key_name(name, taken=[one.name for one in known if one.id != key_id]))
            if after != key:
                tx.passkeys.put(after)
                _write(tx, holder, "passkey.renamed", before=key, after=after, now=now)
        return after

    def remove(self, holder: Holder, key_id: str, *, why: Why, now: int) -> int:
        """Forget a key; of one that was lost, sessions it proved end as well. Returns how many ended.

        The last one may go too: the identity provider is still there.
        """
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            key = _own(tx, holder, key_id)
            tx.passkeys.remove(key_id)
            _write(tx, holder, f"passkey.{why}", before=key, after=None, now=now)
            if why != "lost":
                return 0
            sessions = tx.sessions.of_person(holder.issuer, holder.subject)
            found = [held for held in sessions if key_id in (held.raised_by, *held.raised_before)]
            ended(tx, found, reason="its key was reported lost", actor=holder.actor, now=now)
            return len(found)


def forget_keys(tx: Transaction, issuer: str, subject: str, *, actor: str, reason: str, now: int) -> list[str]:
    """Forget every key of somebody who leaves; return their names."""
    found = tx.passkeys.of_person(issuer, subject)
    for key in found:
        tx.passkeys.remove(key.id)
        write_down(
            tx,
            actor=actor,
            action="passkey.removed",
            object_=f"passkey:{key.id[:12]}",
            reason=reason,
            before=_told(key),
            now=now,
        )
    return [key.name for key in found]


def _own(tx: Transaction, holder: Holder, key_id: str) -> Passkey:
    key = tx.passkeys.get(key_id)
    if key is None or (key.issuer, key.subject) != (holder.issuer, holder.subject):
        raise InputError("PASSKEY_NOT_FOUND", "they have no such key")
    return key


def _room(known: Sequence[Passkey]) -> None:
    if len(known) >= MAX_KEYS:
        raise InputError("PASSKEY_LIMIT", f"they have {MAX_KEYS} keys")


def _key(made: NewKey, ceremony: Ceremony, *, name: str, now: int) -> Passkey:
    return Passkey(
        id=digest(made.credential),
        issuer=ceremony.issuer,
        subject=ceremony.subject,
        credential=made.credential,
        public_key=made.public_key,
        handle=ceremony.handle,
        name=name,
        counter=made.counter,
        backup_eligible=made.backup_eligible,
        backed_up=made.backed_up,
        attested=made.attested,
        aaguid=made.aaguid,
        transports=made.transports,
        created_at=now,
    )


def _told(key: Passkey) -> dict[str, object]:
    """What the audit says of a key."""
    return {
        "name": key.name, "acr": key.acr, "attested": key.attested, "aaguid": key.aaguid,
        "backup_eligible": key.backup_eligible, "backed_up": key.backed_up,
    }  # fmt: skip


def _write(tx: Transaction, holder: Holder, action: str, *, before: Passkey, after: Passkey | None, now: int) -> None:
    write_down(
        tx,
        actor=holder.actor,
        action=action,
        object_=f"passkey:{before.id[:12]}",
        now=now,
        before=_told(before),
        after=None if after is None else _told(after),
    )


def passkeys_of(plane: ControlPlane) -> Passkeys:
    """Return the keys of this control plane's people; InputError PASSKEY_OFF where there are none."""
    found = plane.extras.get(PASSKEYS)
    if not isinstance(found, Passkeys):
        raise InputError("PASSKEY_OFF", "nobody has keys here")
    return found
