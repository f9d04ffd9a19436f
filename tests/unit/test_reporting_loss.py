"""A loss is reported by whoever holds the device, or by the device itself."""

from __future__ import annotations

from msgspec.structs import replace

from tests.enrollment_support import NOW, Machine, Office
from tests.unit.reporting_support import FORGED, refused
from tests.unit.reporting_support import machine as machine
from tests.unit.reporting_support import office as office


def test_an_owner_reports_a_loss_from_any_other_device(office: Office, machine: Machine) -> None:
    machine.report()
    token = office.people.sign_in("tanaka")

    assert [one.device_id for one in office.losing.of_owner(token, now=NOW)] == [machine.device_id]
    assert office.losing.by_owner(token, machine.device_id, now=NOW) == "lost"
    assert machine.device.status == "lost"
    assert refused(machine.report) == "REPORT_STATUS"
    assert office.actions()[-1] == "device.lost"
    assert office.losing.of_owner(token, now=NOW) == ()


def test_saying_it_twice_is_saying_it_once(office: Office, machine: Machine) -> None:
    token = office.people.sign_in("tanaka")
    office.losing.by_owner(token, machine.device_id, now=NOW)

    assert office.losing.by_owner(token, machine.device_id, now=NOW) == "lost"
    assert office.actions().count("device.lost") == 1


def test_nobody_loses_somebody_elses_device_or_learns_that_it_is_there(office: Office, machine: Machine) -> None:
    token = office.people.sign_in("sato")

    assert refused(office.losing.by_owner, token, machine.device_id, now=NOW) == "LOST_UNKNOWN"
    assert refused(office.losing.by_owner, token, "no such device", now=NOW) == "LOST_UNKNOWN"
    assert refused(office.losing.by_owner, FORGED, machine.device_id, now=NOW) == "TOKEN_SIGNATURE"
    assert office.losing.of_owner(token, now=NOW) == ()
    assert machine.device.status == "enrolled"


def test_an_owner_goes_by_the_name_of_the_invitation_as_well(office: Office) -> None:
    machine = office.enroll(assigned="田中 太郎")

    assert office.losing.by_owner(office.people.sign_in("tanaka"), machine.device_id, now=NOW) == "lost"


def test_who_gave_a_device_away_no_longer_holds_it(office: Office, machine: Machine) -> None:
    office.change_device(replace(machine.device, owner="sato", assigned=("sato",), version=2))

    assert (
        refused(office.losing.by_owner, office.people.sign_in("tanaka"), machine.device_id, now=NOW) == "LOST_UNKNOWN"
    )
    assert office.losing.by_owner(office.people.sign_in("sato"), machine.device_id, now=NOW) == "lost"


def test_a_device_reports_itself_lost_and_cannot_take_it_back(office: Office, machine: Machine) -> None:
    machine.report()

    assert office.losing.by_itself(machine.device_id, now=NOW) == "lost"
    assert refused(machine.report) == "REPORT_STATUS"
    assert refused(machine.renew) == "RENEWAL_REFUSED"
