"""Reports on the server: whose they are, that they are new, and what becomes of the device."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from device_inventory.facts import CATALOGUE, METHODS
from device_inventory.inventory import publish
from device_inventory.operations import key_revoked, quarantine, report_lost, revoke
from tests.enrollment_support import NOW, URL, DeviceKey, FakeAttestation, Machine, Office
from tests.stream_support import Follower, batch, changed
from tests.unit.inventory_support import COLLECTED
from tests.unit.reporting_support import machine as machine
from tests.unit.reporting_support import office as office
from tests.unit.reporting_support import refused
from zt_engine.control_plane.enrollment_rules import DAY, EnrollmentRules
from zt_engine.core.errors import ZtError

# -- what becomes of a device


def test_the_first_report_puts_a_device_into_service(office: Office, machine: Machine) -> None:
    received = machine.report()

    assert (received.status, received.seq) == ("active", 1)
    assert (machine.device.status, office.enrollment(machine.enrollment).state) == ("active", "complete")
    assert office.actions()[-1] == "device.activated"


def test_where_somebody_has_to_approve_it_a_device_waits(office: Office) -> None:
    machine = office.enroll(approval=True)
    received = machine.report()

    assert (received.status, received.unmet[0].code) == ("enrolled", "APPROVAL_PENDING")
    assert office.enrollment(machine.enrollment).state == "waiting"
    office.approve(machine.device_id)
    assert machine.report().status == "active"
    assert office.enrollment(machine.enrollment).state == "complete"


def test_a_device_that_was_approved_first_is_active_after_its_report(office: Office) -> None:
    machine = office.enroll(approval=True)
    office.approve(machine.device_id)

    assert machine.report().status == "active"
    assert office.enrollment(machine.enrollment).state == "complete"


def test_a_report_that_changes_nothing_is_only_seen(office: Office, machine: Machine) -> None:
    machine.report()
    machine.report()
    office.announced()
    audited = len(office.audit())
    office.now += 60
    version = machine.device.version
    machine.report()

    assert [(type_, list(data["devices"])) for type_, data in office.announced()] == [
        ("device.seen", [machine.device_id])
    ]
    assert machine.device.version == version
    assert len(office.audit()) == audited


def test_a_report_that_confirms_nothing_makes_nothing_younger(office: Office, machine: Machine) -> None:
    # A policy that does not read how the key is kept, which every report confirms by its signature.
    office.reporting._facts = frozenset({"disk.encrypted"})
    machine.report()
    machine.report()
    told = replace(publish(machine.device, names=["disk.encrypted"], now=office.now), tenant="default")
    office.announced()
    office.now += 3600
    machine.report({}, delta=True)

    ((kind, data),) = office.announced()
    follower = Follower().begin(changed(told))
    follower.take("batch", batch(1, (kind, data)))
    heard = follower.replica.devices[machine.device_id]

    assert kind == "device.seen"
    assert heard.report_received_at == office.now
    assert heard.facts["disk.encrypted"].received_at == told.facts["disk.encrypted"].received_at


def test_a_report_that_changes_something_is_told_at_once(office: Office, machine: Machine) -> None:
    machine.report()
    machine.report()
    office.announced()
    machine.report({**COLLECTED, "firewall.enabled": False})

    told = [data for type_, data in office.announced() if type_ == "device.changed"]
    assert [record["facts"]["firewall.enabled"]["value"] for record in told] == [False]


def test_two_reports_ten_minutes_apart_are_needed_before_a_helpers_word_counts(office: Office) -> None:
    helper = DeviceKey()
    machine = office.enroll(helper_key=helper.jwk)
    methods = []
    for seconds in (0, 599, 1):
        office.now += seconds
        received = machine.report(helper=helper)
        record = publish(machine.device, names=CATALOGUE, now=office.now)
        methods.append((record.facts["disk.encrypted"].method, [one.code for one in received.findings]))

    assert methods == [
        ("self_report", ["REPORT_UNCONFIRMED"]),
        ("self_report", ["REPORT_UNCONFIRMED"]),
        ("signed_agent", []),
    ]


def test_the_second_report_is_asked_for_just_after_the_ten_minutes(office: Office) -> None:
    helper = DeviceKey()
    machine = office.enroll(helper_key=helper.jwk)

    assert machine.report(helper=helper).next_report_in == 610


def test_reports_are_asked_for_every_twelve_to_fifteen_minutes_and_not_by_all_at_once(machine: Machine) -> None:
    pauses = {machine.report().next_report_in for _ in range(40)}

    assert len(pauses) > 10
    assert min(pauses) >= 720
    assert max(pauses) < 900


# -- whose a report is


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": "https://elsewhere.example"}, "PROOF_AUDIENCE"),
        ({"aud": [URL]}, "PROOF_AUDIENCE"),
        ({"iat": NOW - 301}, "PROOF_TIME"),
        ({"iat": NOW + 301}, "PROOF_TIME"),
        ({"iat": float(NOW)}, "PROOF_TIME"),
        ({"device": "another"}, "PROOF_MISMATCH"),
        ({"x5t": "another"}, "PROOF_MISMATCH"),
        ({"x5t": ...}, "PROOF_MISMATCH"),
        ({"nonce": "made up"}, "NONCE_REFUSED"),
        ({"typ": "zt-enroll+jwt"}, "PROOF_TYPE"),
        ({"signer": DeviceKey()}, "PROOF_SIGNATURE"),
        ({"kid": "x"}, "PROOF_MALFORMED"),
        ({"kid": "A" * 43}, "EVIDENCE_KEY"),
        ({"method": "attested"}, "REPORT_MALFORMED"),
        ({"seq": 0}, "REPORT_MALFORMED"),
    ],
)
def test_evidence_that_is_wrong_in_one_thing_is_not_taken_in(
    office: Office, machine: Machine, changes: dict[str, Any], code: str
) -> None:
    assert refused(machine.report, **changes) == code
    assert machine.device.report_received_at == 0
    assert office.enrollment(machine.enrollment).state == "certified"


def test_a_report_counts_once(office: Office, machine: Machine) -> None:
    evidence = machine.evidence()
    office.reporting.receive(evidence, now=NOW)

    assert refused(office.reporting.receive, evidence, now=NOW) == "NONCE_REFUSED"
    assert machine.device.report_seq == 1


def test_a_nonce_of_reports_is_over_after_a_minute(office: Office, machine: Machine) -> None:
    evidence = machine.evidence()

    assert refused(office.reporting.receive, evidence, now=NOW + 60) == "NONCE_REFUSED"


def test_a_nonce_is_for_one_device(office: Office, machine: Machine) -> None:
    other = office.enroll()

    assert refused(machine.report, nonce=office.reporting.nonce(other.device_id, now=NOW)) == "NONCE_REFUSED"


def test_a_key_signs_for_its_own_device_only(office: Office, machine: Machine) -> None:
    other = office.enroll()
    nonce = office.reporting.nonce(other.device_id, now=NOW)

    assert refused(machine.report, device=other.device_id, nonce=nonce) == "PROOF_MISMATCH"
    assert refused(machine.report, kid=other.held.x5t, nonce=nonce) == "PROOF_SIGNATURE"
    assert (machine.device.report_seq, other.device.report_seq) == (0, 0)


def test_a_revoked_key_reports_nothing(office: Office, machine: Machine) -> None:
    office.change_device(key_revoked(machine.device, x5t=machine.held.x5t, now=NOW, reason="copied"))

    assert refused(machine.report) == "KEY_REVOKED"


def test_a_key_revoked_between_the_two_looks_reports_nothing(office: Office, machine: Machine) -> None:
    evidence = machine.evidence()
    verified = office.reporting._verified(evidence, now=NOW)
    office.reporting._verified = lambda *_, **__: verified  # type: ignore[method-assign]
    office.change_device(revoke(machine.device, now=NOW, reason="stolen"))

    assert refused(office.reporting.receive, evidence, now=NOW) == "KEY_REVOKED"


def test_a_certificate_that_has_ended_reports_nothing(office: Office, machine: Machine) -> None:
    office.now += DAY

    assert refused(machine.report) == "KEY_ENDED"


def test_the_certificate_before_the_last_one_still_reports(office: Office, machine: Machine) -> None:
    before = machine.held
    machine.report()
    machine.renew()
    machine.held = before

    assert machine.report().status == "active"


@pytest.mark.parametrize("operation", [report_lost, quarantine])
def test_what_a_device_out_of_service_may_report(office: Office, machine: Machine, operation: Any) -> None:
    machine.report()
    office.change_device(operation(machine.device, now=NOW, reason="looked at"))

    if operation is report_lost:
        assert refused(machine.report) == "REPORT_STATUS"
    else:
        assert machine.report().status == "quarantined"


# -- order, and two machines with one key


def test_a_number_that_does_not_grow_is_refused_and_the_last_one_named(office: Office, machine: Machine) -> None:
    machine.report()

    with pytest.raises(ZtError) as caught:
        machine.report(seq=1)
    assert caught.value.code == "REPORT_SEQ"
    assert "1" in caught.value.message


def test_two_machines_with_one_key_are_both_out_of_service(office: Office, machine: Machine) -> None:
    machine.report()
    machine.boot_id = "b2"
    machine.report()
    machine.boot_id = "b1"

    assert refused(machine.report) == "DEVICE_CLONED"
    assert (machine.device.status, machine.device.findings) == ("quarantined", ("DEVICE_CLONED",))
    assert office.actions()[-1] == "device.quarantined"
    assert [data["status"] for type_, data in office.announced() if type_ == "device.changed"][-1] == "quarantined"


def test_a_refused_report_is_remembered_since_it_is_what_shows_two_machines(office: Office, machine: Machine) -> None:
    machine.report()
    refused(machine.report, seq=1)

    assert machine.device.streams[-1].behind


def test_hardware_that_is_registered_already_is_noted_and_nobody_is_locked_out(
    office: Office, machine: Machine
) -> None:
    serial = {**COLLECTED, "device.serial_hash": "5e" * 32}
    machine.report(serial)
    other = office.enroll()
    other.report(serial)

    assert (machine.device.status, other.device.status) == ("active", "active")
    assert office.actions().count("device.serial_seen_again") == 1


# -- what a report cannot do


@pytest.mark.parametrize("name", sorted({*COLLECTED, "device.key_protection", "device.ownership"} & CATALOGUE.keys()))
def test_no_fact_names_its_own_method(machine: Machine, name: str) -> None:
    for method in METHODS:
        fact = {
            "status": "observed",
            "value": COLLECTED.get(name, "attested_hw"),
            "collected_at": NOW,
            "method": method,
        }
        assert refused(machine.report, facts={name: fact}) == "REPORT_MALFORMED"


def test_a_report_says_nothing_of_its_key_or_its_owner(office: Office, machine: Machine) -> None:
    machine.report({**COLLECTED, "device.key_protection": "attested_hw", "device.ownership": "byod"})

    facts = publish(machine.device, names=CATALOGUE, now=NOW).facts
    assert (facts["device.key_protection"].value, facts["device.key_protection"].method) == ("file", "self_report")
    assert facts["device.ownership"].value == "corp"


def test_a_stranger_is_no_helper(office: Office) -> None:
    helper = DeviceKey()
    machine = office.enroll(helper_key=helper.jwk)

    assert refused(machine.report, helper=DeviceKey()) == "PROOF_SIGNATURE"
    assert refused(machine.report, helper=machine.key) == "PROOF_SIGNATURE"
    assert machine.device.report_seq == 0


@pytest.mark.parametrize("changes", [{"nonce": "of another report"}, {"device": "another"}])
def test_a_helpers_word_is_for_this_report_of_this_device(office: Office, changes: dict[str, Any]) -> None:
    helper = DeviceKey()
    machine = office.enroll(helper_key=helper.jwk)

    assert refused(machine.report, helper=helper, helper_claims=changes) == "PROOF_MISMATCH"


def test_a_helper_that_was_never_registered_is_left_out_and_said_to_be(office: Office, machine: Machine) -> None:
    received = machine.report(helper=DeviceKey())

    assert [finding.code for finding in received.findings] == ["HELPER_UNREGISTERED"]
    assert "helper" not in machine.device.sources


@pytest.mark.parametrize("word", [17, {"facts": {}}, "x.y.z", ""])
def test_a_helpers_word_that_is_no_jws_is_refused(office: Office, word: object) -> None:
    machine = office.enroll(helper_key=DeviceKey().jwk)
    evidence = machine.evidence(said={"helper": word})

    assert refused(office.reporting.receive, evidence, now=NOW) == "PROOF_MALFORMED"


def test_only_a_quote_that_holds_attests_a_boot() -> None:
    office = Office(rules=EnrollmentRules(attestation="optional"), attestation=FakeAttestation())
    machine = office.enroll(attested=True)
    nonce = office.reporting.nonce(machine.device_id, now=NOW)
    machine.report(nonce=nonce, quote={"nonce": nonce})

    assert machine.device.sources["quote"].facts["boot.measured"].method == "attested"
    assert refused(machine.report, quote={"nonce": "of yesterday"}) == "ATTESTATION_REFUSED"


def test_where_nobody_verifies_quotes_none_counts(machine: Machine) -> None:
    machine.report(quote={"pcrs": "all good"})

    assert "quote" not in machine.device.sources


def test_a_fact_that_is_not_collected_from_such_a_device_is_not_kept(office: Office) -> None:
    machine = office.enroll(ownership="byod")
    received = machine.report({**COLLECTED, "user.is_admin": False, "device.serial_hash": "5e" * 32})

    refused_facts = {one.fact for one in received.findings if one.code == "REPORT_FACT_REFUSED"}
    assert "device.serial_hash" in refused_facts
    assert machine.device.serial_hash == ""


def test_a_difference_to_what_is_not_known_here_asks_for_everything(office: Office, machine: Machine) -> None:
    received = machine.report({}, delta=True, confirmed=["disk.encrypted"])

    assert received.full
