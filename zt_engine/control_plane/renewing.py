"""The next certificate of a device, and the word that it is lost."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from device_inventory.inventory import Device, KeyProtection
from device_inventory.operations import admit_key, may_renew, renewed, report_lost, retire
from zt_engine.control_plane.certifying import Certified, KeyProofs, KeyRequest, ProvenKey, no_better, seconds_left
from zt_engine.control_plane.devices import follow
from zt_engine.control_plane.enrolling import actor_of
from zt_engine.control_plane.enrollment_rules import EnrollmentRules
from zt_engine.control_plane.holders import end_sessions_on
from zt_engine.control_plane.ledger import Ledger
from zt_engine.control_plane.nonces import spend
from zt_engine.control_plane.refusals import refusals
from zt_engine.control_plane.reporting import device_holder
from zt_engine.control_plane.signing_in import SignIn, SignIns
from zt_engine.core.errors import InputError
from zt_engine.core.issuer import subject_name
from zt_engine.ports.credentials import CertificateAuthority, Person
from zt_engine.ports.inventory import InventoryStore, Transaction

_WORKING: Final = frozenset({"enrolled", "active", "quarantined"})


class Renewing:
    """Renewals: the present key proves which device asks, the request's key that it is there and just now was."""

    def __init__(
        self,
        *,
        tenant: str,
        store: InventoryStore,
        authority: CertificateAuthority,
        proofs: KeyProofs,
        rules: EnrollmentRules,
        record: Ledger,
    ) -> None:
        self._tenant = tenant
        self._store = store
        self._authority = authority
        self._proofs = proofs
        self._rules = rules
        self._record = record

    def renew(self, device_id: str, x5t: str, wanted: KeyRequest, *, now: float) -> Certified:
        """Return the next certificate of a device that proved itself with `x5t`, for the same key or a new one.

        Later than the grace of its ceiling, the device has to show anew that its reports agree: until then its own
        word is a self-report. What was merely said of a key makes it no better kept than the one before.
        Raises InputError: CSR_*, PROOF_*, ATTESTATION_*, NONCE_REFUSED, RENEWAL_*, KEY_*, DEVICE_ENDED.
        """
        instant = int(now)
        key = self._proofs.read(
            wanted.csr,
            wanted.proof,
            about={"device": device_id},
            claimed=wanted.key_protection,
            attestation=wanted.attestation,
            now=now,
        )
        with self._store.reading(self._tenant) as tx, refusals():
            before = self._admitted(tx, device_id, x5t, key, now=instant)
        issued = self._authority.issue(
            wanted.csr,
            device_id=device_id,
            protection=_kept(before, x5t, key),
            seconds=seconds_left(self._rules.lifetime(before.ceiling), before.ends_at, now=instant),
            now=now,
        )
        with self._store.writing(self._tenant) as tx, refusals():
            before = self._admitted(tx, device_id, x5t, key, now=instant)
            spend(tx, key.nonce, purpose="report", holder=device_holder(device_id), now=instant)
            device = renewed(before, issued.key, now=instant)
            if self._late(before, x5t, now=instant):
                device = replace(device, consistent_reports=0, first_report_at=0)
            actor = device_holder(device_id)
            self._record(tx, device, before=before, actor=actor, action="device.renewed", now=instant)
        return Certified(device_id=device_id, certificate=issued)

    def _admitted(self, tx: Transaction, device_id: str, x5t: str, key: ProvenKey, *, now: int) -> Device:
        device = tx.devices.get(device_id)
        if device is None:
            raise InputError("EVIDENCE_KEY", "there is no such device")
        may_renew(device, x5t=x5t, now=now)
        admit_key(key.request.spki, tx.devices.of_key(key.request.spki), device_id=device_id)
        return device

    def _late(self, device: Device, x5t: str, *, now: int) -> bool:
        held = may_renew(device, x5t=x5t, now=now)
        return now >= held.not_after + self._rules.grace_of(device.ceiling)


def _kept(device: Device, x5t: str, key: ProvenKey) -> KeyProtection:
    held = next(held for held in device.keys if held.x5t == x5t)
    if key.protection == "attested_hw":
        return key.protection
    if held.spki == key.request.spki:
        return held.protection
    return no_better(key.protection, held.protection)


class LostDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device as its owner recognises it."""

    device_id: str
    name: str
    model: str
    status: str


class Losing:
    """Loss reports. They need no approval and cannot be taken back here: only somebody else recovers a device."""

    def __init__(
        self, *, tenant: str, home_issuer: str, store: InventoryStore, people: SignIns | None, record: Ledger
    ) -> None:
        self._tenant = tenant
        self._home = home_issuer
        self._store = store
        self._people = people
        self._record = record

    def by_itself(self, device_id: str, *, now: float) -> str:
        """Mark a device lost that proved itself; return its status."""
        with self._store.writing(self._tenant) as tx, refusals():
            device = tx.devices.get(device_id)
            if device is None:
                raise _not_yours()
            return self._lost(tx, device, actor=device_holder(device_id), now=int(now))

    def by_owner(self, sign_in: SignIn, device_id: str, *, now: float) -> str:
        """Mark a device lost that the person who signed in holds; return its status.

        Saying so twice is saying it once. LOST_UNKNOWN for one that is not there or is somebody else's; TOKEN_*.
        """
        person = self._signed_in(sign_in, now=now)
        return self.by_person(person.issuer, person.subject, device_id, now=now)

    def by_person(self, issuer: str, subject: str, device_id: str, *, now: float, session: str = "") -> str:
        """Mark a device lost that somebody holds; return its status. Of their sessions, `session` goes on.

        Saying so twice is saying it once. LOST_UNKNOWN for one that is not there or is somebody else's.
        """
        seen = self.held(issuer, subject, device_id)
        with self._store.writing(self._tenant) as tx, refusals():
            device = tx.devices.get(device_id)
            if device is None or device.owner != seen.owner:  # it was given to somebody else just now
                raise _not_yours()
            return self._lost(tx, device, actor=actor_of(issuer, subject), now=int(now), session=session)

    def ended_by(self, issuer: str, subject: str, device_id: str, *, now: float, session: str = "") -> str:
        """End the registration of a device that is its holder's own property; return its status. LOST_UNKNOWN, else.

        DEVICE_NOT_OWN for what the organisation lent: that is the organisation's to take back.
        """
        seen = self.held(issuer, subject, device_id)
        actor = actor_of(issuer, subject)
        with self._store.writing(self._tenant) as tx, refusals():
            before = tx.devices.get(device_id)
            if before is None or before.owner != seen.owner:
                raise _not_yours()
            if before.ownership != "byod":
                raise InputError("DEVICE_NOT_OWN", "the organisation's device is the organisation's to take back")
            if before.status not in _WORKING:
                return before.status
            device = retire(before, now=int(now), reason="ended by its holder")
            self._record(tx, device, before=before, actor=actor, action="device.retired", now=int(now))
            follow(tx, device, "retire", actor=actor, now=int(now))
            why = f"the registration of the device {device_id} ended"
            end_sessions_on(tx, device, home=self._home, reason=why, actor=actor, now=int(now), keep=session)
            return device.status

    def held(self, issuer: str, subject: str, device_id: str) -> Device:
        """Return a device of somebody's own; LOST_UNKNOWN for one that is not there or is somebody else's."""
        with self._store.reading(self._tenant) as tx:
            device = tx.devices.get(device_id)
            if device is None or not self._holds(tx, issuer, subject, device):
                raise _not_yours()
            return device

    def all_held(self, issuer: str, subject: str) -> tuple[Device, ...]:
        """Return every device somebody holds, whatever became of it."""
        name = self._name(issuer, subject)
        with self._store.reading(self._tenant) as tx:
            return tuple(device for device in tx.devices.of_owner(name) if device.owner == name)

    def of_owner(self, sign_in: SignIn, *, now: float) -> tuple[LostDevice, ...]:
        """Return the working devices of the person who signed in, so that the lost one can be named."""
        person = self._signed_in(sign_in, now=now)
        return tuple(
            LostDevice(device_id=device.device_id, name=device.name, model=device.model, status=device.status)
            for device in self.all_held(person.issuer, person.subject)
            if device.status in _WORKING
        )

    def _signed_in(self, sign_in: SignIn, *, now: float) -> Person:
        if self._people is None:
            raise InputError("ENROLL_CLOSED", "no identity provider is configured for people to sign in with")
        return self._people.verify(sign_in, now=now)

    def _name(self, issuer: str, subject: str) -> str:
        return subject_name(issuer, subject, home=self._home)

    def _holds(self, tx: Transaction, issuer: str, subject: str, device: Device) -> bool:
        """Whether this is the device's owner, by the name of records or by the invitation the device came from."""
        if not device.owner:
            return False
        if device.owner == self._name(issuer, subject):
            return True
        enrollment = tx.enrollments.of_device(device.device_id)
        if enrollment is None or (enrollment.issuer, enrollment.subject) != (issuer, subject):
            return False
        invitation = tx.invitations.get(enrollment.invitation)
        # A device that was transferred since has another owner than its invitation.
        return invitation is not None and invitation.assigned == device.owner

    def _lost(self, tx: Transaction, before: Device, *, actor: str, now: int, session: str = "") -> str:
        if before.status not in _WORKING:
            return before.status
        device = report_lost(before, now=now, reason="reported lost")
        self._record(tx, device, before=before, actor=actor, action="device.lost", now=now)
        why = f"the device {device.device_id} was lost"
        end_sessions_on(tx, device, home=self._home, reason=why, actor=actor, now=now, keep=session)
        return device.status


def _not_yours() -> InputError:
    return InputError("LOST_UNKNOWN", "you hold no such device")
