"""Certificates are renewed by the device that holds one, and nothing that is said makes a key better."""

from __future__ import annotations

from typing import Any

import pytest

from device_inventory.operations import key_revoked, quarantine, report_lost, revoke
from tests.enrollment_support import NOW, DeviceKey, FakeAttestation, Machine, Office
from tests.unit.reporting_support import machine as machine
from tests.unit.reporting_support import office as office
from tests.unit.reporting_support import refused
from zt_engine.control_plane.enrollment_rules import DAY, EnrollmentRules


def test_a_renewed_certificate_stands_beside_the_one_before(office: Office, machine: Machine) -> None:
    machine.report()
    before = machine.held
    machine.renew()

    assert [key.x5t for key in machine.device.keys] == [before.x5t, machine.held.x5t]
    assert all(key.revoked_at is None for key in machine.device.keys)
    assert office.actions()[-1] == "device.renewed"


def test_a_device_may_change_its_key_and_its_name_stays(office: Office, machine: Machine) -> None:
    machine.report()
    certified = machine.renew(DeviceKey())

    assert certified.device_id == machine.device_id
    assert machine.report().status == "active"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"device": "another"}, "PROOF_MISMATCH"),
        ({"csr": "another"}, "PROOF_MISMATCH"),
        ({"aud": "https://elsewhere.example"}, "PROOF_AUDIENCE"),
        ({"iat": NOW - 301}, "PROOF_TIME"),
        ({"nonce": "made up"}, "NONCE_REFUSED"),
    ],
)
def test_a_renewal_is_proven_like_the_first_certificate(machine: Machine, claims: dict[str, Any], code: str) -> None:
    machine.report()

    assert refused(machine.renew, claims=claims) == code
    assert len(machine.device.keys) == 1


def test_the_proof_of_a_renewal_counts_once(office: Office, machine: Machine) -> None:
    machine.report()
    wanted = machine.renewal()
    office.renewing.renew(machine.device_id, machine.held.x5t, wanted, now=NOW)

    assert refused(office.renewing.renew, machine.device_id, machine.held.x5t, wanted, now=NOW) == "NONCE_REFUSED"


def test_a_proof_of_enrollment_renews_nothing(office: Office, machine: Machine) -> None:
    wanted = office.wanted(office.consented(office.invite()), machine.key)

    assert refused(office.renewing.renew, machine.device_id, machine.held.x5t, wanted, now=NOW) == "PROOF_MISMATCH"


def test_no_key_of_another_device_is_renewed_to(office: Office, machine: Machine) -> None:
    other = office.enroll()

    assert refused(machine.renew, other.key) == "KEY_IN_USE"


def test_no_revoked_key_is_renewed_to(office: Office, machine: Machine) -> None:
    machine.report()
    old, old_x5t = machine.key, machine.held.x5t
    machine.renew(DeviceKey())
    office.change_device(key_revoked(machine.device, x5t=old_x5t, now=NOW, reason="copied"))

    assert refused(machine.renew, old) == "KEY_REVOKED"


@pytest.mark.parametrize("operation", [report_lost, quarantine, revoke])
def test_only_a_device_in_good_standing_renews(office: Office, machine: Machine, operation: Any) -> None:
    machine.report()
    office.change_device(operation(machine.device, now=NOW, reason="x"))

    assert refused(machine.renew) == "RENEWAL_REFUSED"


@pytest.mark.parametrize(
    ("ceiling", "late", "outcome"),
    [
        (100, 0, "proven"),
        (100, 7 * DAY - 1, "proven"),
        (100, 7 * DAY, "RENEWAL_REFUSED"),
        (200, DAY - 1, "proven"),
        (200, DAY, "starts over"),
        (200, 7 * DAY - 1, "starts over"),
        (300, -1, "proven"),
        (300, 0, "starts over"),
        (300, 7 * DAY, "RENEWAL_REFUSED"),
    ],
)
def test_how_late_a_certificate_is_renewed(office: Office, ceiling: int, late: int, outcome: str) -> None:
    helper = DeviceKey()
    machine = office.enroll(helper_key=helper.jwk, ceiling=ceiling)
    machine.report(helper=helper)
    office.now += 600
    machine.report(helper=helper)
    office.now = machine.held.not_after + late

    if outcome == "RENEWAL_REFUSED":
        assert refused(machine.renew) == outcome
    else:
        machine.renew()
        assert machine.device.consistent_reports == (2 if outcome == "proven" else 0)


def test_what_is_said_of_a_new_key_makes_it_no_better_than_the_one_before(office: Office) -> None:
    machine = office.enroll(key_protection="os_keystore")
    machine.report()

    assert machine.renew(DeviceKey(), key_protection="hw").certificate.key.protection == "os_keystore"
    assert machine.renew(DeviceKey(), key_protection="file").certificate.key.protection == "file"
    assert machine.renew(DeviceKey()).certificate.key.protection == "file"


def test_a_new_key_that_hardware_vouches_for_is_attested() -> None:
    office = Office(rules=EnrollmentRules(attestation="optional"), attestation=FakeAttestation())
    machine = office.enroll(key_protection="file")
    machine.report()

    assert machine.renew(DeviceKey(), attested=True).certificate.key.protection == "attested_hw"


def test_the_same_key_stays_as_well_kept_as_it_is(office: Office) -> None:
    machine = office.enroll(key_protection="hw")
    machine.report()

    assert machine.renew().certificate.key.protection == "hw"
