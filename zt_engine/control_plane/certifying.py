"""The key of an enrollment: proven, new, labelled truthfully, certified; and whatever it replaces revoked with it.

INVARIANT: a certificate leaves only after the inventory holds it, and the inventory holds one only for the right
person's enrollment, after the notice was agreed to, for a key that signed a nonce of ours a moment ago.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from device_inventory.enrollment import Enrollment, advance
from device_inventory.facts import CATALOGUE
from device_inventory.inventory import KEY_FACT, KeyProtection
from device_inventory.invitation import Invitation, admit, used
from device_inventory.operations import BYOD_CEILING, admit_key, enrolled, renewed, superseded
from zt_engine.control_plane.enrolling import actor_of, check_person, holder_of, present
from zt_engine.control_plane.enrollment_rules import EnrollmentRules
from zt_engine.control_plane.ledger import Ledger
from zt_engine.control_plane.nonces import spend
from zt_engine.control_plane.proofs import KEY_TYPE, check_about, check_message, read_helper_key
from zt_engine.control_plane.refusals import refusals
from zt_engine.core.errors import InputError
from zt_engine.core.jose import thumbprint
from zt_engine.ports.attestation import AttestationVerifier, Attested
from zt_engine.ports.credentials import CertificateAuthority, CertificateRequest, IssuedCertificate, JwsVerifier
from zt_engine.ports.inventory import InventoryStore, Transaction

_AGAIN: Final = frozenset({"certified", "reported", "waiting"})


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent sends to have its key certified."""

    csr: bytes
    proof: bytes
    key_protection: KeyProtection = "file"
    attestation: Mapping[str, object] | None = None
    helper_key: Mapping[str, object] | None = None


class Certified(msgspec.Struct, frozen=True, kw_only=True):
    """A device's certificate. `protection` is what the inventory holds, which may be less than was said."""

    device_id: str
    certificate: IssuedCertificate


class ProvenKey(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose key signed what it was asked to sign."""

    request: CertificateRequest
    nonce: object
    protection: KeyProtection


class KeyProofs:
    """Reads requests for certificates: the request itself, the proof by its key, and where that key lies."""

    def __init__(
        self,
        *,
        audience: str,
        authority: CertificateAuthority,
        jws: JwsVerifier,
        rules: EnrollmentRules,
        attestation: AttestationVerifier | None = None,
    ) -> None:
        if rules.attestation != "none" and attestation is None:
            raise ValueError("attestation is asked for, and nobody verifies it")
        self._audience = audience
        self._authority = authority
        self._jws = jws
        self._rules = rules
        self._attestation = attestation

    def read(
        self,
        csr: bytes,
        proof: bytes,
        *,
        about: Mapping[str, str],
        claimed: KeyProtection,
        attestation: Mapping[str, object] | None,
        now: float,
    ) -> ProvenKey:
        """Return the proven key. `about` are claims the proof must hold, `claimed` where its holder says it lies.

        Raises InputError: CSR_*, PROOF_*, ATTESTATION_*.
        """
        request = self._authority.read(csr)
        jwk, signed = self._jws.embedded(proof, typ=KEY_TYPE)
        if thumbprint(jwk) != request.jkt:
            raise InputError("PROOF_KEY", "the proof was signed by another key than the request is for")
        check_message(signed.claims, audience=self._audience, now=now)
        check_about(signed.claims, **about, csr=request.der_digest)
        nonce = signed.claims.get("nonce")
        attested = self._attested(attestation, nonce=nonce, request=request, now=now)
        return ProvenKey(request=request, nonce=nonce, protection=truthful(claimed, attested))

    def _attested(
        self, attestation: Mapping[str, object] | None, *, nonce: object, request: CertificateRequest, now: float
    ) -> Attested | None:
        if self._rules.attestation == "none" or self._attestation is None:
            return None
        if attestation is None:
            if self._rules.attestation == "required":
                raise InputError("ATTESTATION_REQUIRED", "a key is certified here only when hardware vouches for it")
            return None
        # INVARIANT: a statement that does not hold is refused. Going on without it would be a silent fall-back.
        attested = self._attestation.key(attestation, nonce=str(nonce), request=request, now=now)
        if self._rules.hardware is not None and attested.hardware not in self._rules.hardware:
            message = f"the key lies in the chip `{attested.hardware}`, which was not registered beforehand"
            raise InputError("ATTESTATION_FOREIGN", message)
        return attested


def truthful(claimed: KeyProtection, attested: Attested | None) -> KeyProtection:
    """Return what the inventory holds of where a key lies: `attested_hw` is proven or it is not held."""
    if attested is not None:
        return "attested_hw"
    return "hw" if claimed == "attested_hw" else claimed


def no_better(claimed: KeyProtection, held: KeyProtection) -> KeyProtection:
    """Return the worse of two: nothing that is merely said makes a device's key better than it was."""
    return max(claimed, held, key=CATALOGUE[KEY_FACT].choices.index)


class Certifying:
    """The step of an enrollment that makes a device of it."""

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

    def certify(self, enrollment_id: str, wanted: KeyRequest, *, now: float) -> Certified:
        """Certify the key of an enrollment; asked again with the same key, since the answer may have been lost, again.

        Raises InputError: CSR_*, PROOF_*, ATTESTATION_*, HELPER_KEY_REFUSED, NONCE_REFUSED, KEY_IN_USE, KEY_REVOKED,
        INVITE_*, ENROLLMENT_*, PERSON_INACTIVE; UnavailableError CA_DOWN.
        """
        instant = int(now)
        key = self._proofs.read(
            wanted.csr,
            wanted.proof,
            about={"enrollment": enrollment_id},
            claimed=wanted.key_protection,
            attestation=wanted.attestation,
            now=now,
        )
        helper_key = _helper_key(wanted.helper_key, key.request)
        with self._store.reading(self._tenant) as tx, refusals():
            # Looked at first, so that nothing is signed for whoever gets nothing.
            enrollment, invitation = self._admitted(tx, enrollment_id, key, now=instant)
        device_id = enrollment.device_id or str(uuid.uuid4())
        issued = self._authority.issue(
            wanted.csr,
            device_id=device_id,
            protection=key.protection,
            seconds=self._seconds(invitation, now=instant),
            now=now,
        )
        with self._store.writing(self._tenant) as tx, refusals():
            # INVARIANT: device, invitation, enrollment are locked in this order everywhere, so that nobody waits for
            # somebody who waits for him.
            if enrollment.device_id:
                tx.devices.get(enrollment.device_id)
            tx.invitations.get(enrollment.invitation)
            enrollment, invitation = self._admitted(tx, enrollment_id, key, now=instant)
            spend(tx, key.nonce, purpose="key", holder=holder_of(enrollment), now=instant)
            if enrollment.device_id:
                self._again(tx, enrollment, issued, now=instant)
            else:
                self._first(tx, enrollment, invitation, issued, device_id, helper_key, now=instant)
            device_id = enrollment.device_id or device_id
        return Certified(device_id=device_id, certificate=issued)

    def _admitted(
        self, tx: Transaction, enrollment_id: str, key: ProvenKey, *, now: int
    ) -> tuple[Enrollment, Invitation]:
        """Return enrollment and invitation if this key may be certified now; raises what stands against it."""
        enrollment = present(tx, enrollment_id)
        invitation = tx.invitations.get(enrollment.invitation)
        if invitation is None:
            raise InputError("INVITE_UNKNOWN", "the invitation is gone")
        check_person(tx, enrollment.issuer, enrollment.subject)
        admit_key(key.request.spki, tx.devices.of_key(key.request.spki), device_id=enrollment.device_id)
        if not enrollment.device_id:
            admit(invitation, issuer=enrollment.issuer, subject=enrollment.subject, now=now)
            advance(enrollment, "certify", now=now)
        elif enrollment.state not in _AGAIN or not _is_its_key(tx, enrollment, key):
            raise InputError("ENROLLMENT_STEP_REFUSED", "the device of this enrollment has its key")
        return enrollment, invitation

    def _first(
        self,
        tx: Transaction,
        enrollment: Enrollment,
        invitation: Invitation,
        issued: IssuedCertificate,
        device_id: str,
        helper_key: dict[str, str] | None,
        *,
        now: int,
    ) -> None:
        actor = actor_of(enrollment.issuer, enrollment.subject)
        # INVARIANT: first the old one. Two registrations of one machine never count at the same time.
        old = tx.devices.get(invitation.replaces) if invitation.replaces else None
        if old is not None:
            ended = superseded(old, by=device_id, now=now)
            if ended is not old:
                self._record(tx, ended, before=old, actor=actor, action="device.revoked", now=now)
        # On a device of one's own its owner is root as well, so its helper vouches for nothing.
        helper_key = helper_key if invitation.ownership != "byod" else None
        device = enrolled(invitation, issued.key, device_id=device_id, now=now, helper_key=helper_key)
        certified = replace(advance(enrollment, "certify", now=now), device_id=device_id)
        tx.invitations.put(used(invitation, enrollment=enrollment.id))
        tx.enrollments.put(certified)
        self._record(tx, device, before=None, actor=actor, action="device.enrolled", now=now)

    def _again(self, tx: Transaction, enrollment: Enrollment, issued: IssuedCertificate, *, now: int) -> None:
        before = tx.devices.get(enrollment.device_id)
        assert before is not None  # `_admitted` has looked
        device = renewed(before, issued.key, now=now)
        actor = actor_of(enrollment.issuer, enrollment.subject)
        self._record(tx, device, before=before, actor=actor, action="device.renewed", now=now)

    def _seconds(self, invitation: Invitation, *, now: int) -> int:
        ceiling = min(invitation.ceiling, BYOD_CEILING) if invitation.ownership == "byod" else invitation.ceiling
        return seconds_left(self._rules.lifetime(ceiling), invitation.device_ends_at, now=now)


def seconds_left(lifetime: int, ends_at: int | None, *, now: int) -> int:
    """Return how long a certificate lives; none outlives its device. DEVICE_ENDED when that has come."""
    if ends_at is None:
        return lifetime
    if ends_at <= now:
        raise InputError("DEVICE_ENDED", "the time this device was registered for is over")
    return min(lifetime, ends_at - now)


def _is_its_key(tx: Transaction, enrollment: Enrollment, key: ProvenKey) -> bool:
    device = tx.devices.get(enrollment.device_id)
    return device is not None and any(held.spki == key.request.spki for held in device.keys)


def _helper_key(jwk: Mapping[str, object] | None, request: CertificateRequest) -> dict[str, str] | None:
    if jwk is None:
        return None
    key = read_helper_key(jwk)
    if thumbprint(key) == request.jkt:
        raise InputError("HELPER_KEY_REFUSED", "the helper's key is the device's own: the agent would sign for both")
    return key
