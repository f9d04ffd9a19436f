"""An office that takes in devices: the real store in memory, real signatures, a fake CA, people who sign in by name."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import jwt
from msgspec.structs import replace

from device_inventory.enrollment import Enrollment, after_approval
from device_inventory.facts import CATALOGUE
from device_inventory.inventory import Device, HeldKey
from device_inventory.invitation import Invitation
from device_inventory.notice import NOTICE_VERSION
from device_inventory.operations import approve
from tests.fakes.certificate_authority import FakeAuthority, fake_csr
from tests.fakes.persons import ISSUER, FakePersons
from tests.issuer import b64, jws
from tests.store_support import memory_store
from tests.unit.inventory_support import COLLECTED, claims
from zt_engine.adapters.dev_issuer import PrivateKey, make_key, public_jwk
from zt_engine.adapters.jws_device import DeviceJws
from zt_engine.adapters.store_sql import SqlStore
from zt_engine.control_plane.certifying import Certified, Certifying, KeyProofs, KeyRequest
from zt_engine.control_plane.enrolling import Enrolling, Started
from zt_engine.control_plane.enrollment_rules import EnrollmentRules
from zt_engine.control_plane.guesses import Guesses
from zt_engine.control_plane.ledger import Ledger
from zt_engine.control_plane.nonces import digest
from zt_engine.control_plane.remedies import NoReadiness, Readiness
from zt_engine.control_plane.renewing import Losing, Renewing
from zt_engine.control_plane.reporting import Received, Reporting
from zt_engine.control_plane.signing_in import SignIns
from zt_engine.core.errors import InputError
from zt_engine.core.jose import thumbprint
from zt_engine.ports.attestation import Attested
from zt_engine.ports.credentials import CertificateRequest
from zt_engine.ports.inventory import DeviceFilter, EnrollmentFilter

NOW = 1_790_000_000
TENANT = "mofa"
URL = "https://control.example"
_ALGORITHMS = jwt.PyJWS()


class DeviceKey:
    """A key on a device, and what it signs."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self.algorithm = algorithm
        self.private: PrivateKey = make_key(algorithm)
        self.jwk = public_jwk(self.private)
        self.jkt = thumbprint(self.jwk)

    def sign(self, claims: Mapping[str, object], *, typ: str, **header: object) -> bytes:
        # By hand: a library would not write the headers that are wrong.
        unsigned = jws({"typ": typ, "alg": self.algorithm, **header}, claims).rpartition(b".")[0]
        return unsigned + b"." + b64(_ALGORITHMS.get_algorithm_by_name(self.algorithm).sign(unsigned, self.private))

    def prove(self, claims: Mapping[str, object], *, typ: str = "zt-enroll+jwt", **header: object) -> bytes:
        return self.sign(claims, typ=typ, **{"jwk": self.jwk, **header})


class FakeAttestation:
    """Vouches for keys of the chip it was made for; what is not its own word is refused."""

    def __init__(self, chip: str = "chip-1") -> None:
        self.chip = chip

    def word(self, nonce: str, request: CertificateRequest) -> dict[str, object]:
        return {"chip": self.chip, "nonce": nonce, "csr": request.der_digest}

    def key(
        self, attestation: Mapping[str, object], *, nonce: str, request: CertificateRequest, now: float
    ) -> Attested:
        if attestation != self.word(nonce, request):
            raise InputError("ATTESTATION_REFUSED", "not what this chip says")
        return Attested(hardware=self.chip)

    def boot(self, quote: object, *, device: Device, nonce: str, now: float) -> Mapping[str, Any]:
        if quote != {"nonce": nonce}:
            raise InputError("ATTESTATION_REFUSED", "not what this chip says")
        return {"boot.measured": True}


class Office:
    """Everything the server side of an enrollment is made of, and the clock it goes by."""

    def __init__(
        self,
        *,
        rules: EnrollmentRules | None = None,
        attestation: FakeAttestation | None = None,
        guesses: Guesses | None = None,
        readiness: Readiness | None = None,
        store: SqlStore | None = None,
    ) -> None:
        self.now = NOW
        self.rules = rules or EnrollmentRules()
        self.store = store or memory_store()
        self.people = FakePersons()
        self.authority = FakeAuthority()
        self.attestation = attestation
        self._codes = itertools.count(1)
        common: dict[str, Any] = {"tenant": TENANT, "store": self.store}
        record, jws = Ledger(CATALOGUE), DeviceJws()
        proofs = KeyProofs(audience=URL, authority=self.authority, jws=jws, rules=self.rules, attestation=attestation)
        keyed = {**common, "authority": self.authority, "proofs": proofs, "rules": self.rules, "record": record}
        self.enrolling = Enrolling(
            **common,
            people=SignIns(self.people, URL),
            rules=self.rules,
            guesses=guesses or Guesses(),
            notice_version=NOTICE_VERSION,
        )
        self.certifying = Certifying(**keyed)
        self.renewing = Renewing(**keyed)
        self.losing = Losing(**common, home_issuer=ISSUER, people=SignIns(self.people, URL), record=record)
        self.reporting = Reporting(
            **common,
            audience=URL,
            jws=jws,
            rules=self.rules,
            record=record,
            readiness=readiness or NoReadiness(),
            facts=CATALOGUE,
            attestation=attestation,
        )
        self.ledger = record

    # -- what others do

    def invite(self, subject: str = "tanaka", **changes: Any) -> str:
        """Invite somebody, and return the code."""
        number = next(self._codes)
        code = changes.pop("code", f"code-{number}-of-128-random-bits")
        members: dict[str, Any] = {
            "tenant": TENANT,
            "id": f"inv-{number}",
            "code_digest": digest(code),
            "issuer": ISSUER,
            "subject": subject,
            "assigned": subject,
            "ownership": "corp",
            "invited_by": "suzuki",
            "created_at": self.now,
            "not_after": self.now + 259_200,
        }
        with self.store.writing(TENANT) as tx:
            tx.invitations.put(Invitation(**(members | changes)))
        return code

    def change_invitation(self, code: str, **changes: Any) -> None:
        with self.store.writing(TENANT) as tx:
            invitation = tx.invitations.of_code(digest(code))
            tx.invitations.put(replace(invitation, **changes))

    def change_device(self, device: Device, action: str = "device.changed") -> None:
        """Put what somebody else made of a device."""
        with self.store.writing(TENANT) as tx:
            before = tx.devices.get(device.device_id)
            self.ledger(tx, device, before=before, actor="admin:suzuki", action=action, now=self.now)

    def approve(self, device_id: str) -> None:
        """Have a second person approve a device, and its enrollment with it."""
        with self.store.writing(TENANT) as tx:
            before = tx.devices.get(device_id)
            enrollment = tx.enrollments.of_device(device_id)
            assert before is not None
            assert enrollment is not None
            after = approve(before, by="suzuki", now=self.now)
            tx.enrollments.put(after_approval(enrollment, now=self.now))
            self.ledger(tx, after, before=before, actor="admin:suzuki", action="device.approved", now=self.now)

    # -- what an agent does

    def start(self, code: str, subject: str = "tanaka", **signed_in: Any) -> Started:
        return self.enrolling.start(code, self.people.sign_in(subject, **signed_in), now=self.now)

    def consented(self, code: str, subject: str = "tanaka") -> str:
        started = self.start(code, subject)
        self.enrolling.consent(started.enrollment, NOTICE_VERSION, now=self.now)
        return started.enrollment

    def wanted(self, enrollment: str, key: DeviceKey, *, nonce: str | None = None, **changes: Any) -> KeyRequest:
        """A request to certify a key, right unless the changes make it wrong."""
        csr = changes.pop("csr", fake_csr(key.jwk))
        signer: DeviceKey = changes.pop("signer", key)
        typ = changes.pop("typ", "zt-enroll+jwt")
        nonce = self.enrolling.nonce(enrollment, now=self.now) if nonce is None else nonce
        claims = {
            "nonce": nonce,
            "aud": URL,
            "iat": self.now,
            "enrollment": enrollment,
            "csr": self.authority.read(fake_csr(key.jwk)).der_digest,
            **changes.pop("claims", {}),
        }
        if changes.pop("attested", False):
            assert self.attestation is not None
            changes["attestation"] = self.attestation.word(nonce, self.authority.read(csr))
        return KeyRequest(csr=csr, proof=signer.prove(claims, typ=typ), **changes)

    def certify(self, enrollment: str, key: DeviceKey, **changes: Any) -> Certified:
        return self.certifying.certify(enrollment, self.wanted(enrollment, key, **changes), now=self.now)

    def enroll(self, key: DeviceKey | None = None, *, subject: str = "tanaka", **changes: Any) -> Machine:
        """Enroll a device up to its certificate."""
        members = {name: changes.pop(name) for name in list(changes) if name in Invitation.__struct_fields__}
        key = key or DeviceKey()
        enrollment = self.consented(self.invite(subject, **members), subject)
        certified = self.certify(enrollment, key, **changes)
        return Machine(self, key, certified, enrollment)

    # -- what is there

    def device(self, device_id: str) -> Device:
        with self.store.reading(TENANT) as tx:
            found = tx.devices.get(device_id)
        assert found is not None
        return found

    def enrollment(self, enrollment_id: str) -> Enrollment:
        with self.store.reading(TENANT) as tx:
            found = tx.enrollments.get(enrollment_id)
        assert found is not None
        return found

    def devices(self) -> list[Device]:
        with self.store.reading(TENANT) as tx:
            return list(tx.devices.page(DeviceFilter(), after="", limit=1000))

    def invitation(self, code: str) -> Invitation:
        with self.store.reading(TENANT) as tx:
            found = tx.invitations.of_code(digest(code))
        assert found is not None
        return found

    def enrollments(self) -> list[Enrollment]:
        with self.store.reading(TENANT) as tx:
            return list(tx.enrollments.page(EnrollmentFilter(), after="", limit=1000))

    def audit(self) -> list[Any]:
        with self.store.reading(TENANT) as tx:
            return list(tx.audit.page(after=0, limit=100_000))

    def actions(self) -> list[str]:
        return [event.action for event in self.audit()]

    def announced(self) -> list[tuple[str, Any]]:
        """What sidecars are to be told since the last call, reports that changed nothing among it."""
        fence = self.store.elect()
        assert fence is not None
        try:
            self.store.gather_seen(TENANT, now=self.now)
            events = self.store.sequence(TENANT, fence=fence, limit=10_000)
        finally:
            self.store.resign()
        return [(event.type, json.loads(event.data)) for event in events]


class Machine:
    """An enrolled device that counts its reports."""

    def __init__(self, office: Office, key: DeviceKey, certified: Certified, enrollment: str = "") -> None:
        self.office = office
        self.key = key
        self.device_id = certified.device_id
        self.held: HeldKey = certified.certificate.key
        self.enrollment = enrollment
        self.seq = 0
        self.boot_id = "b1"

    @property
    def device(self) -> Device:
        return self.office.device(self.device_id)

    def evidence(
        self,
        values: Mapping[str, Any] = COLLECTED,
        *,
        nonce: str | None = None,
        signer: DeviceKey | None = None,
        helper: DeviceKey | None = None,
        helper_claims: Mapping[str, Any] | None = None,
        typ: str = "zt-posture+jwt",
        kid: str | None = None,
        said: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> bytes:
        """A full report, right unless the changes make it wrong."""
        now = self.office.now
        self.seq += 1
        nonce = self.office.reporting.nonce(self.device_id, now=now) if nonce is None else nonce
        told = {
            "nonce": nonce,
            "aud": URL,
            "iat": now,
            "device": self.device_id,
            "x5t": self.held.x5t,
            "seq": self.seq,
            "boot_id": self.boot_id,
            "delta": False,
            "collector": {"version": "1.0", "scope": "user"},
            **claims(values, at=now),
        }
        told |= changes | dict(said or {})
        if helper is not None:
            word = {"nonce": nonce, "device": self.device_id, **claims(values, at=now), **(helper_claims or {})}
            told["helper"] = helper.sign(word, typ="zt-helper+jwt").decode()
        told = {name: value for name, value in told.items() if value is not ...}
        return (signer or self.key).sign(told, typ=typ, kid=self.held.x5t if kid is None else kid)

    def report(self, values: Mapping[str, Any] = COLLECTED, **changes: Any) -> Received:
        return self.office.reporting.receive(self.evidence(values, **changes), now=self.office.now)

    def renewal(self, key: DeviceKey | None = None, *, nonce: str | None = None, **changes: Any) -> KeyRequest:
        key = key or self.key
        nonce = self.office.reporting.nonce(self.device_id, now=self.office.now) if nonce is None else nonce
        csr = fake_csr(key.jwk)
        said = {
            "nonce": nonce,
            "aud": URL,
            "iat": self.office.now,
            "device": self.device_id,
            "csr": self.office.authority.read(csr).der_digest,
            **changes.pop("claims", {}),
        }
        if changes.pop("attested", False):
            assert self.office.attestation is not None
            changes["attestation"] = self.office.attestation.word(nonce, self.office.authority.read(csr))
        return KeyRequest(csr=csr, proof=key.prove(said), **changes)

    def renew(self, key: DeviceKey | None = None, **changes: Any) -> Certified:
        """Renew, and go on with the new certificate."""
        wanted = self.renewal(key, **changes)
        certified = self.office.renewing.renew(self.device_id, self.held.x5t, wanted, now=self.office.now)
        self.key, self.held = key or self.key, certified.certificate.key
        return certified
