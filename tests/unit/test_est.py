"""EST: one secret makes one robot with one key, a certificate renews itself, and nothing else gets anything."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from device_inventory.operations import approve, quarantine, report_lost, revoke
from tests.csr import make_csr, new_key
from tests.est_support import CODE, TENANT, Scene, authority_in_memory, opened, pem_of
from tests.unit.est_scene import enrolled, reenroll, refusal, renewal
from tests.unit.est_scene import scene as scene
from zt_engine.adapters.certificates_x509 import X509CertificateVerifier
from zt_engine.control_plane.est import PENDING_FOR, REPEAT_FOR, RETRY_AFTER, EstService, Pending
from zt_engine.control_plane.ledger import Ledger
from zt_engine.core.errors import UnavailableError
from zt_engine.core.identity import SubjectRecord

# The one-time secret.


def test_an_invited_robot_gets_a_certificate_and_is_enrolled(scene: Scene) -> None:
    scene.invite(sponsor="suzuki", ceiling=100)
    key = new_key()

    (certificate,) = opened(scene.enroll(make_csr(key)))

    (device,) = scene.devices()
    assert certificate.public_key() == key.public_key()
    uris = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(uris) == [x509.UniformResourceIdentifier(f"urn:zt:device:{device.device_id}")]
    assert (device.status, device.kind, device.owner, device.ceiling) == ("enrolled", "robot", "tanaka", 100)
    assert [held.protection for held in device.keys] == ["file"]
    assert device.keys[0].serial == f"{certificate.serial_number:x}"


def test_the_secret_works_once(scene: Scene) -> None:
    scene.invite()
    scene.enroll()

    assert refusal(scene.enroll) == "EST_UNAUTHORIZED"
    assert len(scene.devices()) == 1


def test_the_same_key_may_ask_again_for_ten_minutes_as_the_answer_may_have_been_lost(scene: Scene) -> None:
    scene.invite()
    csr = make_csr()
    first = scene.enroll(csr)

    scene.clock.at += REPEAT_FOR - 1
    again = scene.enroll(csr)
    scene.clock.at += 1

    assert opened(again)[0].subject == opened(first)[0].subject
    assert opened(again)[0].serial_number != opened(first)[0].serial_number
    assert refusal(scene.enroll, csr) == "EST_UNAUTHORIZED"
    (device,) = scene.devices()
    assert len(device.keys) == 2


@pytest.mark.parametrize(
    ("user", "password"),
    [("inv-1", "wrong"), ("inv-2", CODE), ("", CODE), ("inv-1", ""), ("INV-1", CODE), ("inv-1", CODE + " ")],
)
def test_a_wrong_secret_opens_nothing(scene: Scene, user: str, password: str) -> None:
    scene.invite()

    assert refusal(scene.enroll, user=user, password=password) == "EST_UNAUTHORIZED"
    assert scene.devices() == []


@pytest.mark.parametrize("kind", ["person", "shared", "contractor"])
def test_an_invitation_of_a_person_is_no_est_secret(scene: Scene, kind: str) -> None:
    """A person signs in; a code alone opens nothing."""
    scene.invite(kind=kind)

    assert refusal(scene.enroll) == "EST_UNAUTHORIZED"


def test_an_invitation_that_is_over_or_withdrawn_opens_nothing(scene: Scene) -> None:
    invitation = scene.invite()
    scene.invite("inv-2", code="another", state="withdrawn")

    scene.clock.at = invitation.not_after

    assert refusal(scene.enroll) == "EST_UNAUTHORIZED"
    assert refusal(scene.enroll, user="inv-2", password="another") == "EST_UNAUTHORIZED"


def test_a_person_whose_enrollment_has_begun_cannot_be_overtaken_by_est(scene: Scene) -> None:
    scene.invite(enrollment="e-1")

    assert refusal(scene.enroll) == "EST_UNAUTHORIZED"


def test_nothing_but_digests_of_the_secret_is_stored(scene: Scene) -> None:
    invitation = scene.invite()
    scene.enroll()

    with scene.store.reading(TENANT) as tx:
        used = tx.invitations.get(invitation.id)
        assert used is not None
        enrollment = tx.enrollments.get(used.enrollment)
        events = tx.audit.page(after=0, limit=10)
    assert used.state == "used"
    assert CODE not in repr((used, enrollment, events))
    assert enrollment is not None
    assert enrollment.secret_digest != used.code_digest


def test_a_bad_request_does_not_use_up_the_secret(scene: Scene) -> None:
    scene.invite()

    assert refusal(scene.enroll, b"\x30\x00") == "CSR_MALFORMED"
    assert isinstance(scene.enroll(), bytes)


def test_a_key_another_device_holds_is_refused_and_the_secret_still_works(scene: Scene) -> None:
    scene.invite()
    scene.invite("inv-2", code="another")
    key = new_key()
    scene.enroll(make_csr(key))

    assert refusal(scene.enroll, make_csr(key), user="inv-2", password="another") == "KEY_IN_USE"
    assert isinstance(scene.enroll(user="inv-2", password="another"), bytes)


def test_a_key_that_was_revoked_never_comes_back(scene: Scene) -> None:
    scene.invite()
    scene.invite("inv-2", code="another")
    key = new_key()
    scene.enroll(make_csr(key))
    scene.change(scene.devices()[0].device_id, lambda device: revoke(device, now=int(scene.clock.at), reason="lost"))

    assert refusal(scene.enroll, make_csr(key), user="inv-2", password="another") == "KEY_REVOKED"


def test_a_re_enrollment_revokes_the_device_it_replaces(scene: Scene) -> None:
    scene.invite()
    scene.enroll()
    (old,) = scene.devices()
    scene.invite("inv-2", code="another", replaces=old.device_id)

    scene.enroll(user="inv-2", password="another")

    statuses = {device.device_id: device.status for device in scene.devices()}
    assert statuses.pop(old.device_id) == "revoked"
    assert list(statuses.values()) == ["enrolled"]


def test_a_ca_that_cannot_sign_uses_up_nothing(scene: Scene) -> None:
    scene.invite()
    good = [authority_in_memory(int(scene.clock.at))]
    scene.ca.replace([])
    with pytest.raises(UnavailableError):
        scene.enroll()

    scene.ca.replace(good)

    assert scene.devices() == []
    assert isinstance(scene.enroll(), bytes)


def test_a_robot_whose_owner_has_left_is_not_enrolled(scene: Scene) -> None:
    scene.invite()
    with scene.store.writing(TENANT) as tx:
        tx.situation.put_subject(
            SubjectRecord(
                id="tanaka",
                issuer="https://idp.example",
                version=1,
                status="disabled",
                groups=(),
                compartments=(),
                clearance=0,
                org="",
                valid_until=None,
            )
        )

    assert refusal(scene.enroll) == "PERSON_INACTIVE"
    assert scene.devices() == []


def test_no_certificate_outlives_its_device(scene: Scene) -> None:
    scene.invite(device_ends_at=int(scene.clock.at) + 3600)
    key = new_key()
    held = pem_of(scene.enroll(make_csr(key)))

    (renewed,) = opened(reenroll(scene, renewal(scene, held, key), held))

    for certificate in (x509.load_pem_x509_certificate(held), renewed):
        assert certificate.not_valid_after_utc.timestamp() == scene.clock.at + 3600


def test_two_robots_with_one_secret_are_one_robot(scene: Scene) -> None:
    """The second comes between the first one's look at the invitation and its use."""
    scene.invite()
    issue = scene.ca.issue

    def overtaken(csr: bytes, **named: object) -> object:
        scene.ca.issue = issue  # type: ignore[method-assign]
        scene.enroll()
        return issue(csr, **named)  # type: ignore[arg-type]

    scene.ca.issue = overtaken  # type: ignore[method-assign,assignment]

    assert refusal(scene.enroll) == "INVITE_USED"
    assert len(scene.devices()) == 1


# Approval.


def test_a_robot_that_needs_approval_waits_and_gets_its_certificate_after_it(scene: Scene) -> None:
    scene.invite(approval=True)
    csr = make_csr()

    first, second = scene.enroll(csr), scene.enroll(csr)
    (device,) = scene.devices()
    scene.change(device.device_id, lambda device: approve(device, by="sato", now=int(scene.clock.at)))
    third = scene.enroll(csr)

    assert first == second == Pending(RETRY_AFTER)
    assert opened(third)[0].subject.rfc4514_string() == f"CN={device.device_id}"
    assert len(scene.devices()) == 1


def test_what_waits_is_bound_to_its_key(scene: Scene) -> None:
    """Whoever reads the secret on the way cannot collect the certificate with a key of his own."""
    scene.invite(approval=True)
    scene.enroll()
    (device,) = scene.devices()
    scene.change(device.device_id, lambda device: approve(device, by="sato", now=int(scene.clock.at)))

    assert refusal(scene.enroll) == "EST_UNAUTHORIZED"


def test_waiting_has_an_end(scene: Scene) -> None:
    scene.invite(approval=True)
    csr = make_csr()
    scene.enroll(csr)

    scene.clock.at += PENDING_FOR

    assert refusal(scene.enroll, csr) == "EST_UNAUTHORIZED"


def test_after_the_certificate_was_handed_out_the_secret_is_over_as_soon_as_any_other(scene: Scene) -> None:
    scene.invite(approval=True)
    csr = make_csr()
    scene.enroll(csr)
    (device,) = scene.devices()
    scene.change(device.device_id, lambda device: approve(device, by="sato", now=int(scene.clock.at)))
    scene.enroll(csr)

    scene.clock.at += REPEAT_FOR

    assert refusal(scene.enroll, csr) == "EST_UNAUTHORIZED"


def test_a_device_that_was_refused_gets_no_certificate(scene: Scene) -> None:
    scene.invite(approval=True)
    csr = make_csr()
    scene.enroll(csr)
    (device,) = scene.devices()
    scene.change(device.device_id, lambda device: revoke(device, now=int(scene.clock.at), reason="unknown machine"))

    assert refusal(scene.enroll, csr) == "EST_UNAUTHORIZED"


# Renewal by certificate.


def test_a_certificate_renews_itself_for_the_same_device(scene: Scene) -> None:
    key, next_key = new_key(), new_key()
    held = enrolled(scene, key)
    scene.clock.at += 16 * 3600

    (renewed,) = opened(reenroll(scene, renewal(scene, held, next_key), held))

    (device,) = scene.devices()
    assert renewed.public_key() == next_key.public_key()
    assert renewed.subject.rfc4514_string() == f"CN={device.device_id}"
    assert renewed.not_valid_after_utc.timestamp() == scene.clock.at + 86_400
    assert len(device.keys) == 2
    verified = X509CertificateVerifier(scene.ca.authorities())
    escaped = quote(renewed.public_bytes(Encoding.PEM), safe="").encode()
    assert verified.verify(escaped, now=scene.clock.at).device_id == device.device_id


def test_the_same_key_may_be_certified_again(scene: Scene) -> None:
    key = new_key()
    held = enrolled(scene, key)

    (renewed,) = opened(reenroll(scene, renewal(scene, held, key), held))

    assert renewed.public_key() == key.public_key()


def test_where_attestation_is_demanded_est_is_no_way_around_it(scene: Scene) -> None:
    scene.invite()
    held = pem_of(scene.enroll())
    scene.invite("inv-2", code="another-one-time-code")
    strict = EstService(
        tenant=TENANT,
        store=scene.store,
        authority=scene.ca,
        certificates=scene.certificates,
        record=Ledger(()),
        attested_only=True,
    )

    for call in (
        lambda: strict.enroll(make_csr(), user="inv-2", password="another-one-time-code", now=scene.clock.at),
        lambda: strict.reenroll(renewal(scene, held), presented=held, now=scene.clock.at),
    ):
        assert refusal(call) == "ATTESTATION_REQUIRED"
    assert len(scene.devices()) == 1


def test_a_renewal_asks_for_the_same_names_or_is_refused(scene: Scene) -> None:
    held = enrolled(scene, new_key())
    device = scene.devices()[0].device_id
    uri = x509.UniformResourceIdentifier(f"urn:zt:device:{device}")

    for csr in (
        make_csr(name=device),
        make_csr(name="other", alternatives=[uri]),
        make_csr(name=device, alternatives=[x509.UniformResourceIdentifier("urn:zt:device:other")]),
        make_csr(name=device, alternatives=[uri, x509.DNSName("portal.example")]),
    ):
        assert refusal(reenroll, scene, csr, held) == "EST_NAMES"


def test_a_certificate_the_inventory_never_issued_renews_nothing(scene: Scene) -> None:
    """The CA signed it, and still nobody knows it: an answer that was dropped, or another tenant's."""
    stray = scene.ca.issue(make_csr(), device_id="stray", protection="file", seconds=3600, now=scene.clock.at).pem

    assert refusal(reenroll, scene, renewal(scene, stray), stray) == "CERT_UNTRUSTED"


def test_a_foreign_or_expired_certificate_renews_nothing(scene: Scene) -> None:
    held = enrolled(scene, new_key())
    foreign = Scene()
    theirs = enrolled(foreign, new_key())

    assert refusal(reenroll, scene, renewal(scene, theirs), theirs) == "CERT_UNTRUSTED"
    scene.clock.at += 86_400
    assert refusal(reenroll, scene, renewal(scene, held), held) == "CERT_EXPIRED"


@pytest.mark.parametrize("event", [quarantine, report_lost, revoke])
def test_a_device_out_of_good_standing_renews_nothing(scene: Scene, event: object) -> None:
    held = enrolled(scene, new_key())
    scene.change(scene.devices()[0].device_id, lambda device: event(device, now=int(scene.clock.at), reason="x"))  # type: ignore[operator]

    assert refusal(reenroll, scene, renewal(scene, held), held) == "RENEWAL_REFUSED"


def test_a_renewal_with_another_devices_key_is_refused(scene: Scene) -> None:
    other = new_key()
    held = enrolled(scene, new_key())
    scene.invite("inv-2", code="another")
    scene.enroll(make_csr(other), user="inv-2", password="another")

    assert refusal(reenroll, scene, renewal(scene, held, other), held) == "KEY_IN_USE"


def test_renewals_do_not_pile_up(scene: Scene) -> None:
    held = enrolled(scene, new_key())
    for _ in range(3):
        reenroll(scene, renewal(scene, held), held)

    assert refusal(reenroll, scene, renewal(scene, held), held) == "RENEWAL_TOO_OFTEN"


def test_while_two_cas_overlap_certificates_of_both_renew(scene: Scene) -> None:
    held = enrolled(scene, new_key())
    (old,) = scene.ca._authorities

    scene.ca.replace([old, authority_in_memory(int(scene.clock.at))])
    (renewed,) = opened(reenroll(scene, renewal(scene, held), held))

    assert renewed.issuer != old.certificate.subject
    assert len(opened(scene.service.authorities())) == 2
