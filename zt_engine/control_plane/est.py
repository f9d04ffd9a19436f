"""Enrollment over Secure Transport (RFC 7030, RFC 8951) for clients that are not our agent.

A foreign client signs nobody in, so it can be invited only as a robot: the id of such an invitation is its user name,
the code its password, once. Whatever it makes its key in, the key counts as one in a file. It renews by the certificate
it has. What it gets proves which device it is and nothing of its condition: it is `enrolled`, and never reports.

INVARIANT: no certificate leaves before the inventory holds it. One whose transaction is undone is dropped unseen.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from typing import Final

import msgspec
from msgspec.structs import replace

from device_inventory.enrollment import Enrollment
from device_inventory.inventory import Device, KeyProtection
from device_inventory.invitation import Invitation, begun, used
from device_inventory.operations import admit_key, enrolled, may_renew, renewed, superseded
from zt_engine.control_plane.certifying import seconds_left
from zt_engine.control_plane.enrolling import check_person
from zt_engine.control_plane.ledger import Ledger
from zt_engine.control_plane.refusals import refusals
from zt_engine.core.errors import InputError
from zt_engine.ports.credentials import CertificateAuthority, CertificateRequest
from zt_engine.ports.est import EstCertificates
from zt_engine.ports.inventory import InventoryStore, Transaction

PENDING_FOR: Final = 14 * 86_400
"""How long an invitation that was used waits for the device to be approved."""
REPEAT_FOR: Final = 600
"""How long after a certificate was handed out the same key may ask again, as the answer may have been lost."""
RETRY_AFTER: Final = 300
LIFETIME: Final = 24 * 3600


class Pending(msgspec.Struct, frozen=True):
    """The device waits for its approver; ask again after so many seconds."""

    retry_after: int


class EstService:
    """What the EST routes do, without HTTP. Raises InputError: EST_UNAUTHORIZED, EST_NAMES, CSR_*, CERT_*, KEY_*."""

    def __init__(
        self,
        *,
        tenant: str,
        store: InventoryStore,
        authority: CertificateAuthority,
        certificates: EstCertificates,
        record: Ledger,
        lifetime: int = LIFETIME,
        retry_after: int = RETRY_AFTER,
        attested_only: bool = False,
    ) -> None:
        """`attested_only`: keys are certified only when hardware vouches for them, and EST has no way to say so."""
        self._tenant = tenant
        self._store = store
        self._authority = authority
        self._certificates = certificates
        self._record = record
        self._lifetime = lifetime
        self._pending = Pending(retry_after)
        self._attested_only = attested_only

    def authorities(self) -> bytes:
        """Return the device CAs as certs-only PKCS #7, the old one and the new one while they overlap."""
        return self._certificates.bag(self._authority.authorities())

    def enroll(self, csr: bytes, *, user: str, password: str, now: float) -> bytes | Pending:
        """Return the certificate an invited robot asks for, as certs-only PKCS #7.

        A secret that is wrong, over, withdrawn, not a robot's or bound to another key is one and the same refusal.
        """
        instant = int(now)
        with self._store.reading(self._tenant) as tx:
            invitation = _invited(tx, user, password)
        self._check_attestation()
        request = self._authority.read(csr)
        if invitation.state == "open" and not invitation.enrollment:
            return self._begin(csr, request, invitation, password, now=instant)
        return self._again(csr, request, invitation, password, now=instant)

    def reenroll(self, csr: bytes, *, presented: bytes, now: float) -> bytes:
        """Return the next certificate of the device whose certificate the TLS client proved to hold.

        A device that is lost, quarantined, revoked or retired gets none; nor does a request for other names.
        """
        instant = int(now)
        certificate = self._certificates.presented(presented, now=now)
        self._check_attestation()
        request = self._authority.read(csr)
        if not self._certificates.same_names(csr, presented):
            raise InputError("EST_NAMES", "a renewal asks for the names of the certificate it renews, and no others")
        with self._store.reading(self._tenant) as tx, refusals():
            device = _of_certificate(tx, certificate.x5t)
            held = may_renew(device, x5t=certificate.x5t, now=instant)
        seconds = seconds_left(self._lifetime, device.ends_at, now=instant)
        # The key that is known already stays what it is; of another nobody knows where it lies.
        protection: KeyProtection = held.protection if held.spki == request.spki else "file"
        issued = self._authority.issue(csr, device_id=device.device_id, protection=protection, seconds=seconds, now=now)
        with self._store.writing(self._tenant) as tx, refusals():
            before = _of_certificate(tx, certificate.x5t)
            may_renew(before, x5t=certificate.x5t, now=instant)
            admit_key(request.spki, tx.devices.of_key(request.spki), device_id=before.device_id)
            device = renewed(before, issued.key, now=instant)
            self._record(tx, device, before=before, actor=_actor(device), action="device.renewed", now=instant)
        return self._certificates.bag(issued.pem)

    def _check_attestation(self) -> None:
        """Refuse everybody where attestation is demanded: this must be no way around it."""
        if self._attested_only:
            raise InputError("ATTESTATION_REQUIRED", "a key is certified here only when hardware vouches for it")

    def _begin(
        self, csr: bytes, request: CertificateRequest, invitation: Invitation, password: str, *, now: int
    ) -> bytes | Pending:
        if now >= invitation.not_after:
            raise _unauthorized()
        device_id, enrollment_id = str(uuid.uuid4()), str(uuid.uuid4())
        seconds = seconds_left(self._lifetime, invitation.device_ends_at, now=now)
        issued = self._authority.issue(csr, device_id=device_id, protection="file", seconds=seconds, now=now)
        waits = invitation.approval
        with self._store.writing(self._tenant) as tx, refusals():
            # Locked now; whoever was faster has used it.
            invitation = _invited(tx, invitation.id, password)
            # Nobody answers for a robot whose owner has left.
            check_person(tx, invitation.issuer, invitation.subject)
            admit_key(request.spki, tx.devices.of_key(request.spki))
            device = enrolled(invitation, issued.key, device_id=device_id, now=now, name=f"robot {invitation.assigned}")
            if invitation.replaces:
                self._supersede(tx, invitation.replaces, by=device_id, now=now)
            tx.invitations.put(used(begun(invitation, enrollment=enrollment_id), enrollment=enrollment_id))
            tx.enrollments.put(
                Enrollment(
                    tenant=self._tenant,
                    id=enrollment_id,
                    invitation=invitation.id,
                    issuer=invitation.issuer,
                    subject=invitation.subject,
                    state="waiting" if waits else "complete",
                    secret_digest=_bound(password, request.spki),
                    device_id=device_id,
                    started_at=now,
                    changed_at=now,
                    not_after=now + (PENDING_FOR if waits else REPEAT_FOR),
                )
            )
            actor = _actor(device)
            self._record(tx, device, before=None, actor=actor, action="device.enrolled", now=now)
        return self._pending if waits else self._certificates.bag(issued.pem)

    def _again(
        self, csr: bytes, request: CertificateRequest, invitation: Invitation, password: str, *, now: int
    ) -> bytes | Pending:
        """Answer the key that used the invitation: it waits for approval, or its first answer was lost."""
        with self._store.reading(self._tenant) as tx:
            enrollment, device = _enrollment(tx, invitation, _bound(password, request.spki), now=now)
        if device.approval_required and not device.approved_by:
            return self._pending
        seconds = seconds_left(self._lifetime, device.ends_at, now=now)
        issued = self._authority.issue(csr, device_id=device.device_id, protection="file", seconds=seconds, now=now)
        with self._store.writing(self._tenant) as tx, refusals():
            enrollment, before = _enrollment(tx, invitation, _bound(password, request.spki), now=now)
            # A second look under the lock: the approval may have been taken back by a transfer.
            if before.approval_required and not before.approved_by:
                return self._pending
            device = renewed(before, issued.key, now=now)
            ends = min(enrollment.not_after, now + REPEAT_FOR)
            tx.enrollments.put(replace(enrollment, state="complete", changed_at=now, not_after=ends))
            actor = _actor(device)
            self._record(tx, device, before=before, actor=actor, action="device.renewed", now=now)
        return self._certificates.bag(issued.pem)

    def _supersede(self, tx: Transaction, device_id: str, *, by: str, now: int) -> None:
        before = tx.devices.get(device_id)
        if before is None:
            return
        after = superseded(before, by=by, now=now)
        if after is not before:
            self._record(tx, after, before=before, actor=f"device:{by}", action="device.revoked", now=now)


def _invited(tx: Transaction, user: str, password: str) -> Invitation:
    """Return the robot's invitation these credentials belong to, whatever became of it except its withdrawal."""
    invitation = tx.invitations.get(user) if user else None
    digest = hashlib.sha256(password.encode()).hexdigest()
    # Compared even where there is none, so that names cannot be told apart by the time an answer takes.
    same = hmac.compare_digest(digest, invitation.code_digest if invitation is not None else "0" * 64)
    if invitation is None or not same or invitation.kind != "robot" or invitation.state == "withdrawn":
        raise _unauthorized()
    return invitation


def _enrollment(tx: Transaction, invitation: Invitation, digest: str, *, now: int) -> tuple[Enrollment, Device]:
    enrollment = tx.enrollments.get(invitation.enrollment) if invitation.enrollment else None
    device = tx.devices.get(enrollment.device_id) if enrollment is not None and enrollment.device_id else None
    if enrollment is None or device is None or now >= enrollment.not_after:
        raise _unauthorized()
    if not hmac.compare_digest(enrollment.secret_digest, digest) or device.status in ("revoked", "retired"):
        raise _unauthorized()
    return enrollment, device


def _of_certificate(tx: Transaction, x5t: str) -> Device:
    device = tx.devices.of_certificate(x5t)
    if device is None:
        raise InputError("CERT_UNTRUSTED", "the inventory holds no such certificate")
    return device


def _bound(password: str, spki: str) -> str:
    """What a secret is worth once it was used: it answers for one key only. Of neither is more held than this."""
    return hashlib.sha256(f"{spki}.{password}".encode()).hexdigest()


def _actor(device: Device) -> str:
    return f"device:{device.device_id}"


def _unauthorized() -> InputError:
    return InputError("EST_UNAUTHORIZED", "no invitation that can be used here, or not with this key")
