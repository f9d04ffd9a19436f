"""An enrollment on the server: who may start one, what a key has to prove, and what comes of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from device_inventory.notice import NOTICE_VERSION
from device_inventory.operations import report_lost
from tests.enrollment_support import NOW, TENANT, DeviceKey, FakeAttestation, Office
from tests.fakes.certificate_authority import fake_csr
from tests.fakes.persons import ISSUER
from tests.unit.reporting_support import FORGED, refused
from tests.unit.reporting_support import office as office
from zt_engine.control_plane.enrolling import prove
from zt_engine.control_plane.enrollment_rules import DAY, EnrollmentRules
from zt_engine.control_plane.guesses import Guesses
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.identity import SubjectRecord

# -- the whole way


def test_a_person_with_an_invitation_enrolls_a_device(office: Office) -> None:
    code = office.invite(ceiling=200)
    started = office.start(code, acr="phr")

    assert (started.state, started.next, started.ownership) == ("identified", "consent", "corp")
    assert office.enrolling.consent(started.enrollment, NOTICE_VERSION, now=NOW).state == "consented"
    certified = office.certify(started.enrollment, DeviceKey(), key_protection="hw")

    device = office.device(certified.device_id)
    assert (device.status, device.owner, device.assigned) == ("enrolled", "tanaka", ("tanaka",))
    assert [key.protection for key in device.keys] == ["hw"]
    assert office.enrollment(started.enrollment).state == "certified"
    assert office.invitation(code).state == "used"
    assert office.actions() == ["enrollment.started", "enrollment.consented", "device.enrolled"]
    assert [type_ for type_, _ in office.announced()] == ["device.changed"]


def test_a_device_is_named_by_a_random_uuid(office: Office) -> None:
    import uuid

    first, second = office.enroll().device_id, office.enroll().device_id

    assert first != second
    assert {uuid.UUID(first).version, uuid.UUID(second).version} == {4}


def test_an_enrolled_device_is_good_for_nothing_before_it_reports(office: Office) -> None:
    machine = office.enroll()

    assert machine.device.status == "enrolled"
    assert machine.device.report_received_at == 0


# -- who may


def test_the_sign_in_is_verified_before_the_code_is_looked_at(office: Office) -> None:
    code = office.invite()

    assert refused(office.enrolling.start, code, FORGED, now=NOW) == "TOKEN_SIGNATURE"
    assert refused(office.enrolling.start, "no such code", FORGED, now=NOW) == "TOKEN_SIGNATURE"
    assert office.enrollments() == []


@pytest.mark.parametrize("state", ["open", "used", "withdrawn", "over"])
def test_somebody_else_learns_nothing_but_that_the_invitation_is_not_theirs(office: Office, state: str) -> None:
    changes = {"not_after": NOW - 1} if state == "over" else {"state": state}
    code = office.invite("tanaka", **changes)

    assert refused(office.start, code, "sato") == "INVITE_FOREIGN"


def test_the_same_name_at_another_provider_is_somebody_else(office: Office) -> None:
    assert refused(office.start, office.invite(), issuer="https://elsewhere.example") == "INVITE_FOREIGN"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state": "used"}, "INVITE_USED"),
        ({"state": "withdrawn"}, "INVITE_WITHDRAWN"),
        ({"not_after": NOW}, "INVITE_EXPIRED"),
    ],
)
def test_the_invited_person_is_told_what_became_of_the_invitation(
    office: Office, changes: dict[str, Any], code: str
) -> None:
    assert refused(office.start, office.invite(**changes)) == code


def test_a_code_that_nobody_has_is_unknown(office: Office) -> None:
    assert refused(office.start, "guess") == "INVITE_UNKNOWN"


def test_blanks_around_a_pasted_code_do_not_matter(office: Office) -> None:
    assert office.start(f"  {office.invite()}\n").state == "identified"


def test_a_sign_in_shows_one_of_the_methods_that_are_demanded() -> None:
    office = Office(rules=EnrollmentRules(sign_in=frozenset({"phr", "hwk"})))
    code = office.invite()

    assert refused(office.start, code, acr="pwd", amr=("pwd", "otp")) == "SIGN_IN_WEAK"
    assert refused(office.start, code) == "SIGN_IN_WEAK"
    assert office.start(code, amr=("hwk",)).state == "identified"


@pytest.mark.parametrize(("signed_in_at", "code"), [(None, "SIGN_IN_OLD"), (NOW - 601, "SIGN_IN_OLD"), (NOW - 600, "")])
def test_a_sign_in_is_no_older_than_what_is_demanded(signed_in_at: int | None, code: str) -> None:
    office = Office(rules=EnrollmentRules(sign_in_age=600))
    invited = office.invite()

    if code:
        assert refused(office.start, invited, auth_time=signed_in_at) == code
    else:
        assert office.start(invited, auth_time=signed_in_at).state == "identified"


def test_a_weak_sign_in_does_not_tell_whether_there_is_an_invitation() -> None:
    office = Office(rules=EnrollmentRules(sign_in=frozenset({"phr"})))

    assert refused(office.start, office.invite()) == refused(office.start, "guess") == "SIGN_IN_WEAK"


def test_whoever_left_enrolls_nothing(office: Office) -> None:
    code, enrollment = office.invite(), office.consented(office.invite())
    with office.store.writing(TENANT) as tx:
        tx.situation.put_subject(
            SubjectRecord(
                id="tanaka",
                issuer=ISSUER,
                version=1,
                status="disabled",
                groups=(),
                compartments=(),
                clearance=0,
                org="",
                valid_until=None,
            )
        )

    assert refused(office.start, code) == "PERSON_INACTIVE"
    assert refused(office.certify, enrollment, DeviceKey()) == "PERSON_INACTIVE"
    assert office.devices() == []


# -- guessing


def test_ten_thousand_guessed_codes_change_nothing_and_few_are_even_looked_at() -> None:
    office = Office(guesses=Guesses(per_person=10, altogether=500))
    code = office.invite()
    before = office.invitation(code)
    tokens = [office.people.sign_in(f"guesser-{number}") for number in range(100)]

    answers = [
        refused(office.enrolling.start, f"guess-{number}", tokens[number % 100], now=NOW) for number in range(10_000)
    ]

    assert office.invitation(code) == before
    assert (office.enrollments(), office.devices()) == ([], [])
    assert answers.count("INVITE_UNKNOWN") == 500
    assert answers.count("INVITE_GUESSES") == 9_500


def test_one_person_uses_up_only_what_one_person_has(office: Office) -> None:
    code = office.invite()
    answers = [refused(office.start, f"guess-{number}", "sato") for number in range(12)]

    assert answers == ["INVITE_UNKNOWN"] * 10 + ["INVITE_GUESSES"] * 2
    assert office.start(code).state == "identified"
    assert office.actions().count("invitation.guessed") == 1


def test_somebody_elses_code_counts_as_a_guess(office: Office) -> None:
    code = office.invite()

    assert [refused(office.start, code, "sato") for _ in range(11)] == ["INVITE_FOREIGN"] * 10 + ["INVITE_GUESSES"]


def test_who_guessed_too_often_waits_even_with_the_right_code(office: Office) -> None:
    code = office.invite()
    for number in range(10):
        refused(office.start, f"guess-{number}")

    assert refused(office.start, code) == "INVITE_GUESSES"
    office.now += 3600
    assert office.start(code).state == "identified"


def test_a_clock_that_is_set_back_locks_nobody_out_for_ever() -> None:
    guesses = Guesses(per_person=1)
    guesses.note("sato", now=NOW)

    guesses.check("sato", now=NOW - 7200)
    with pytest.raises(InputError):
        guesses.note("sato", now=NOW)
        guesses.check("sato", now=NOW)


# -- resuming


def test_starting_again_goes_on_with_another_secret_and_the_one_before_is_dead(office: Office) -> None:
    code = office.invite()
    first = office.start(code)
    office.enrolling.consent(first.enrollment, NOTICE_VERSION, now=NOW)
    second = office.start(code)

    assert (second.enrollment, second.state, second.next) == (first.enrollment, "consented", "key")
    assert first.secret != second.secret
    with office.store.reading(TENANT) as tx:
        assert prove(tx, second.enrollment, second.secret).id == first.enrollment
        assert refused(prove, tx, first.enrollment, first.secret) == "AUTH_ENROLLMENT"


def test_a_secret_opens_its_own_enrollment_only(office: Office) -> None:
    mine, other = office.start(office.invite()), office.start(office.invite("sato"), "sato")

    with office.store.reading(TENANT) as tx:
        assert refused(prove, tx, other.enrollment, mine.secret) == "AUTH_ENROLLMENT"
        assert refused(prove, tx, "no such enrollment", "") == "AUTH_ENROLLMENT"
        assert refused(prove, tx, mine.enrollment, "") == "AUTH_ENROLLMENT"


def test_no_secret_is_kept_or_shown(office: Office) -> None:
    code = office.invite()
    started = office.start(code)

    kept = msgspec.json.encode([office.enrollments(), office.audit()]).decode()
    assert started.secret not in kept
    assert code not in kept
    assert started.secret not in repr(started)


def test_an_enrollment_that_took_too_long_is_over(office: Office) -> None:
    code = office.invite()
    enrollment = office.consented(code)
    office.now += 72 * 3600

    assert office.enrolling.progress(enrollment, now=office.now).next == "none"
    assert refused(office.enrolling.nonce, enrollment, now=office.now) == "ENROLLMENT_EXPIRED"
    assert refused(office.start, code) == "ENROLLMENT_EXPIRED"


def test_an_enrollment_begun_at_the_last_moment_has_its_own_day(office: Office) -> None:
    code = office.invite(not_after=NOW + 1)
    enrollment = office.consented(code)
    office.now += 3600

    assert office.start(code).enrollment == enrollment
    assert office.certify(enrollment, DeviceKey()).device_id


# -- the notice


def test_another_notice_than_the_present_one_is_not_agreed_to(office: Office) -> None:
    started = office.start(office.invite())

    assert refused(office.enrolling.consent, started.enrollment, "old", now=NOW) == "NOTICE_CHANGED"
    assert office.enrollment(started.enrollment).state == "identified"


def test_agreeing_twice_is_agreeing_once(office: Office) -> None:
    started = office.start(office.invite())
    office.enrolling.consent(started.enrollment, NOTICE_VERSION, now=NOW)
    office.enrolling.consent(started.enrollment, NOTICE_VERSION, now=NOW)

    assert office.actions().count("enrollment.consented") == 1


def test_nothing_is_made_before_the_notice_was_agreed_to(office: Office) -> None:
    started = office.start(office.invite())

    assert refused(office.enrolling.nonce, started.enrollment, now=NOW) == "ENROLLMENT_STEP_REFUSED"
    assert refused(office.certify, started.enrollment, DeviceKey(), nonce="x") == "ENROLLMENT_STEP_REFUSED"
    assert office.authority.issued == []


# -- the proof of the key


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"claims": {"aud": "https://elsewhere.example"}}, "PROOF_AUDIENCE"),
        ({"claims": {"aud": None}}, "PROOF_AUDIENCE"),
        ({"claims": {"iat": NOW - 301}}, "PROOF_TIME"),
        ({"claims": {"iat": NOW + 301}}, "PROOF_TIME"),
        ({"claims": {"iat": True}}, "PROOF_TIME"),
        ({"claims": {"iat": None}}, "PROOF_TIME"),
        ({"claims": {"enrollment": "another"}}, "PROOF_MISMATCH"),
        ({"claims": {"csr": "another"}}, "PROOF_MISMATCH"),
        ({"claims": {"nonce": "made up"}}, "NONCE_REFUSED"),
        ({"claims": {"nonce": None}}, "NONCE_REFUSED"),
        ({"claims": {"nonce": ["x"]}}, "NONCE_REFUSED"),
        ({"typ": "zt-device+jwt"}, "PROOF_TYPE"),
        ({"signer": DeviceKey()}, "PROOF_KEY"),
        ({"csr": fake_csr(DeviceKey().jwk)}, "PROOF_KEY"),
        ({"csr": b"nonsense"}, "CSR_MALFORMED"),
    ],
)
def test_a_proof_that_is_wrong_in_one_thing_certifies_nothing(
    office: Office, changes: dict[str, Any], code: str
) -> None:
    enrollment = office.consented(office.invite())

    assert refused(office.certify, enrollment, DeviceKey(), **changes) == code
    assert (office.devices(), office.enrollment(enrollment).state) == ([], "consented")


def test_a_proof_signed_over_another_keys_header_is_refused(office: Office) -> None:
    enrollment, key, other = office.consented(office.invite()), DeviceKey(), DeviceKey()
    right = office.wanted(enrollment, key)
    forged = replace(right, proof=other.prove({"x": 1}, jwk=key.jwk))

    assert refused(office.certifying.certify, enrollment, forged, now=NOW) == "PROOF_SIGNATURE"


def test_a_nonce_counts_once(office: Office) -> None:
    enrollment, key = office.consented(office.invite()), DeviceKey()
    wanted = office.wanted(enrollment, key)
    office.certifying.certify(enrollment, wanted, now=NOW)

    assert refused(office.certifying.certify, enrollment, wanted, now=NOW) == "NONCE_REFUSED"
    assert len(office.device(office.enrollment(enrollment).device_id).keys) == 1


def test_a_nonce_is_over_after_a_minute(office: Office) -> None:
    enrollment, key = office.consented(office.invite()), DeviceKey()
    wanted = office.wanted(enrollment, key)

    assert refused(office.certifying.certify, enrollment, wanted, now=NOW + 60) == "NONCE_REFUSED"


def test_a_nonce_is_for_one_enrollment(office: Office) -> None:
    mine, other = office.consented(office.invite()), office.consented(office.invite("sato"), "sato")
    nonce = office.enrolling.nonce(other, now=NOW)

    assert refused(office.certify, mine, DeviceKey(), nonce=nonce) == "NONCE_REFUSED"


def test_a_nonce_for_reports_certifies_no_key(office: Office) -> None:
    machine, enrollment = office.enroll(), office.consented(office.invite())
    nonce = office.reporting.nonce(machine.device_id, now=NOW)

    assert refused(office.certify, enrollment, DeviceKey(), nonce=nonce) == "NONCE_REFUSED"


def test_an_invitation_withdrawn_in_between_certifies_nothing(office: Office) -> None:
    code = office.invite()
    enrollment = office.consented(code)
    wanted = office.wanted(enrollment, DeviceKey())
    office.change_invitation(code, state="withdrawn")

    assert refused(office.certifying.certify, enrollment, wanted, now=NOW) == "INVITE_WITHDRAWN"
    assert office.authority.issued == []


def test_without_a_certificate_authority_nothing_is_used_up(office: Office) -> None:
    enrollment, key = office.consented(office.invite()), DeviceKey()
    wanted = office.wanted(enrollment, key)
    office.authority.down = True
    with pytest.raises(UnavailableError):
        office.certifying.certify(enrollment, wanted, now=NOW)
    office.authority.down = False

    assert office.certifying.certify(enrollment, wanted, now=NOW).device_id


# -- one key, one device


def test_a_key_of_another_device_is_refused(office: Office) -> None:
    key = DeviceKey()
    office.enroll(key)
    enrollment = office.consented(office.invite())

    assert refused(office.certify, enrollment, key) == "KEY_IN_USE"


def test_the_key_of_a_reenrolled_device_never_revives(office: Office) -> None:
    key = DeviceKey()
    old = office.enroll(key)
    office.enroll(DeviceKey(), replaces=old.device_id)
    enrollment = office.consented(office.invite())

    assert refused(office.certify, enrollment, key) == "KEY_REVOKED"


def test_a_device_cannot_be_reenrolled_with_its_own_old_key(office: Office) -> None:
    key = DeviceKey()
    old = office.enroll(key)
    enrollment = office.consented(office.invite(replaces=old.device_id))

    assert refused(office.certify, enrollment, key) == "KEY_IN_USE"
    assert old.device.status == "enrolled"


def test_reenrollment_revokes_the_old_device_in_the_transaction_of_the_new_certificate(office: Office) -> None:
    old = office.enroll()
    office.announced()
    new = office.enroll(replaces=old.device_id)

    assert (old.device.status, new.device.status) == ("revoked", "enrolled")
    assert all(key.revoked_at == NOW for key in old.device.keys)
    assert new.device.replaces == old.device_id
    told = [(type_, data.get("device_id"), data.get("status")) for type_, data in office.announced()]
    changes = [(device, status) for type_, device, status in told if type_ == "device.changed"]
    assert changes == [(old.device_id, "revoked"), (new.device_id, "enrolled")]


def test_a_lost_device_stays_lost_until_its_successor_has_a_certificate(office: Office) -> None:
    old = office.enroll()
    office.change_device(report_lost(old.device, now=NOW))
    enrollment = office.consented(office.invite(replaces=old.device_id))
    office.authority.down = True
    refused(office.certify, enrollment, DeviceKey())

    assert old.device.status == "lost"
    office.authority.down = False
    office.certify(enrollment, DeviceKey())
    assert old.device.status == "revoked"


# -- an answer that was lost


def test_the_same_key_may_ask_again_since_the_answer_may_have_been_lost(office: Office) -> None:
    key = DeviceKey()
    machine = office.enroll(key)
    again = office.certify(machine.enrollment, key)

    assert again.device_id == machine.device_id
    assert again.certificate.key.x5t != machine.held.x5t
    assert [held.spki for held in machine.device.keys] == [machine.held.spki] * 2


def test_another_key_may_not(office: Office) -> None:
    machine = office.enroll()

    assert refused(office.certify, machine.enrollment, DeviceKey()) == "ENROLLMENT_STEP_REFUSED"


def test_once_the_enrollment_is_complete_nobody_may(office: Office) -> None:
    key = DeviceKey()
    machine = office.enroll(key)
    machine.report()

    assert refused(office.certify, machine.enrollment, key, nonce="x") == "ENROLLMENT_STEP_REFUSED"


def test_asking_again_with_a_better_word_makes_the_key_no_better(office: Office) -> None:
    key = DeviceKey()
    machine = office.enroll(key, key_protection="file")
    office.certify(machine.enrollment, key, key_protection="hw")

    assert [held.protection for held in machine.device.keys] == ["file", "file"]


# -- where the key lies


@pytest.mark.parametrize(
    ("claimed", "held"), [("file", "file"), ("os_keystore", "os_keystore"), ("hw", "hw"), ("attested_hw", "hw")]
)
def test_what_is_only_said_of_a_key_is_never_called_attested(office: Office, claimed: Any, held: str) -> None:
    machine = office.enroll(key_protection=claimed)

    assert machine.held.protection == held


def test_where_nobody_verifies_attestations_none_counts(office: Office) -> None:
    machine = office.enroll(key_protection="attested_hw", attestation={"chip": "mine, honestly"})

    assert machine.held.protection == "hw"


def test_what_hardware_vouches_for_is_attested() -> None:
    office = Office(rules=EnrollmentRules(attestation="optional"), attestation=FakeAttestation())

    assert office.enroll(attested=True, key_protection="attested_hw").held.protection == "attested_hw"
    assert office.enroll(key_protection="attested_hw").held.protection == "hw"


def test_a_statement_that_does_not_hold_is_no_silent_fall_back() -> None:
    office = Office(rules=EnrollmentRules(attestation="optional"), attestation=FakeAttestation())
    enrollment = office.consented(office.invite())

    assert refused(office.certify, enrollment, DeviceKey(), attestation={"chip": "?"}) == "ATTESTATION_REFUSED"
    assert office.devices() == []


def test_where_attestation_is_demanded_there_is_no_way_without() -> None:
    office = Office(rules=EnrollmentRules(attestation="required"), attestation=FakeAttestation())
    enrollment = office.consented(office.invite())

    assert refused(office.certify, enrollment, DeviceKey(), key_protection="hw") == "ATTESTATION_REQUIRED"
    assert office.certify(enrollment, DeviceKey(), attested=True).certificate.key.protection == "attested_hw"


def test_a_chip_that_was_not_registered_beforehand_is_foreign() -> None:
    rules = EnrollmentRules(attestation="required", hardware=frozenset({"chip-1"}))
    ours, foreign = (
        Office(rules=rules, attestation=FakeAttestation()),
        Office(rules=rules, attestation=FakeAttestation("x")),
    )

    assert ours.enroll(attested=True).held.protection == "attested_hw"
    assert refused(foreign.enroll, attested=True) == "ATTESTATION_FOREIGN"


def test_to_demand_what_nobody_verifies_is_a_mistake_that_shows_at_once() -> None:
    with pytest.raises(ValueError, match="nobody verifies"):
        Office(rules=EnrollmentRules(attestation="required"))


# -- what the device is


def test_a_helpers_key_is_registered_as_its_public_members() -> None:
    office, helper = Office(), DeviceKey()
    machine = office.enroll(helper_key={**helper.jwk, "kid": "x", "use": "sig"})

    assert machine.device.helper_key == {name: helper.jwk[name] for name in ("kty", "crv", "x", "y")}


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {**DeviceKey().jwk, "d": "AAAA"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        {"kty": ["EC"], "crv": "P-256"},
    ],
)
def test_a_helpers_key_that_is_none_is_refused(office: Office, jwk: dict[str, Any]) -> None:
    assert refused(office.enroll, helper_key=jwk) == "HELPER_KEY_REFUSED"


def test_the_agent_cannot_be_its_own_helper(office: Office) -> None:
    key = DeviceKey()

    assert refused(office.enroll, key, helper_key=key.jwk) == "HELPER_KEY_REFUSED"


def test_a_device_of_ones_own_has_no_helper_and_a_low_ceiling(office: Office) -> None:
    machine = office.enroll(ownership="byod", ceiling=400, helper_key=DeviceKey().jwk)

    assert machine.device.helper_key is None
    assert machine.device.ceiling == 200


def test_a_certificate_lives_as_long_as_the_ceiling_of_its_device_allows() -> None:
    office = Office(rules=EnrollmentRules(lifetimes=((100, 7 * DAY), (200, DAY), (1000, 3600))))

    lives = [office.enroll(ceiling=ceiling).held.not_after - NOW for ceiling in (100, 150, 200, 400, 1000, 5000)]

    assert lives == [7 * DAY, DAY, DAY, 3600, 3600, 3600]


def test_no_certificate_outlives_a_contractors_device(office: Office) -> None:
    machine = office.enroll(kind="contractor", sponsor="suzuki", device_ends_at=NOW + 3600)

    assert machine.held.not_after == NOW + 3600
    assert refused(office.enroll, device_ends_at=NOW) == "DEVICE_ENDED"


def test_a_shared_device_is_assigned_to_nobody(office: Office) -> None:
    machine = office.enroll(kind="shared", ownership="shared")

    assert (machine.device.assigned, machine.device.owner) == ((), "tanaka")
