"""Who asks from which device: credentials become a `Principal`, remembered as long as everything it rests on holds.

What can end it by itself (expiry of token, certificate and device key) is one instant, checked on every request against
real time. What can be changed from outside (records, revocations, token keys) is compared on every request, by identity
or version. So a remembered principal is never older than what a fresh one would be.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Protocol

from device_inventory.device import DeviceRecord
from zt_engine.core import identity
from zt_engine.core.errors import InputError
from zt_engine.core.generations import Generations
from zt_engine.core.identity import ANONYMOUS, Subject, SubjectRecord, VerifiedCertificate, VerifiedToken
from zt_engine.core.issuer import IssuerMapping, subject_name
from zt_engine.core.request import AccessRequest
from zt_engine.core.revocable import REVOKED, RevocationName, person_names, session_names
from zt_engine.core.session import SessionRecord
from zt_engine.core.situation import Situation
from zt_engine.core.tick import tick_at
from zt_engine.ports import CertificateVerifier, DeviceProofVerifier, DpopVerifier, TokenVerifier
from zt_engine.sidecar.browser_sessions import proof_for, session_of, token_of
from zt_engine.sidecar.replica import Replica, State

MAX_PRINCIPALS = 24_576
"""Each takes some 7 kB with its token, its certificate and what was computed for the tick. Half of them are there when
they come back, which is everybody of a site of ten thousand people."""


DirectoryRecords = tuple[tuple[tuple[str, str], SubjectRecord | None], ...]
"""Whose records were looked up, by issuer and id, and what was found."""


class Versioned(Protocol):
    """A key set that can be replaced: the version changes with the keys, and nothing is believed of it for ever."""

    version: int
    usable_until: float


class _NoKeys:
    version = 0
    usable_until = math.inf


NO_KEYS: Versioned = _NoKeys()


class PrincipalRefused(InputError):
    """A refusal of somebody whose credentials were good: who, and from which device, belongs into the record of it."""

    def __init__(self, error: InputError, *, subject: str, device: str) -> None:
        super().__init__(error.code, error.message, where=error.where, hint=error.hint)
        self.subject = subject
        self.device = device


class Principal:
    """A subject, the device whose key was proven, and how the two belong together."""

    __slots__ = (
        "assigned", "authorization", "binding", "certificate", "client_cert", "device", "ends",
        "has_credential", "issuer", "keys", "keys_version", "names", "phase", "profile", "records", "revocable",
        "scheme", "serial", "session", "since", "situation", "state", "strange_at", "subject", "tick", "token",
        "unproven", "until",
    )  # fmt: skip

    def __init__(self, serial: int, *, since: float, until: float, situation: Situation) -> None:
        self.serial = serial
        self.since = since
        """A clock that is set back finds nothing remembered."""
        self.until = self.ends = until
        """Until when it is believed without asking again, and when something that it rests on ends by itself."""
        self.situation = situation
        self.state: State | None = None
        """The state of the replica in which all of it was last found to hold."""
        self.authorization = self.client_cert = b""
        """What it was established from, for whoever keeps a request of it."""
        self.keys: Versioned = NO_KEYS
        self.keys_version = 0
        self.phase = 0
        self.scheme = ""
        self.subject: Subject = ANONYMOUS
        self.device: DeviceRecord | None = None
        self.binding: identity.Binding = "none"
        self.assigned = False
        self.strange_at: int | None = None
        """For a proven key that no device has, and so no binding: the version of the keys at which that was so."""
        self.has_credential = False
        self.issuer = ""
        self.revocable: tuple[RevocationName, ...] = ()
        self.records: DirectoryRecords = ()
        self.token: VerifiedToken | None = None
        self.certificate: VerifiedCertificate | None = None
        """What the connection showed."""
        self.session: SessionRecord | None = None
        """The browser's session that stands for a token."""
        self.unproven = False
        """Whether it is a session without a device, of which a device proof could tell."""
        self.profile: object = None
        """What the subject says before the clock is asked, and `tick`, what is so now: both are `Moments`' to fill."""
        self.tick: object = None
        self.names: object = None
        """How answers and log lines name it: `outcomes` fills it in."""


class Principals:
    """Establishes principals, and remembers a bounded number of them."""

    def __init__(
        self,
        *,
        tokens: TokenVerifier,
        certificates: CertificateVerifier,
        proofs: DpopVerifier,
        mappings: Mapping[str, IssuerMapping],
        replica: Replica,
        keys: Mapping[str, Versioned],
        tick_seconds: int,
        device_proofs: DeviceProofVerifier | None = None,
    ) -> None:
        """With several issuers all `mappings` name the same home issuer; ValueError otherwise.

        Without `device_proofs` whoever shows a device proof is refused.
        """
        homes = {mapping.home for mapping in mappings.values()}
        if len(mappings) > 1 and (len(homes) > 1 or "" in homes):
            raise ValueError("several issuers, and no one home issuer")
        self._tokens = tokens
        self._certificates = certificates
        self._proofs = proofs
        self._device_proofs = device_proofs
        self._mappings = mappings
        self._replica = replica
        self._keys = keys
        self._tick_seconds = tick_seconds
        self._known: Generations[tuple[bytes, bytes, str, bytes, str, bytes], Principal] = Generations(MAX_PRINCIPALS)
        self._serial = 0

    def of(self, request: AccessRequest, now: float) -> Principal:
        """Return the principal of a request; raises InputError with the code of what is not proven.

        In every tick at least it is established anew, or its credentials are verified again and prove the same, so that
        no rule about the age of keys is outlived.
        """
        jkt = self._prove(request, now) if request.dpop else ""
        # A session is one of its host alone; whatever else is shown proves the same at all of them.
        host = request.target.host if request.session else ""
        key = (request.authorization, request.client_cert, jkt, request.session, host, request.device_proof)
        before = self._known.get(key)
        known = before is not None and before.since <= now and self.holds(before)
        if before is not None and known and (now < before.until or (not jkt and self._goes_on(before, request, now))):
            return before
        principal = self._establish(request, jkt, now, before)
        self._known.put(key, principal)
        principal.authorization, principal.client_cert = request.authorization, request.client_cert
        return principal

    def forget(self) -> None:
        """Establish everybody anew: something that is not compared on every request has changed."""
        self._known.clear()

    def holds(self, principal: Principal) -> bool:
        """Whether nothing that a principal rests on has been replaced; what ends by itself is in its `until`."""
        if principal.keys_version != principal.keys.version:
            return False
        state = self._replica.state
        if principal.state is state:
            return True
        records = state.records
        if principal.situation is not state.situation:
            return False
        device = principal.device
        if device is not None and records.devices.get(device.device_id) is not device:
            return False
        if principal.strange_at is not None and principal.strange_at != records.keys.version:
            return False
        session = principal.session
        if session is not None and records.sessions.get(session.sid) is not session:
            return False
        for key, record in principal.records:
            if records.subjects.get(key) is not record:
                return False
        principal.state = state
        return True

    def _goes_on(self, principal: Principal, request: AccessRequest, now: float) -> bool:
        """Let a principal that holds live for one more tick, if establishing it anew would give the very same.

        What `holds` compares aside, that depends on the verifiers, the key's owner and the ends alone: what was not
        revoked in a situation is not revoked in it later. A session is used by asking, so it is not spared.
        """
        if principal.session is not None or now >= min(principal.ends, principal.keys.usable_until):
            return False
        certificate = self._certificates.verify(request.client_cert, now=now) if request.client_cert else None
        scheme, text = credentials(request.authorization)
        token = self._tokens.verify(text, now=now) if scheme else None
        if certificate is not principal.certificate or token is not principal.token:
            return False
        found = self._replica.device_of(certificate.x5t, now=now) if certificate is not None else None
        if (None if found is None else found[0]) is not principal.device:
            return False
        principal.since, principal.until = now, min(principal.ends, self._tick_end(principal, now))
        return True

    def _tick_end(self, principal: Principal, now: float) -> float:
        """Return the end of the tick its decisions belong to, so that it is looked at once a tick and not twice."""
        return tick_at(now, phase=principal.phase, seconds=self._tick_seconds).until

    def _prove(self, request: AccessRequest, now: float) -> str:
        scheme, token = credentials(request.authorization)
        if scheme != "dpop":
            raise InputError("DPOP_WITHOUT_TOKEN", "a proof came without a `DPoP` token")
        # The token first: whoever has none must not be able to fill the memory of used proofs.
        verified = self._tokens.verify(token, now=now)
        return self._proofs.verify(
            request.dpop,
            token=token,
            jkt=verified.jkt,
            holder=f"{verified.issuer}|{verified.subject}",
            method=request.method,
            url=request.target.url,
            request_id=request.request_id,
            now=now,
        )

    def _establish(self, request: AccessRequest, jkt: str, now: float, before: Principal | None) -> Principal:
        """Prove everything again. `before` is who the same credentials proved last: the same token and the same
        directory records are the same subject.
        """
        certificate = self._certificates.verify(request.client_cert, now=now) if request.client_cert else None
        scheme, text = credentials(request.authorization)
        token = self._tokens.verify(text, now=now) if scheme else None
        session = session_of(request, self._replica, self._mappings, now) if request.session and not scheme else None
        if (token is None) == bool(scheme) or (certificate is None) == bool(request.client_cert):
            raise TypeError("a verifier returned nothing: who sends a credential is never taken for one who sends none")
        situation = self._replica.situation
        if situation is None:
            raise InputError("NOT_READY", "no situation has been loaded")
        self._serial += 1
        principal = Principal(self._serial, since=now, until=math.inf, situation=situation)
        principal.certificate = certificate
        proven = None
        try:
            if session is not None:
                same = before is not None and before.session is session and before.token is not None
                token = before.token if same and before is not None else token_of(session)
                principal.session = session
            if token is not None:
                self._take_token(principal, token, certificate, jkt, scheme, before)
            if session is not None and certificate is None and request.device_proof:
                proven = proof_for(session, request, self._device_proofs, now)
            if proven is not None:
                principal.ends = min(principal.ends, proven.statement.until)
            shown = certificate if proven is None else proven.certificate
            self._find_device(principal, shown, jkt, now)
            if session is not None:
                if principal.binding == "none" and principal.device is not None:
                    principal.binding = "session"
                principal.unproven = principal.device is None and self._device_proofs is not None
                # INVARIANT: a session that began with a certificate needs one; a proof is a cookie and can be copied.
                if session.device_id and (certificate is None or certificate.device_id != session.device_id):
                    raise InputError("SESSION_DEVICE", "the session began on a device that has not shown itself")
            if before is not None and before.subject is principal.subject and before.device is principal.device:
                principal.names = before.names
            principal.revocable = revocable(principal, token, shown)
            principal.until = min(principal.ends, self._tick_end(principal, now))
            for kind, key in principal.revocable:
                if situation.is_revoked(kind, key, now=now):
                    raise InputError(REVOKED[kind], f"this {kind} was revoked")
        except InputError as error:
            subject = self._name(token) if token is not None else ""
            shown = certificate if proven is None else proven.certificate
            raise PrincipalRefused(error, subject=subject, device=self._named(shown, jkt, now)) from error
        return principal

    def _name(self, token: VerifiedToken) -> str:
        home = self._mappings[token.issuer].home or token.issuer
        return subject_name(token.issuer, token.subject, home=home)

    def _named(self, certificate: VerifiedCertificate | None, jkt: str, now: float) -> str:
        """Return the id of the device whose key was proven, also when the request is refused."""
        found = self._replica.device_of(certificate.x5t if certificate is not None else jkt, now=now)
        return found[0].device_id if found is not None else ""

    def _take_token(
        self,
        principal: Principal,
        token: VerifiedToken,
        certificate: VerifiedCertificate | None,
        jkt: str,
        scheme: str,
        before: Principal | None,
    ) -> None:
        principal.has_credential = True
        principal.scheme = scheme
        principal.issuer = token.issuer
        principal.keys = self._keys[token.issuer]
        principal.ends = min(principal.ends, token.expires_at, principal.keys.usable_until)
        principal.keys_version = principal.keys.version
        principal.binding = identity.binding(token, certificate=certificate, jkt=jkt or None, scheme=scheme)
        keys = [(token.issuer, token.subject)]
        if token.actor is not None:
            keys.append((token.actor.issuer, token.actor.id))
        records = [self._replica.subjects.get(key) for key in keys]
        principal.records = tuple(zip(keys, records, strict=True))
        principal.token = token
        if before is not None and before.token is token and _same(before.records, principal.records):
            principal.subject, principal.profile = before.subject, before.profile
        else:
            actor = records[1] if token.actor is not None else None
            principal.subject = identity.establish(token, records[0], self._mappings[token.issuer], actor=actor)

    def _find_device(self, principal: Principal, certificate: VerifiedCertificate | None, jkt: str, now: float) -> None:
        """Tie the request to the device whose key it proved.

        A certificate and a proof that are not both one device's are refused. A proven key that no device has ties the
        token to nobody's device: anybody can make such a key, so to the rules the token is not bound.
        """
        if certificate is not None:
            principal.ends = min(principal.ends, certificate.not_after)
            found = self._replica.device_of(certificate.x5t, now=now)
            if found is None:
                # A device that was revoked holds no key any more; its person is told why nothing opens.
                if principal.situation.is_revoked("device", certificate.device_id, now=now):
                    raise InputError("DEVICE_REVOKED", "the device this certificate was issued to was revoked")
                raise InputError("DEVICE_UNKNOWN", "no device has the key of this certificate")
            principal.device, principal.ends = found[0], min(principal.ends, found[1].not_after)
        if jkt:
            found = self._replica.device_of(jkt, now=now)
            if principal.device is not None and (found is None or principal.device is not found[0]):
                raise InputError("DEVICE_AMBIGUOUS", "certificate and proof do not belong to one device")
            if found is None:
                principal.strange_at, principal.binding = self._replica.keys.version, "none"
            else:
                principal.device, principal.ends = found[0], min(principal.ends, found[1].not_after)
        owner = principal.subject.id if principal.device is None else principal.device.device_id
        principal.phase = zlib.crc32(owner.encode())
        if principal.device is not None:
            if certificate is not None and certificate.device_id != principal.device.device_id:
                raise InputError(
                    "DEVICE_AMBIGUOUS", "the certificate names another device than the one that holds its key"
                )
            shared = principal.device.ownership == "shared"
            principal.assigned = shared or principal.subject.id in principal.device.assigned


def _same(before: DirectoryRecords, now: DirectoryRecords) -> bool:
    return len(before) == len(now) and all(a[0] == b[0] and a[1] is b[1] for a, b in zip(before, now, strict=True))


def credentials(authorization: bytes) -> tuple[str, bytes]:
    """Split an Authorization header into scheme (`bearer`, `dpop` or empty) and token; others raise TOKEN_SCHEME."""
    if not authorization:
        return "", b""
    scheme, blank, token = authorization.partition(b" ")
    name = scheme.lower()
    if not blank or name not in (b"bearer", b"dpop"):
        raise InputError("TOKEN_SCHEME", "the Authorization scheme is neither `Bearer` nor `DPoP`")
    return name.decode("ascii"), token.lstrip(b" ")


def revocable(
    principal: Principal, token: VerifiedToken | None, certificate: VerifiedCertificate | None
) -> tuple[RevocationName, ...]:
    """Return everything whose revocation ends this principal."""
    found: list[RevocationName] = []
    if principal.device is not None:
        found.append(("device", principal.device.device_id))
    if certificate is not None:
        # Whoever holds a certificate can respell its signature, and with it the digest; issuer and serial stay.
        found += [("cert", certificate.x5t), ("cert", f"{certificate.issuer}|{certificate.serial}")]
    if principal.session is not None:
        found += session_names(principal.session)
    elif token is not None:
        found += [*person_names(token.issuer, token.subject), ("jti", token.jti)]
        if token.session:
            found.append(("session", token.session))
    if token is not None:
        for actor in (token.actor, *token.earlier_actors):
            if actor is not None:
                found += person_names(actor.issuer, actor.id)
    return tuple(found)
