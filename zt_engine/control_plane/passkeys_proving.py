"""A session proves itself with a key of its person, instead of a sign-in at the identity provider.

The browser leaves the protected host with a secret in the address, uses the key at the control plane's own page, and
goes back with a code. INVARIANT: only the session that began gets anything: the code counts once, together with its
cookie, the ticket that this very browser was given, the host and the device. Whoever sends the address of a ceremony to
somebody else gets nothing for that person's key.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection
from typing import Final

import msgspec
from msgspec.structs import replace

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrolling import actor_of, check_person
from zt_engine.control_plane.ledger import write_down
from zt_engine.control_plane.passkeys import CEREMONY_SECONDS, passkeys_of
from zt_engine.control_plane.session_changes import EVENT
from zt_engine.control_plane.sessions import check_return, digest
from zt_engine.core.errors import InputError
from zt_engine.core.webauthn import Passkey, good_for, used
from zt_engine.ports.inventory import Transaction
from zt_engine.ports.sessions import HeldSession
from zt_engine.ports.webauthn import Ceremony

CODE_SECONDS: Final = 60
"""How long a browser may take from the page with the key to the page it came from."""
PAGE: Final = "/step-up"
BACK: Final = "/.zt/proven"


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send a browser, and what ties the ceremony to it."""

    location: str
    ticket: str
    seconds: int

    def __repr__(self) -> str:
        return "Begun(...)"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the page of a ceremony shows."""

    ceremony: Ceremony
    options: bytes


class Raised(msgspec.Struct, frozen=True, kw_only=True):
    """The page that was asked for, and the version of the session that says more now."""

    to: str
    version: int


class Proving:
    """Proves sessions of one control plane. For use by many threads."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def begin(
        self, *, sid: str, scheme: str, host: str, authority: str, to: str, device_id: str, wanted: tuple[str, ...],
        now: int, asked: str = "",
    ) -> Begun:  # fmt: skip
        """Begin a ceremony for a session; one of `wanted` is what its sign-in has to become.

        `asked` is the query by which the identity provider is asked for as much.

        Raises InputError: SIGN_IN_RETURN, SIGN_IN_PLAIN, SESSION_NOT_FOUND, PASSKEY_SESSION (another host or device),
        PASSKEY_NONE (no key of the person is good enough).
        """
        passkeys_of(self._plane)  # or there are none here
        check_return(to)
        if scheme != "https":
            raise InputError("SIGN_IN_PLAIN", "browsers use no key over plain HTTP")
        secret, challenge, ticket = (secrets.token_urlsafe(32) for _ in range(3))
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            record = _living(tx, sid, now).record
            if record.host != host or record.device_id not in ("", device_id):
                raise InputError("PASSKEY_SESSION", "the session is another host's or another device's")
            held = tx.passkeys.of_person(record.issuer, record.subject)
            if not good_for(held, wanted):
                raise InputError("PASSKEY_NONE", "no key of this person is good enough")
            tx.passkeys.begin(
                Ceremony(
                    id=digest(secret),
                    kind="prove",
                    issuer=record.issuer,
                    subject=record.subject,
                    challenge=challenge,
                    sid=sid,
                    host=host,
                    origin=f"{scheme}://{authority}",
                    to=to,
                    device_id=device_id,
                    ticket=digest(ticket),
                    wanted=wanted,
                    asked=asked,
                    expires_at=now + CEREMONY_SECONDS,
                )
            )
        location = f"{self._plane.settings.url}{PAGE}/{secret}"
        return Begun(location=location, ticket=ticket, seconds=CEREMONY_SECONDS)

    def asked(self, secret: str, *, now: int) -> Asked:
        """Return what a ceremony asks for, as often as its page is opened; PASSKEY_CHALLENGE, PASSKEY_NONE."""
        keys = passkeys_of(self._plane)
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            ceremony = _begun(tx.passkeys.look(digest(secret), now=now))
            good = good_for(tx.passkeys.of_person(ceremony.issuer, ceremony.subject), ceremony.wanted)
        if not good:
            raise InputError("PASSKEY_NONE", "no key of this person is good enough")
        options = keys.verifier.request(challenge=ceremony.challenge, keys=good)
        return Asked(ceremony=ceremony, options=options)

    def prove(self, secret: str, answer: bytes, *, now: int) -> str:
        """Take the answer of a key, once, and return where the browser goes with what it proved.

        Raises InputError: PASSKEY_CHALLENGE, PASSKEY_UNKNOWN (no key of this person), PASSKEY_LOCKED, PASSKEY_COUNTER
        (it counted backwards, and is locked now), PASSKEY_NONE (not good enough), and what the verifier raises.
        """
        verifier, tenant = passkeys_of(self._plane).verifier, self._plane.settings.tenant
        with self._plane.store.writing(tenant) as tx:
            ceremony = _begun(tx.passkeys.take(digest(secret), now=now))
        key_id = digest(verifier.named(answer))
        with self._plane.store.reading(tenant) as tx:
            key = _theirs(tx, ceremony, key_id)
        shown = verifier.proved(answer, challenge=ceremony.challenge, key=key)
        code = secrets.token_urlsafe(32)
        with self._plane.store.writing(tenant) as tx:
            after = used(_theirs(tx, ceremony, key_id), shown, now=now)
            tx.passkeys.put(after)
            if not after.trouble:
                if after.acr not in ceremony.wanted:
                    raise InputError("PASSKEY_NONE", "the key is not good enough for the page")
                tx.passkeys.begin(
                    replace(
                        ceremony,
                        id=digest(code),
                        kind="proven",
                        challenge="",
                        key=key_id,
                        acr=after.acr,
                        amr=after.amr,
                        proven_at=now,
                        expires_at=now + CODE_SECONDS,
                    )
                )
            else:
                write_down(
                    tx,
                    actor=actor_of(ceremony.issuer, ceremony.subject),
                    action="passkey.locked",
                    object_=f"passkey:{key_id[:12]}",
                    reason="its counter went back: there may be a copy of it",
                    before={"counter": key.counter},
                    after={"counter": shown.counter},
                    now=now,
                )
        if after.trouble:
            raise InputError("PASSKEY_COUNTER", "the counter of the key went back")
        return f"{ceremony.origin}{BACK}?code={code}"

    def finish(self, *, code: str, ticket: str, sid: str, host: str, device_id: str, now: int) -> Raised:
        """Let a session say what its person's key proved.

        Raises InputError: PASSKEY_CHALLENGE (nothing was proven, or it was used), PASSKEY_SESSION (another browser,
        session, host or device began it), SESSION_NOT_FOUND, PASSKEY_UNKNOWN (the key was taken away meanwhile).
        """
        tenant = self._plane.settings.tenant
        with self._plane.store.writing(tenant) as tx:
            proven = tx.passkeys.take(digest(code), now=now)
        if proven is None or proven.kind != "proven":
            raise InputError("PASSKEY_CHALLENGE", "nothing was proven with this")
        same = hmac.compare_digest(proven.ticket, digest(ticket))
        if not same or (proven.sid, proven.host, proven.device_id) != (sid, host, device_id):
            raise InputError("PASSKEY_SESSION", "another browser or session began this")
        with self._plane.store.writing(tenant) as tx:
            check_person(tx, proven.issuer, proven.subject)
            # Keys before the session, as where one is reported lost: neither waits for the other.
            known = {key.id for key in tx.passkeys.of_person(proven.issuer, proven.subject)}
            held = _living(tx, sid, now)
            _theirs(tx, proven, proven.key)
            version = _raise(tx, held, proven, known=known, now=now)
        return Raised(to=proven.to, version=version)


def _raise(tx: Transaction, held: HeldSession, proven: Ceremony, *, known: Collection[str], now: int) -> int:
    """What a session says of its sign-in is what was proven last, never a mixture of two.

    Of the keys that raised it before, those are kept that can still be reported lost: no more than a person may have.
    """
    before = held.record
    earlier = dict.fromkeys((*held.raised_before, held.raised_by))
    kept = tuple(key for key in earlier if key in known and key != proven.key)
    record = replace(before, version=before.version + 1, acr=proven.acr, amr=proven.amr, auth_time=proven.proven_at)
    tx.sessions.put(replace(held, record=record, raised_by=proven.key, raised_before=kept))
    tx.outbox.announce(EVENT, msgspec.json.encode(record))
    write_down(
        tx,
        actor=actor_of(record.issuer, record.subject),
        action="session.raised",
        object_=f"session:{record.sid[:12]}",
        now=now,
        before={"acr": before.acr, "amr": list(before.amr), "auth_time": before.auth_time},
        after={
            "acr": record.acr,
            "amr": list(record.amr),
            "auth_time": record.auth_time,
            "key": proven.key[:12],
            "host": record.host,
        },
    )
    return record.version


def _living(tx: Transaction, sid: str, now: int) -> HeldSession:
    held = tx.sessions.get(sid)
    if held is None or held.replaced or held.record.until <= now:
        raise InputError("SESSION_NOT_FOUND", "the session has ended")
    return held


def _begun(ceremony: Ceremony | None) -> Ceremony:
    if ceremony is None or ceremony.kind != "prove":
        raise InputError("PASSKEY_CHALLENGE", "no key was asked for with this")
    return ceremony


def _theirs(tx: Transaction, ceremony: Ceremony, key_id: str) -> Passkey:
    key = tx.passkeys.get(key_id)
    if key is None or (key.issuer, key.subject) != (ceremony.issuer, ceremony.subject):
        raise InputError("PASSKEY_UNKNOWN", "this is no key of the person whose session it is")
    if key.trouble:
        raise InputError("PASSKEY_LOCKED", "the key was locked: there may be a copy of it")
    return key
