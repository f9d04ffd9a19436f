"""Starting an enrollment, resuming it, and agreeing to the notice: who may enroll, before there is a key.

The sign-in is verified before the code is looked at, so whoever tries codes has a name. A code that is somebody else's
tells its finder only that. The secret that comes back is what an agent proves itself with between the steps; starting
again gives another one and ends the one before.
"""

from __future__ import annotations

import hmac
import uuid
from typing import Final

import msgspec
from msgspec.structs import replace

from device_inventory.device import Ownership
from device_inventory.enrollment import STEPS, Enrollment, EnrollmentStep, consented, expired
from device_inventory.invitation import Invitation, admit, begun
from zt_engine.control_plane.enrollment_rules import EnrollmentRules
from zt_engine.control_plane.guesses import Guesses
from zt_engine.control_plane.ledger import write_down
from zt_engine.control_plane.nonces import digest, hand_out, make_secret
from zt_engine.control_plane.refusals import refusals
from zt_engine.control_plane.signing_in import SignIn, SignIns
from zt_engine.core.errors import InputError
from zt_engine.ports.credentials import Person
from zt_engine.ports.inventory import InventoryStore, Transaction

_WORKING: Final = "active"
_KEYED: Final = frozenset({"consented", "certified", "reported", "waiting"})


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """An enrollment that may go on with `secret`, which is told this once."""

    enrollment: str
    secret: str
    state: str
    next: EnrollmentStep
    ownership: Ownership

    def __repr__(self) -> str:
        return f"Started(enrollment={self.enrollment!r}, secret=..., state={self.state!r})"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an enrollment is, and what its person does next."""

    enrollment: Enrollment
    next: EnrollmentStep
    ownership: Ownership


class Enrolling:
    """The steps of an enrollment up to its key. One transaction a step, its audit event in it."""

    def __init__(
        self,
        *,
        tenant: str,
        store: InventoryStore,
        people: SignIns,
        rules: EnrollmentRules,
        guesses: Guesses,
        notice_version: str,
    ) -> None:
        self._tenant = tenant
        self._store = store
        self._people = people
        self._rules = rules
        self._guesses = guesses
        self._notice_version = notice_version

    def start(self, code: str, sign_in: SignIn, *, now: float) -> Started:
        """Start the enrollment of an invitation, or go on with the one that was started.

        Raises InputError: TOKEN_*, AGENT_OUTDATED, SIGN_IN_*, PERSON_INACTIVE, INVITE_GUESSES, INVITE_UNKNOWN,
        INVITE_FOREIGN, INVITE_WITHDRAWN, INVITE_USED, INVITE_EXPIRED, ENROLLMENT_EXPIRED.
        """
        instant = int(now)
        person = self._people.verify(sign_in, now=now)
        self._guesses.check(name_of(person.issuer, person.subject), now=now)
        self._rules.check_sign_in(person, now=now)
        code_digest = digest(code.strip())
        self._of_code(code_digest, person.issuer, person.subject, now=now)
        with self._store.writing(self._tenant) as tx, refusals():
            invitation = tx.invitations.of_code(code_digest)
            if invitation is None:
                raise _unknown()
            admit(invitation, issuer=person.issuer, subject=person.subject, now=instant)
            check_person(tx, person.issuer, person.subject)
            secret = make_secret()
            resumed = bool(invitation.enrollment)
            if resumed:
                enrollment = self._resumed(tx, invitation, person, secret, now=instant)
            else:
                enrollment = self._begun(tx, invitation, person, secret, now=instant)
            tx.enrollments.put(enrollment)
            _record(tx, enrollment, "enrollment.resumed" if resumed else "enrollment.started", now=instant)
        return Started(
            enrollment=enrollment.id,
            secret=secret,
            state=enrollment.state,
            next=STEPS[enrollment.state],
            ownership=invitation.ownership,
        )

    def look(self, code: str, *, issuer: str, subject: str, now: float) -> Invitation:
        """Return the invitation a code is of, for a page that its person has signed in to. Nothing is begun by it.

        Wrong codes are counted together with those that agents try. Raises InputError: INVITE_GUESSES, INVITE_UNKNOWN,
        INVITE_FOREIGN, PERSON_INACTIVE.
        """
        self._guesses.check(name_of(issuer, subject), now=now)
        invitation = self._of_code(digest(code.strip()), issuer, subject, now=now)
        with self._store.reading(self._tenant) as tx:
            check_person(tx, issuer, subject)
        return invitation

    def progress(self, enrollment_id: str, *, now: float) -> Progress:
        """Return how far an enrollment is; one that took too long is `expired`, and nothing comes next."""
        with self._store.reading(self._tenant) as tx:
            enrollment = present(tx, enrollment_id)
            invitation = tx.invitations.get(enrollment.invitation)
        if expired(enrollment, now=int(now)):
            enrollment = replace(enrollment, state="expired")
        ownership = invitation.ownership if invitation is not None else "corp"
        return Progress(enrollment=enrollment, next=STEPS[enrollment.state], ownership=ownership)

    def consent(self, enrollment_id: str, notice_version: str, *, now: float) -> Enrollment:
        """Note that the person agreed to this very notice; agreeing to it twice is agreeing once.

        Raises InputError: NOTICE_CHANGED, ENROLLMENT_STEP_REFUSED, ENROLLMENT_EXPIRED.
        """
        instant = int(now)
        with self._store.writing(self._tenant) as tx, refusals():
            before = present(tx, enrollment_id)
            if before.state == "consented" and before.notice_version == notice_version == self._notice_version:
                return before
            enrollment = consented(before, notice_version=notice_version, current=self._notice_version, now=instant)
            tx.enrollments.put(enrollment)
            _record(tx, enrollment, "enrollment.consented", now=instant)
        return enrollment

    def nonce(self, enrollment_id: str, *, now: float) -> str:
        """Return a nonce for this enrollment's key; ENROLLMENT_STEP_REFUSED before the notice was agreed to."""
        with self._store.writing(self._tenant) as tx:
            enrollment = _keyed(tx, enrollment_id, now=int(now))
            return hand_out(tx, purpose="key", holder=holder_of(enrollment), now=int(now))

    def keyed(self, enrollment_id: str, *, now: float) -> Enrollment:
        """Return an enrollment whose next step, or last one, is its key; refused as for a nonce."""
        with self._store.reading(self._tenant) as tx:
            return _keyed(tx, enrollment_id, now=int(now))

    def _begun(self, tx: Transaction, invitation: Invitation, person: Person, secret: str, *, now: int) -> Enrollment:
        enrollment = Enrollment(
            tenant=self._tenant,
            id=str(uuid.uuid4()),
            invitation=invitation.id,
            issuer=person.issuer,
            subject=person.subject,
            state="identified",
            secret_digest=digest(secret),
            acr=person.acr,
            auth_time=person.auth_time,
            started_at=now,
            changed_at=now,
            not_after=max(invitation.not_after, now + self._rules.enrollment_seconds),
        )
        tx.invitations.put(begun(invitation, enrollment=enrollment.id))
        return enrollment

    def _resumed(self, tx: Transaction, invitation: Invitation, person: Person, secret: str, *, now: int) -> Enrollment:
        enrollment = present(tx, invitation.enrollment)
        if expired(enrollment, now=now):
            raise InputError("ENROLLMENT_EXPIRED", "the enrollment took too long; ask for a new invitation")
        return replace(
            enrollment, secret_digest=digest(secret), acr=person.acr, auth_time=person.auth_time, changed_at=now
        )

    def _of_code(self, code_digest: str, issuer: str, subject: str, *, now: float) -> Invitation:
        """Return the invitation with this code if it is this person's; INVITE_UNKNOWN, INVITE_FOREIGN, both counted."""
        with self._store.reading(self._tenant) as tx:
            invitation = tx.invitations.of_code(code_digest)
        # Only wrong codes are counted, so this costs an invited person nothing.
        if invitation is not None and subject and (invitation.issuer, invitation.subject) == (issuer, subject):
            return invitation
        # Whoever uses up what there is stands in the audit.
        if self._guesses.note(name_of(issuer, subject), now=now):
            with self._store.writing(self._tenant) as tx:
                actor = actor_of(issuer, subject)
                write_down(tx, actor=actor, action="invitation.guessed", object_=actor, now=int(now))
        if invitation is not None:
            raise InputError("INVITE_FOREIGN", "the invitation is for somebody else")
        raise _unknown()


def present(tx: Transaction, enrollment_id: str) -> Enrollment:
    """Return an enrollment that has to be there."""
    enrollment = tx.enrollments.get(enrollment_id)
    if enrollment is None:
        raise InputError("AUTH_ENROLLMENT", "there is no such enrollment; start it again")
    return enrollment


def _keyed(tx: Transaction, enrollment_id: str, *, now: int) -> Enrollment:
    enrollment = present(tx, enrollment_id)
    if expired(enrollment, now=now):
        raise InputError("ENROLLMENT_EXPIRED", "the enrollment took too long; ask for a new invitation")
    if enrollment.state not in _KEYED:
        raise InputError("ENROLLMENT_STEP_REFUSED", f"an enrollment that is `{enrollment.state}` makes no key")
    return enrollment


def prove(tx: Transaction, enrollment_id: str, secret: str) -> Enrollment:
    """Return the enrollment this secret belongs to; AUTH_ENROLLMENT, whatever is wrong."""
    enrollment = tx.enrollments.get(enrollment_id)
    # Compared even where there is none, so that ids cannot be told apart by the time an answer takes.
    held = enrollment.secret_digest if enrollment is not None else digest("")
    if not hmac.compare_digest(digest(secret), held) or enrollment is None:
        raise InputError("AUTH_ENROLLMENT", "no enrollment here has this secret; start it again")
    return enrollment


def check_person(tx: Transaction, issuer: str, subject: str) -> None:
    """Refuse somebody of whom the directory says that they no longer work here: PERSON_INACTIVE."""
    record = tx.situation.subject(issuer, subject)
    if record is not None and record.status != _WORKING:
        raise InputError("PERSON_INACTIVE", f"the directory says `{record.status}`")


def holder_of(enrollment: Enrollment) -> str:
    """What the nonces of an enrollment are bound to."""
    return f"enrollment:{enrollment.id}"


def name_of(issuer: str, subject: str) -> str:
    """Name a person as wrong codes are counted."""
    return f"{issuer}|{subject}"


def actor_of(issuer: str, subject: str) -> str:
    """Name a person as the actor of an audit event."""
    return f"person:{issuer}|{subject}"


def _record(tx: Transaction, enrollment: Enrollment, action: str, *, now: int) -> None:
    write_down(
        tx,
        actor=actor_of(enrollment.issuer, enrollment.subject),
        action=action,
        object_=f"enrollment:{enrollment.id}",
        after={
            "state": enrollment.state,
            "invitation": enrollment.invitation,
            "acr": enrollment.acr,
            "notice": enrollment.notice_version,
        },
        now=now,
    )


def _unknown() -> InputError:
    return InputError("INVITE_UNKNOWN", "no invitation has this code")
