"""Taking in a device's report: whose it is, that it was made just now and is new, and what comes of it.

Everything is checked before anything is believed: the signature by the device's own key, the nonce, the audience, the
certificate it was made with. What the report says of itself raises nothing (`device_inventory.reports`).
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from typing import Final

import msgspec
import structlog

from device_inventory.claims import Claims, read_helper_claims, read_report
from device_inventory.consistency import Finding
from device_inventory.device import DeviceStatus
from device_inventory.enrollment import Enrollment, after_report
from device_inventory.facts import FactValue
from device_inventory.inventory import Device, HeldKey, proven, publish
from device_inventory.reports import REPORTS_APART, Ingested, ingest
from zt_engine.control_plane.enrollment_rules import EnrollmentRules
from zt_engine.control_plane.ledger import Ledger, write_down
from zt_engine.control_plane.nonces import hand_out, spend
from zt_engine.control_plane.proofs import EVIDENCE_TYPE, HELPER_TYPE, check_about, check_message
from zt_engine.control_plane.refusals import refusals
from zt_engine.control_plane.remedies import Readiness, Unmet
from zt_engine.core.errors import InputError
from zt_engine.ports.attestation import AttestationVerifier
from zt_engine.ports.credentials import JwsVerifier
from zt_engine.ports.inventory import InventoryStore, Transaction

log = structlog.get_logger()

_SETTLING: Final = 10
"""Seconds after the ten minutes in which the second of two reports is asked for."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """What a device is told of its report."""

    seq: int
    status: DeviceStatus
    unmet: tuple[Unmet, ...]
    findings: tuple[Finding, ...]
    next_report_in: int
    full: bool
    """Whether the next report has to say everything."""


class _Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence whose signature holds under the key of `x5t`; nothing was looked up under a lock yet."""

    x5t: str
    device_id: str
    claims: Mapping[str, object]
    helper: Claims | None
    findings: tuple[Finding, ...]


class Reporting:
    """Nonces for reports, and reports. One transaction each."""

    def __init__(
        self,
        *,
        tenant: str,
        audience: str,
        store: InventoryStore,
        jws: JwsVerifier,
        rules: EnrollmentRules,
        record: Ledger,
        readiness: Readiness,
        facts: Collection[str],
        attestation: AttestationVerifier | None = None,
    ) -> None:
        self._tenant = tenant
        self._audience = audience
        self._store = store
        self._jws = jws
        self._rules = rules
        self._record = record
        self._readiness = readiness
        self._facts = frozenset(facts)
        self._attestation = attestation

    def nonce(self, device_id: str, *, now: float) -> str:
        """Return a nonce for one report or renewal of a device that proved itself."""
        with self._store.writing(self._tenant) as tx:
            return hand_out(tx, purpose="report", holder=device_holder(device_id), now=int(now))

    def receive(self, evidence: bytes, *, now: float) -> Received:
        """Take in a report.

        Raises InputError: PROOF_*, EVIDENCE_KEY, KEY_REVOKED, KEY_ENDED, NONCE_REFUSED, REPORT_*, DEVICE_CLONED.
        After one of the last two the device stands as they say.
        """
        instant = int(now)
        verified = self._verified(evidence, now=now)
        with self._store.writing(self._tenant) as tx, refusals():
            # Looked up anew, under the lock: what was revoked meanwhile reports nothing.
            before, _ = _of_certificate(tx, verified.x5t, now=instant)
            spend(
                tx, verified.claims.get("nonce"), purpose="report", holder=device_holder(before.device_id), now=instant
            )
            attested = self._measured(verified, before, now=now)
            taken = ingest(
                before,
                read_report(verified.claims),
                helper=verified.helper,
                attested=attested,
                now=instant,
                names=self._facts,
            )
            device, reached = self._settle(tx, before, taken, now=instant)
        if reached is not None:
            log.info("enrollment.went_on", state=reached.state, enrollment=reached.id, device=device.device_id)
        if taken.refusal is not None:
            raise InputError(taken.refusal.code, taken.refusal.message)
        return self._answer(device, verified, taken, now=instant)

    def _verified(self, evidence: bytes, *, now: float) -> _Verified:
        x5t = self._jws.claimed_key(evidence)
        with self._store.reading(self._tenant) as tx:
            device, key = _of_certificate(tx, x5t, now=int(now))
        signed = self._jws.verify(evidence, jwk=key.jwk, typ=EVIDENCE_TYPE)
        check_message(signed.claims, audience=self._audience, now=now)
        check_about(signed.claims, x5t=x5t, device=device.device_id)
        helper, findings = self._helper(signed.claims, device)
        return _Verified(x5t=x5t, device_id=device.device_id, claims=signed.claims, helper=helper, findings=findings)

    def _helper(self, claims: Mapping[str, object], device: Device) -> tuple[Claims | None, tuple[Finding, ...]]:
        """Return what the registered helper says with this very report.

        The word of one that was never registered is left out and said to be; one that does not hold is an attempt.
        """
        word = claims.get("helper")
        if word is None:
            return None, ()
        if device.helper_key is None:
            return None, (Finding(code="HELPER_UNREGISTERED", message="no helper was registered with the device"),)
        if not isinstance(word, str):
            raise InputError("PROOF_MALFORMED", "`helper` is no compact JWS", where="helper")
        signed = self._jws.verify(word.encode(), jwk=device.helper_key, typ=HELPER_TYPE)
        nonce = claims.get("nonce")
        if not isinstance(nonce, str):
            raise InputError("NONCE_REFUSED", "`nonce` is no text")
        check_about(signed.claims, nonce=nonce, device=device.device_id)
        with refusals():
            return read_helper_claims(signed.claims), ()

    def _measured(self, verified: _Verified, device: Device, *, now: float) -> Mapping[str, FactValue] | None:
        quote = verified.claims.get("quote")
        if quote is None or self._attestation is None:
            return None
        return self._attestation.boot(quote, device=device, nonce=str(verified.claims.get("nonce")), now=now)

    def _settle(
        self, tx: Transaction, before: Device, taken: Ingested, *, now: int
    ) -> tuple[Device, Enrollment | None]:
        """Store what came of a report, and tell whoever has to know; return its enrollment where that went on."""
        device, reached = taken.device, None
        if taken.refusal is None:
            enrollment = tx.enrollments.of_device(device.device_id)
            if enrollment is not None:
                advanced, device = after_report(enrollment, device, now=now)
                if advanced is not enrollment:
                    tx.enrollments.put(advanced)
                    reached = advanced
            self._link(tx, before, device, now=now)
        if taken.changed or device.status != before.status:
            action = (
                _ACTIONS.get(device.status, "device.reported") if device.status != before.status else "device.reported"
            )
            actor = device_holder(device.device_id)
            self._record(tx, device, before=before, actor=actor, action=action, now=now)
            return device, reached
        tx.devices.put(device)
        if taken.refusal is None:
            tx.outbox.seen(device.device_id, received_at=device.report_received_at, facts=taken.confirmed)
        return device, reached

    def _link(self, tx: Transaction, before: Device, device: Device, *, now: int) -> None:
        """Say so when hardware that is registered already is registered again by another device.

        A serial number is only said, so it revokes nothing: otherwise anybody could end somebody else's registration.
        """
        if before.serial_hash or not device.serial_hash:
            return
        others = [other for other in tx.devices.of_serial(device.serial_hash) if other.device_id != device.device_id]
        if not others:
            return
        working = [other.device_id for other in others if other.status not in ("revoked", "retired")]
        name = device_holder(device.device_id)
        after = {"earlier": [other.device_id for other in others], "working": working}
        write_down(tx, actor=name, action="device.serial_seen_again", object_=name, after=after, now=now)

    def _answer(self, device: Device, verified: _Verified, taken: Ingested, *, now: int) -> Received:
        unmet = self.unmet(device, now=now)
        findings = (*verified.findings, *taken.findings)
        return Received(
            seq=device.report_seq,
            status=device.status,
            unmet=unmet,
            findings=findings,
            next_report_in=self._pause(device, findings, now=now),
            full=any(finding.code == "REPORT_FACT_MISSING" for finding in findings),
        )

    def unmet(self, device: Device, *, now: int) -> tuple[Unmet, ...]:
        """Return what a device does not show, and first of all that it waits for somebody."""
        waiting = device.approval_required and not device.approved_by and device.status == "enrolled"
        record = publish(device, names=self._facts, now=now)
        asked = self._readiness.unmet(record, now=now)
        return (*((Unmet(code="APPROVAL_PENDING"),) if waiting else ()), *asked)

    def good_for(self, device: Device, *, now: int) -> str | None:
        """Return the highest label a device may be used for now, empty for none; None where no label is known."""
        record = publish(device, names=self._facts, now=now)
        label = self._readiness.labels(record, now=now)
        # Nothing is said to be open, or closed, by whoever knows of no label.
        known = label or any(one.label for one in self._readiness.unmet(record, now=now))
        return label if known else None

    def _pause(self, device: Device, findings: Collection[Finding], *, now: int) -> int:
        """Seconds until the next report: some minutes, never the same for two, or just after what is waited for."""
        least, most = self._rules.report_every
        pause = least + secrets.randbelow(max(1, most - least))
        if any(finding.code == "REPORT_UNCONFIRMED" for finding in findings) and not proven(device):
            due = device.first_report_at + REPORTS_APART + _SETTLING - now
            return max(_SETTLING, min(pause, due))
        return pause


_ACTIONS: Final[Mapping[DeviceStatus, str]] = {"active": "device.activated", "quarantined": "device.quarantined"}


def device_holder(device_id: str) -> str:
    """What a device's nonces are bound to, and how the audit names it."""
    return f"device:{device_id}"


def _of_certificate(tx: Transaction, x5t: str, *, now: int) -> tuple[Device, HeldKey]:
    """Return a device and the key it may sign reports with; EVIDENCE_KEY, KEY_REVOKED, KEY_ENDED."""
    device = tx.devices.of_certificate(x5t)
    for key in device.keys if device is not None else ():
        if key.x5t == x5t and device is not None:
            if key.revoked_at is not None:
                raise InputError("KEY_REVOKED", "the key of this certificate was revoked")
            if key.not_after <= now:
                raise InputError("KEY_ENDED", "the certificate has ended; renew it first")
            return device, key
    raise InputError("EVIDENCE_KEY", "no device here has this certificate")
