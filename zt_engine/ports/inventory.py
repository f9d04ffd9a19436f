"""The seams of the control plane: its store, its certificate authority, and who verifies what it is sent.

A transaction sees one tenant. What is written in one is there altogether or not at all, with its audit event and the
event it announces to the sidecars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from device_inventory.asset_ledger import Asset
from device_inventory.device import DeviceStatus, Ownership
from device_inventory.enrollment import Enrollment, EnrollmentState
from device_inventory.inventory import Device
from device_inventory.invitation import Invitation
from zt_engine.core.audit import AuditEvent
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.signals import Held
from zt_engine.ports.releases import BundleStore, ReleaseStore
from zt_engine.ports.sessions import SessionStore
from zt_engine.ports.webauthn import PasskeyStore


class DeviceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which devices are wanted; what is None or empty asks for nothing."""

    status: DeviceStatus | None = None
    ownership: Ownership | None = None
    owner: str = ""
    text: str = ""
    """Part of id, name, model or owner."""


class EnrollmentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which enrollments are wanted; what is None asks for nothing.

    INVARIANT: a text that is empty is one that no enrollment has, or whoever has no name would be everybody.
    """

    states: tuple[EnrollmentState, ...] | None = None
    """Any of these; of none there are none."""
    issuer: str | None = None
    subject: str | None = None
    """Where the person signs in, and their `sub` there."""
    device_id: str | None = None
    invitation: str | None = None
    text: str = ""
    """Part of id, subject, device id or invitation; every one has the empty text."""


class DeviceStore(Protocol):
    """The devices of the tenant. In a writing transaction whatever is returned is locked until its end."""

    def get(self, device_id: str) -> Device | None:
        """Return a device, locked for the rest of a writing transaction."""
        ...

    def put(self, device: Device) -> None:
        """Insert or replace; UnavailableError STORE_CONFLICT when its version did not grow, or a key is another's.

        The version of a device that was read in this very transaction may stay as it is: a report may change nothing.
        """
        ...

    def of_key(self, spki: str) -> Device | None:
        """Return the device a public key was ever certified for, whatever became of either."""
        ...

    def of_certificate(self, x5t: str) -> Device | None:
        """Return the device a certificate was issued to."""
        ...

    def of_serial(self, serial_hash: str) -> Sequence[Device]:
        """Return every device with this hardware serial, newest first."""
        ...

    def page(self, wanted: DeviceFilter, *, after: str, limit: int) -> Sequence[Device]:
        """Return up to `limit` devices with ids above `after`, in the order of their ids."""
        ...

    def of_owner(self, owner: str) -> Sequence[Device]:
        """Return every device enrolled for or assigned to a person, in the order of their ids."""
        ...

    def reported(self, status: DeviceStatus, *, after: int, until: int) -> int:
        """Count the devices of a status whose last report was received after one instant and not after another."""
        ...


class InvitationStore(Protocol):
    """The invitations of the tenant."""

    def get(self, invitation_id: str) -> Invitation | None:
        """Return an invitation, locked for the rest of a writing transaction."""
        ...

    def of_code(self, code_digest: str) -> Invitation | None:
        """Return the invitation with this code, locked likewise."""
        ...

    def put(self, invitation: Invitation) -> None:
        """Insert or replace."""
        ...

    def page(self, *, after: str, limit: int) -> Sequence[Invitation]:
        """Return invitations in the order of their ids."""
        ...


class EnrollmentStore(Protocol):
    """The enrollments of the tenant."""

    def get(self, enrollment_id: str) -> Enrollment | None:
        """Return an enrollment, locked for the rest of a writing transaction."""
        ...

    def of_device(self, device_id: str) -> Enrollment | None:
        """Return the enrollment a device came from; locked likewise."""
        ...

    def put(self, enrollment: Enrollment) -> None:
        """Insert or replace."""
        ...

    def page(self, wanted: EnrollmentFilter, *, after: str, limit: int) -> Sequence[Enrollment]:
        """Return up to `limit` enrollments with ids above `after`, in the order of their ids."""
        ...


class AssetStore(Protocol):
    """What imported asset ledgers say, whether or not such a device was ever enrolled."""

    def put(self, asset: Asset) -> None:
        """Insert or replace the line of this serial number and source; an older word changes nothing."""
        ...

    def of_serial(self, serial_hash: str) -> Sequence[Asset]:
        """Return every line with this serial number, in the order of their sources; none for an empty one."""
        ...


class NonceStore(Protocol):
    """What may be used once. Only digests are held."""

    def add(self, digest: str, *, purpose: str, holder: str, expires_at: int) -> None:
        """Remember a nonce that was handed out."""
        ...

    def use(self, digest: str, *, purpose: str, holder: str, now: int) -> bool:
        """Whether this nonce was handed out to `holder` for `purpose`, is not over and not used; it is used then.

        A transaction that is undone has used nothing: what is refused after this must still be committed.
        """
        ...

    def first_use(self, digest: str, *, purpose: str, expires_at: int, now: int) -> bool:
        """Whether an id the other side chose (`jti`) is new; it is remembered until `expires_at`."""
        ...


class Outbox(Protocol):
    """What sidecars are to be told."""

    def announce(self, type_: str, data: bytes) -> None:
        """Have an event sequenced and sent after the commit. `data` is JSON."""
        ...

    def seen(self, device_id: str, *, received_at: int, facts: Sequence[str]) -> None:
        """Have a report that changed nothing told with the next batch of `device.seen`.

        `facts` are those it confirmed; where there are none, only the device itself was heard of.
        """
        ...


class AuditStore(Protocol):
    """The audit events of the tenant; they can only be added."""

    def record(self, event: AuditEvent) -> None:
        """Add an event; its `seq` is assigned here."""
        ...

    def page(self, *, after: int, limit: int) -> Sequence[AuditEvent]:
        """Return events in order."""
        ...

    def of(self, object_: str, *, limit: int) -> Sequence[AuditEvent]:
        """Return the newest events about `kind:id`, newest first."""
        ...


class RememberedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a write that had an idempotency key."""

    request_digest: str
    status: int
    body: bytes


class AnswerStore(Protocol):
    """Idempotency keys and the answers that were given."""

    def get(self, actor: str, key: str) -> RememberedAnswer | None:
        """Return the answer this actor got under this key, until it is pruned."""
        ...

    def put(self, actor: str, key: str, answer: RememberedAnswer, *, expires_at: int) -> None:
        """Remember an answer in the transaction of the change itself; STORE_CONFLICT when there is one already."""
        ...


class SidecarRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A sidecar that joined, and what it last acknowledged."""

    id: str
    public_key: Mapping[str, str]
    joined_at: int
    revision: str = ""
    applied_seq: int = 0
    seen_at: int = 0
    refusals: tuple[str, ...] = ()
    bundle_seq: int = 0
    """The release that is active there, 0 if none."""
    bundle_digest: str = ""
    revoked_at: int | None = None
    site: str = ""
    """Where it stands: what it may be told depends on it (how long what it heard holds, which ring it is in)."""
    labels: Mapping[str, str] = {}
    stream_keys: tuple[str, ...] = ()
    """The ids of the stream's keys that it believes; empty where it does not say."""


class SidecarStore(Protocol):
    """The sidecars of the tenant, and the tokens they join with."""

    def get(self, sidecar_id: str) -> SidecarRecord | None:
        """Return a sidecar, locked for the rest of a writing transaction."""
        ...

    def put(self, sidecar: SidecarRecord) -> None:
        """Insert or replace."""
        ...

    def put_all(self, sidecars: Sequence[SidecarRecord]) -> None:
        """Insert or replace many."""
        ...

    def all(self) -> Sequence[SidecarRecord]:
        """Return every sidecar, locked for the rest of a writing transaction."""
        ...


class SituationStore(Protocol):
    """Subjects, overlays, grants, revocations and the threat level, as the JSON that sidecars are sent."""

    def subject(self, issuer: str, subject_id: str) -> SubjectRecord | None:
        """Return a subject's record, locked for the rest of a writing transaction."""
        ...

    def put_subject(self, record: SubjectRecord) -> None:
        """Insert or replace; UnavailableError STORE_CONFLICT when its version did not grow."""
        ...

    def subjects(self, *, after: tuple[str, str], limit: int) -> Sequence[SubjectRecord]:
        """Return subjects in the order of issuer and id."""
        ...

    def put(self, kind: str, id_: str, body: bytes | None) -> None:
        """Insert, replace or (None) remove an `overlay`, `grant`, `revocation` or the `threat_level`."""
        ...

    def all(self, kind: str) -> Mapping[str, bytes]:
        """Return everything of one kind by its id."""
        ...


class SignalStore(Protocol):
    """Where the rules about signals stand, for each principal something was noticed of."""

    def get(self, id_: str) -> Held | None:
        """Return where one stands, locked for the rest of a writing transaction."""
        ...

    def put(self, held: Held) -> None:
        """Insert or replace; UnavailableError STORE_CONFLICT when its version did not grow."""
        ...

    def remove(self, id_: str) -> None:
        """Forget one."""
        ...

    def due(self, *, now: int, limit: int) -> Sequence[str]:
        """Return the ids of those that have to be looked at by now, the longest overdue first."""
        ...


class Transaction(Protocol):
    """One transaction over one tenant."""

    devices: DeviceStore
    invitations: InvitationStore
    enrollments: EnrollmentStore
    nonces: NonceStore
    outbox: Outbox
    audit: AuditStore
    answers: AnswerStore
    sidecars: SidecarStore
    situation: SituationStore
    bundles: BundleStore
    releases: ReleaseStore
    sessions: SessionStore
    passkeys: PasskeyStore
    assets: AssetStore
    signals: SignalStore


class InventoryStore(Protocol):
    """The database. Raises UnavailableError: STORE_LOCKED, STORE_FULL, STORE_DOWN, STORE_CONFLICT.

    A text that cannot be kept or looked up (NUL, more than 512 characters of a name) is InputError STORE_VALUE.
    One transaction at a time in a thread; none is held across an `await`.
    """

    def writing(self, tenant: str) -> AbstractContextManager[Transaction]:
        """Open a transaction that commits at the end of the block, and is undone when the block raises.

        After an UnavailableError within the block it is undone, whatever the block does then. STORE_CONFLICT: run the
        whole block again, if at all.
        """
        ...

    def reading(self, tenant: str) -> AbstractContextManager[Transaction]:
        """Open a transaction that sees one moment and may not write."""
        ...

    def wake(self) -> None:
        """Tell the sequencer of this process that something was committed.

        Called by `writing` itself after each transaction that announced something.
        """
        ...

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Have `listener` called by `wake`, in the thread of whoever wrote: it must be quick and not raise."""
        ...

    def prune(self, now: int) -> int:
        """Remove what is over of every tenant (nonces, used ids, ceremonies, remembered answers); return how many."""
        ...


class SequencedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the outbox that has its place."""

    seq: int
    type: str
    data: bytes


class ChangeLog(Protocol):
    """The order of all changes of a tenant: used by the one sequencer, and read by those who serve the stream."""

    def elect(self) -> int | None:
        """Become the sequencer: return a fence greater than every one before, or None while another one lives."""
        ...

    def resign(self) -> None:
        """Stop being the sequencer."""
        ...

    def sequence(self, tenant: str, *, fence: int, limit: int) -> Sequence[SequencedEvent]:
        """Give committed events of the outbox their `seq`, gap-free; UnavailableError STORE_FENCED when deposed."""
        ...

    def gather_seen(self, tenant: str, *, now: int) -> bool:
        """Put the reports that changed nothing into the outbox as one `device.seen`; whether there were any."""
        ...

    def events(self, tenant: str, *, after: int, limit: int) -> Sequence[SequencedEvent]:
        """Return events above `after`, in order."""
        ...

    def span(self, tenant: str) -> tuple[int, int]:
        """Return the first and the last `seq` there is; the first is one above the last when there is none: (1, 0).

        A cursor that is neither `first - 1` nor within them begins with a snapshot, one above `last` as well.
        """
        ...

    def forget(self, tenant: str, *, before: int) -> None:
        """Drop events below a `seq`: whoever has not seen them begins with a snapshot."""
        ...
