"""The sidecars of a tenant: how they join, how they prove who they are, and what each of them has applied.

A join token is a secret that is used once, within its time, for the sidecar it was made for. From then on a sidecar
signs, with the key it joined with, that it is itself: for a minute, for this control plane, each statement once.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, Protocol

import msgspec
from msgspec.structs import replace

from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.statements import Statements
from zt_engine.core.audit import AuditEvent
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.joining import Joined, JoinToken, read_token, write_token
from zt_engine.core.jose import from_base64url, thumbprint, to_base64url
from zt_engine.core.stream import KeySet, StatusAnswer, digest_of
from zt_engine.ports.inventory import SidecarRecord, Transaction

TOKEN_SECONDS = 3600
MOST_TOKEN_SECONDS = 7 * 86_400
PURPOSE = "sidecar"
FLUSH_SECONDS = 5.0
SILENT_SECONDS = 45
"""After so long without a word a sidecar counts as disconnected."""
MAX_REFUSALS = 20

Why = Literal["revoked", "never_heard", "disconnected", "refused", "behind"]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What a sidecar says of itself."""

    nonce: str
    applied_seq: int
    revision: str = ""
    refusals: tuple[str, ...] = ()
    bundle_seq: int = 0
    bundle_digest: str = ""


class Handout(Protocol):
    """What the tenant's offline root has signed, to be handed on as it is."""

    @property
    def root(self) -> Mapping[str, str]:
        """Its public key."""
        ...

    @property
    def document(self) -> str:
        """The newest document it signed."""
        ...


class Lagging(msgspec.Struct, frozen=True, kw_only=True):
    """A sidecar that has not applied a change, since when it could have, and why it has not."""

    sidecar: str
    applied_seq: int
    since: int
    why: Why
    refusals: tuple[str, ...] = ()
    seen_at: int = 0


class Sidecars:
    """The sidecars of one control plane. For use by many threads."""

    def __init__(
        self, plane: ControlPlane, *, keys: Callable[[], Mapping[str, Mapping[str, str]]], tls_ca: bytes, ca_sha256: str
    ) -> None:
        """`keys` are the stream's public keys as JWKs by their ids; `tls_ca` is the PEM of whoever vouches for us."""
        self.tls_ca = tls_ca
        self._plane = plane
        self._keys = keys
        self._ca_sha256 = ca_sha256
        self._lock = threading.Lock()
        self._statements = Statements(plane)
        self._heard: dict[str, SidecarRecord] = {}
        self._flushed_at = 0.0
        self.ended: Callable[[str], None] = lambda _: None
        """Told about every sidecar whose streams have to end."""
        self.listening: Callable[[], Sequence[str]] = tuple
        """Says which sidecars have a stream open here."""

    # -- joining

    def token(  # a token is made of what it says
        self,
        tx: Transaction,
        sidecar: str,
        *,
        seconds: int,
        actor: str,
        now: int,
        site: str = "",
        labels: Mapping[str, str] = {},
    ) -> str:
        """Make a join token. Only its digest is kept, so it cannot be shown again."""
        settings = self._plane.settings
        told = JoinToken(
            url=settings.url,
            ca_sha256=self._ca_sha256,
            tenant=settings.tenant,
            exp=now + min(seconds, MOST_TOKEN_SECONDS),
            sidecar=sidecar,
            id=secrets.token_urlsafe(24),
            site=site,
            labels=labels,
        )
        tx.nonces.add(_digest(told.proof), purpose=PURPOSE, holder=sidecar, expires_at=told.exp)
        after = msgspec.json.encode({"expires_at": told.exp, "site": site, "labels": labels})
        tx.audit.record(
            AuditEvent(at=now, actor=actor, action="sidecar.invited", object=f"sidecar:{sidecar}", after=after)
        )
        return write_token(told)

    def join(self, token: str, public_key: Mapping[str, str], *, now: int) -> Joined:
        """Admit a sidecar with its key; InputError SIDECAR_TOKEN, SIDECAR_KEY."""
        settings = self._plane.settings
        told = read_token(token)
        if told.tenant != settings.tenant:
            raise InputError("SIDECAR_TOKEN", "it was made for another tenant")
        key = _public(public_key)
        record = SidecarRecord(id=told.sidecar, public_key=key, joined_at=now, site=told.site, labels=told.labels)
        with self._plane.store.writing(settings.tenant) as tx:
            if not tx.nonces.use(_digest(told.proof), purpose=PURPOSE, holder=told.sidecar, now=now):
                raise InputError("SIDECAR_TOKEN", "it is over, was used before, or was never given out")
            before = tx.sidecars.get(told.sidecar)
            tx.sidecars.put(record)
            tx.audit.record(
                AuditEvent(
                    at=now,
                    actor=f"sidecar:{told.sidecar}",
                    action="sidecar.joined",
                    object=f"sidecar:{told.sidecar}",
                    before=_shown(before),
                    after=_shown(record),
                )
            )
        # Whoever had this name and another key before is another sidecar.
        self.cut(told.sidecar)
        keys, handed = self.key_set(record), self._trust()
        return Joined(
            id=told.sidecar,
            tenant=settings.tenant,
            audience=settings.url,
            stream_keys=keys.stream_keys,
            device_cas=keys.device_cas,
            site=record.site,
            labels=record.labels,
            root=handed.root if handed is not None else None,
            trust=keys.trust,
            offered=keys.trust,
        )

    def _trust(self) -> Handout | None:
        read = self._plane.extras.get("trust")
        return read() if read is not None else None

    def key_set(self, record: SidecarRecord | None = None) -> KeySet:
        """Return whom sidecars are to believe, and what one of them is told of itself."""
        handed = self._trust()
        return KeySet(
            tenant=self._plane.settings.tenant,
            version=self._plane.clock.now(),
            stream_keys={kid: dict(jwk) for kid, jwk in self._keys().items()},
            device_cas=self._plane.authority.authorities().decode("ascii"),
            sidecar=record.id if record is not None else "",
            site=record.site if record is not None else "",
            labels=record.labels if record is not None else {},
            trust=handed.document if handed is not None else "",
        )

    def revoke(self, tx: Transaction, sidecar: str, *, reason: str, actor: str, now: int) -> SidecarRecord:
        """Have a sidecar cut off for good; InputError SIDECAR_NOT_FOUND. Call `cut` when that is committed."""
        before = _held(tx, sidecar)
        after = before if before.revoked_at is not None else replace(before, revoked_at=now)
        return _changed(tx, before, after, action="sidecar.revoked", reason=reason, actor=actor, now=now)

    def place(
        self, tx: Transaction, sidecar: str, *, site: str, labels: Mapping[str, str], reason: str, actor: str, now: int
    ) -> SidecarRecord:
        """Say where a sidecar stands and what it is like; InputError SIDECAR_NOT_FOUND."""
        before = _held(tx, sidecar)
        after = replace(before, site=site, labels=labels)
        return _changed(tx, before, after, action="sidecar.placed", reason=reason, actor=actor, now=now)

    def cut(self, sidecar: str) -> None:
        """End what a sidecar has open here, and forget what it said."""
        with self._lock:
            self._heard.pop(sidecar, None)
        self._statements.forget()
        self.ended(sidecar)

    # -- proving who it is

    def identify(self, statement: bytes) -> SidecarRecord:
        """Return the sidecar that signed this; InputError AUTH_REFUSED, also for one that was revoked."""
        return self._statements.identify(statement)

    def identify_at_once(self, statement: bytes) -> SidecarRecord | None:
        """Do the same without asking the database; None when it has to be asked."""
        return self._statements.at_once(statement)

    # -- what each has applied

    def acknowledge(
        self, record: SidecarRecord, status: Status, *, now: float, stream_keys: Sequence[str] = ()
    ) -> StatusAnswer:
        """Remember what a sidecar says of itself, the stream's keys it believes among it, and tell it the time."""
        told = replace(
            record,
            revision=status.revision[:128],
            applied_seq=status.applied_seq,
            seen_at=int(now),
            refusals=tuple(code[:64] for code in status.refusals[:MAX_REFUSALS]),
            bundle_seq=status.bundle_seq,
            bundle_digest=status.bundle_digest[:64],
            stream_keys=tuple(stream_keys),
        )
        with self._lock:
            self._heard[record.id] = told
        keys = digest_of(self.key_set(record))
        return StatusAnswer(tenant=self._plane.settings.tenant, nonce=status.nonce, now=now, keys=keys)

    def flush(self, now: float) -> None:
        """Write down what sidecars said; every few seconds, all of them in one transaction."""
        if now - self._flushed_at < FLUSH_SECONDS:
            return
        self._flushed_at = now
        self._cut_revoked()
        with self._lock:
            heard, self._heard = self._heard, {}
        if not heard:
            return
        try:
            with self._plane.store.writing(self._plane.settings.tenant) as tx:
                # Read and written together: the thread that does it is the one that sends revocations.
                held = {known.id: known for known in tx.sidecars.all() if known.id in heard}
                tx.sidecars.put_all(
                    [
                        _as_held(heard[known.id], known)
                        for known in held.values()
                        if known.public_key == heard[known.id].public_key and known.seen_at <= heard[known.id].seen_at
                    ]
                )
        except UnavailableError:
            with self._lock:
                self._heard = heard | self._heard
            raise

    def _cut_revoked(self) -> None:
        """End the streams of those whom another control plane revoked."""
        open_here = set(self.listening())
        if open_here:
            with self._plane.store.reading(self._plane.settings.tenant) as tx:
                revoked = [one.id for one in tx.sidecars.all() if one.revoked_at is not None and one.id in open_here]
            for sidecar in revoked:
                self.cut(sidecar)

    def all(self) -> Sequence[SidecarRecord]:
        """Return every sidecar with what it said last."""
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            held = tx.sidecars.all()
        with self._lock:
            heard = dict(self._heard)
        found = []
        for record in held:
            told = heard.get(record.id, record)
            found.append(_as_held(told if told.seen_at >= record.seen_at else record, record))
        return found

    def left_without(self, going: AbstractSet[str], staying: AbstractSet[str], *, now: float) -> Sequence[str]:
        """Return which sidecars, heard just now, believe a key of the stream that goes and none of those that stay.

        One of a version before does not say what it believes, and is not among them.
        """
        return [
            one.id
            for one in self.all()
            if one.revoked_at is None and now - one.seen_at <= SILENT_SECONDS
            if not going.isdisjoint(one.stream_keys) and staying.isdisjoint(one.stream_keys)
        ]

    def behind(self, seq: int, *, since: float | None, now: float) -> Sequence[Lagging]:
        """Return who has not applied event `seq`, which came at `since` as far as that is known."""
        found = []
        for record in self.all():
            if record.applied_seq < seq and record.revoked_at is None:
                began = max(record.joined_at, int(since) if since is not None else record.seen_at)
                found.append(
                    Lagging(
                        sidecar=record.id,
                        applied_seq=record.applied_seq,
                        since=began,
                        why=_why(record, now),
                        refusals=record.refusals,
                        seen_at=record.seen_at,
                    )
                )
        return found


def _as_held(told: SidecarRecord, held: SidecarRecord) -> SidecarRecord:
    """Return what a sidecar said of itself, with what others say of it."""
    return replace(told, revoked_at=held.revoked_at, site=held.site, labels=held.labels)


def _held(tx: Transaction, sidecar: str) -> SidecarRecord:
    found = tx.sidecars.get(sidecar)
    if found is None:
        raise InputError("SIDECAR_NOT_FOUND", f"there is no sidecar `{sidecar}`")
    return found


def _changed(
    tx: Transaction, before: SidecarRecord, after: SidecarRecord, *, action: str, reason: str, actor: str, now: int
) -> SidecarRecord:
    tx.sidecars.put(after)
    tx.audit.record(
        AuditEvent(
            at=now,
            actor=actor,
            action=action,
            object=f"sidecar:{after.id}",
            reason=reason,
            before=_shown(before),
            after=_shown(after),
        )
    )
    return after


def _why(record: SidecarRecord, now: float) -> Why:
    if not record.seen_at:
        return "never_heard"
    if now - record.seen_at > SILENT_SECONDS:
        return "disconnected"
    return "refused" if record.refusals else "behind"


def _public(key: Mapping[str, str]) -> dict[str, str]:
    """Return an Ed25519 public key and nothing else of what was sent."""
    try:
        point = from_base64url(key["x"])
    except (KeyError, ValueError):
        point = b""
    if key.get("kty") != "OKP" or key.get("crv") != "Ed25519" or len(point) != 32 or "d" in key:
        raise InputError("SIDECAR_KEY", "not an Ed25519 public key as a JWK")
    return {"kty": "OKP", "crv": "Ed25519", "x": key["x"]}


def _digest(secret: str) -> str:
    return to_base64url(hashlib.sha256(secret.encode()).digest())


def _shown(record: SidecarRecord | None) -> bytes:
    if record is None:
        return b""
    shown = {
        "key": thumbprint(record.public_key),
        "joined_at": record.joined_at,
        "revoked_at": record.revoked_at,
        "site": record.site,
        "labels": record.labels,
    }
    return msgspec.json.encode(shown)
