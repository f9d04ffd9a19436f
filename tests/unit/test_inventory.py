"""The life of a device: each operation does what it says or refuses, and what is over never comes back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from device_inventory.device import LIFECYCLE, DeviceRecordError
from device_inventory.device_json import read_device
from device_inventory.facts import CATALOGUE, DAY
from device_inventory.inventory import Device, live_keys, publish
from device_inventory.notice import RETENTION_DAYS
from device_inventory.operations import (
    MAX_LIVE_KEYS,
    RENEWAL_GRACE,
    activate,
    admit_key,
    approve,
    enrolled,
    forgotten,
    key_revoked,
    may_renew,
    offboard,
    quarantine,
    recover,
    release,
    renewed,
    report_lost,
    retire,
    revoke,
    superseded,
    transfer,
)
from tests.unit.inventory_support import NOW, device, invitation, key, reported, trusted

WHY: dict[str, Any] = {"now": NOW + 60, "reason": "because"}


def waiting(**changes: Any) -> Device:
    """A device that has reported and waits for its approval."""
    return reported(device(invited=invitation(approval=True, **changes)), at=NOW).device


def active(**changes: Any) -> Device:
    return activate(reported(device(invited=invitation(**changes)), at=NOW).device, now=NOW)


def refused(code: str, operation: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(DeviceRecordError) as error:
        operation(*arguments, **options)

    assert error.value.code == code


def test_an_invitation_and_a_key_make_a_device_that_is_good_for_nothing_yet() -> None:
    known = enrolled(invitation(), key(), device_id="d-7", now=NOW)

    assert (known.status, known.owner, known.assigned) == ("enrolled", "tanaka", ("tanaka",))
    assert publish(known, names=CATALOGUE, now=NOW).status == "enrolled"


def test_a_device_of_ones_own_is_registered_below_secret_whatever_the_invitation_says() -> None:
    assert device(invited=invitation(ownership="byod", ceiling=400)).ceiling == 200
    assert device(invited=invitation(ownership="corp", ceiling=400)).ceiling == 400


def test_a_shared_device_is_assigned_to_nobody() -> None:
    assert device(invited=invitation(ownership="shared", kind="shared")).assigned == ()


def test_a_device_is_active_only_after_its_first_report() -> None:
    refused("DEVICE_NOT_REPORTED", activate, device(), now=NOW)
    assert active().status == "active"


def test_a_device_that_waits_for_approval_is_not_active() -> None:
    refused("APPROVAL_PENDING", activate, waiting(), now=NOW)

    known = approve(waiting(), by="suzuki", now=NOW)

    assert (known.status, known.approved_by) == ("active", "suzuki")


def test_approval_before_the_first_report_does_not_put_it_into_service() -> None:
    known = approve(device(invited=invitation(approval=True)), by="suzuki", now=NOW)

    assert known.status == "enrolled"
    assert activate(reported(known, at=NOW + 60).device, now=NOW + 60).status == "active"


@pytest.mark.parametrize(("by", "also"), [("tanaka", ()), ("oidc:1", ("tanaka",)), ("", ()), ("", ("suzuki",))])
def test_nobody_approves_the_device_he_holds(by: str, also: tuple[str, ...]) -> None:
    refused("APPROVER_IS_HOLDER", approve, waiting(), by=by, also=also, now=NOW)


def test_whoever_answers_for_a_device_or_gave_it_away_does_not_approve_it() -> None:
    refused("APPROVER_IS_HOLDER", approve, replace(waiting(), sponsor="suzuki"), by="suzuki", now=NOW)
    given = transfer(waiting(), to="sato", by={"tanaka", "admin:t"}, **WHY)
    refused("APPROVER_IS_GIVER", approve, given, by="key", also=("tanaka",), now=NOW)


def test_what_waits_for_no_approval_is_not_approved() -> None:
    refused("APPROVAL_NOT_PENDING", approve, active(), by="suzuki", now=NOW)
    refused("APPROVAL_NOT_PENDING", approve, approve(waiting(), by="suzuki", now=NOW), by="sato", now=NOW)


def test_quarantine_is_no_way_around_approval() -> None:
    isolated = quarantine(waiting(), **WHY)

    refused("APPROVAL_PENDING", release, isolated, **WHY)
    approved = approve(isolated, by="suzuki", now=NOW + 60)
    assert approved.status == "quarantined"
    assert release(approved, **WHY).status == "active"


def test_what_was_out_of_service_proves_itself_anew() -> None:
    known = release(quarantine(activate(trusted(), now=NOW), **WHY), **WHY)

    assert publish(trusted(), names=["disk.encrypted"], now=NOW).facts["disk.encrypted"].method == "signed_agent"
    assert publish(known, names=["disk.encrypted"], now=NOW).facts["disk.encrypted"].method == "self_report"


def test_a_lost_device_is_denied_by_its_status_and_looked_at_when_it_is_found() -> None:
    lost = report_lost(active(), now=NOW + 60)
    found = recover(lost, **WHY)

    assert lost.status == "lost"
    assert found.status == "quarantined"
    assert live_keys(found, now=NOW + 60)


@pytest.mark.parametrize("end", [revoke, retire])
def test_the_end_of_a_device_is_the_end_of_its_keys(end: Any) -> None:
    known = end(active(), **WHY)

    assert all(each.revoked_at == NOW + 60 for each in known.keys)
    assert publish(known, names=(), now=NOW + 60).keys == ()


def test_a_key_that_was_revoked_keeps_the_time_of_its_revocation() -> None:
    known = key_revoked(renewed(active(), key(2), now=NOW), x5t=key(1).x5t, now=NOW + 1, reason="copied")

    ended = revoke(known, now=NOW + 60, reason="r")

    assert [each.revoked_at for each in ended.keys] == [NOW + 1, NOW + 60]


@pytest.mark.parametrize("status", ["revoked", "retired"])
def test_nothing_leads_out_of_the_end(status: str) -> None:
    known = revoke(active(), **WHY) if status == "revoked" else retire(active(), **WHY)

    refused("DEVICE_EVENT_REFUSED", activate, replace(known, approval_required=False), now=NOW)
    refused("DEVICE_EVENT_REFUSED", release, known, **WHY)
    refused("DEVICE_EVENT_REFUSED", recover, known, **WHY)
    refused("DEVICE_EVENT_REFUSED", quarantine, known, **WHY)
    refused("DEVICE_EVENT_REFUSED", report_lost, known, now=NOW)
    refused("APPROVAL_NOT_PENDING", approve, known, by="suzuki", now=NOW)
    refused("TRANSFER_REFUSED", transfer, known, to="sato", **WHY)
    refused("RENEWAL_REFUSED", may_renew, known, x5t=key().x5t, now=NOW)
    refused("RENEWAL_REFUSED", renewed, known, key(2), now=NOW)


def test_renewal_keeps_the_key_before_until_it_ends() -> None:
    known = renewed(active(), key(2, not_after=NOW + 2 * DAY), now=NOW)

    assert [each.x5t for each in publish(known, names=(), now=NOW).keys] == [key(1).x5t, key(2).x5t]
    assert [each.x5t for each in publish(known, names=(), now=NOW + DAY).keys] == [key(2).x5t]


def test_a_certificate_may_be_renewed_shortly_after_its_end_and_opens_nothing_then() -> None:
    known = active()

    assert may_renew(known, x5t=key().x5t, now=NOW + DAY + RENEWAL_GRACE - 1) == key()
    assert publish(known, names=(), now=NOW + DAY).keys == ()
    refused("RENEWAL_REFUSED", may_renew, known, x5t=key().x5t, now=NOW + DAY + RENEWAL_GRACE)
    refused("RENEWAL_REFUSED", may_renew, known, x5t=key(9).x5t, now=NOW)


@pytest.mark.parametrize(
    "operation", [lambda known: quarantine(known, **WHY), lambda known: report_lost(known, now=NOW)]
)
def test_only_a_device_in_good_standing_renews(operation: Any) -> None:
    known = operation(active())

    refused("RENEWAL_REFUSED", may_renew, known, x5t=key().x5t, now=NOW)
    refused("RENEWAL_REFUSED", renewed, known, key(2), now=NOW)


def test_a_revoked_key_is_not_certified_again_by_anybody() -> None:
    known = key_revoked(active(), x5t=key().x5t, now=NOW, reason="copied")

    refused("KEY_REVOKED", renewed, known, key(2, spki=key().spki), now=NOW)
    refused("KEY_REVOKED", admit_key, key().spki, known)
    refused("KEY_REVOKED", admit_key, key().spki, known, device_id=known.device_id)


def test_revoking_a_certificate_revokes_every_other_one_of_the_key() -> None:
    same = renewed(active(), key(2, spki=key().spki), now=NOW)

    known = key_revoked(same, x5t=key(2).x5t, now=NOW, reason="copied")

    assert live_keys(known, now=NOW) == ()
    refused("KEY_UNKNOWN", key_revoked, known, x5t="x9", now=NOW, reason="r")


def test_a_key_belongs_to_one_device() -> None:
    refused("KEY_IN_USE", admit_key, key().spki, active(), device_id="d-2")
    admit_key(key().spki, active(), device_id="d-1")
    admit_key(key().spki, None, device_id="d-2")


def test_a_key_that_ever_lay_in_a_file_is_never_labelled_better() -> None:
    known = renewed(activate(trusted(key(protection="file")), now=NOW), key(2, spki=key().spki), now=NOW)

    assert known.keys[-1].protection == "file"


def test_every_certificate_of_a_copyable_key_ends_when_the_device_changes_hands() -> None:
    known = renewed(active(), key(2, spki=key().spki, protection="file"), now=NOW)

    assert live_keys(transfer(known, to="sato", **WHY), now=NOW) == ()


def test_renewing_without_end_stops_at_four_and_the_record_stays_readable() -> None:
    known = active()
    for number in range(2, MAX_LIVE_KEYS + 1):
        known = renewed(known, key(number), now=NOW)

    refused("RENEWAL_TOO_OFTEN", renewed, known, key(9), now=NOW)
    assert len(renewed(known, key(9, not_after=NOW + 9 * DAY), now=NOW + DAY).keys) == MAX_LIVE_KEYS + 1


def test_keys_that_ended_are_forgotten_in_time_and_revoked_ones_never() -> None:
    known = key_revoked(active(), x5t=key(1).x5t, now=NOW, reason="copied")
    known = renewed(known, key(2), now=NOW)

    later = renewed(known, key(3, not_after=NOW + 90 * DAY), now=NOW + 60 * DAY)

    assert [each.spki for each in later.keys] == ["s1", "s3"]


def test_an_enrollment_in_place_of_another_ends_the_one_before() -> None:
    known = superseded(active(), by="d-2", now=NOW)

    assert known.status == "revoked"
    assert "d-2" in known.reason
    assert superseded(known, by="d-3", now=NOW) is known


def test_a_device_that_changes_hands_is_looked_at_and_approved_anew() -> None:
    known = transfer(approve(waiting(), by="suzuki", now=NOW), to="suzuki", **WHY)

    assert (known.status, known.owner, known.assigned) == ("quarantined", "suzuki", ("suzuki",))
    refused("APPROVER_IS_HOLDER", approve, known, by="suzuki", now=NOW)
    refused("APPROVAL_PENDING", release, known, **WHY)
    assert release(approve(known, by="tanaka", now=NOW), **WHY).status == "active"


@pytest.mark.parametrize("protection", ["file", "os_keystore"])
def test_a_key_its_former_holder_may_have_copied_does_not_change_hands(protection: str) -> None:
    known = activate(reported(device(key(protection=protection)), at=NOW).device, now=NOW)

    given = transfer(known, to="sato", **WHY)

    assert live_keys(given, now=NOW) == ()
    refused("DEVICE_WITHOUT_KEY", release, given, **WHY)


@pytest.mark.parametrize("to", ["", "tanaka"])
def test_a_device_is_given_to_somebody_else(to: str) -> None:
    refused("TRANSFER_REFUSED", transfer, active(), to=to, **WHY)


def test_what_is_lost_or_private_is_not_given_away() -> None:
    refused("TRANSFER_REFUSED", transfer, report_lost(active(), now=NOW), to="sato", **WHY)
    refused("TRANSFER_REFUSED", transfer, active(ownership="byod"), to="sato", **WHY)


@pytest.mark.parametrize("kind", ["person", "robot", "contractor"])
def test_who_leaves_leaves_no_device_in_service(kind: str) -> None:
    left = offboard(active(kind=kind), subject="tanaka", **WHY)

    assert (left.status, left.owner, left.assigned) == ("quarantined", "", ())


def test_a_private_device_goes_with_its_owner() -> None:
    left = offboard(active(ownership="byod"), subject="tanaka", **WHY)

    assert left.status == "retired"
    assert live_keys(left, now=NOW) == ()


def test_a_contractor_without_a_sponsor_is_out_of_service() -> None:
    left = offboard(active(kind="contractor", sponsor="suzuki"), subject="suzuki", **WHY)

    assert (left.status, left.sponsor, left.owner) == ("quarantined", "", "tanaka")


def test_a_shared_device_stays_in_service_when_one_of_many_leaves() -> None:
    known = replace(active(kind="shared", ownership="shared"), assigned=("tanaka", "sato"))

    left = offboard(known, subject="sato", **WHY)

    assert (left.status, left.assigned) == ("active", ("tanaka",))


def test_off_boarding_leaves_other_peoples_devices_as_they_are() -> None:
    known = active()

    assert offboard(known, subject="sato", **WHY) is known
    assert offboard(replace(known, sponsor=""), subject="", **WHY).status == "active"


def test_a_lost_device_of_somebody_who_leaves_stays_lost() -> None:
    assert offboard(report_lost(active(), now=NOW), subject="tanaka", **WHY).status == "lost"


def test_no_key_outlives_the_end_of_a_contract() -> None:
    known = active(kind="contractor", device_ends_at=NOW + 3600)

    assert [each.not_after for each in publish(known, names=(), now=NOW).keys] == [NOW + 3600]
    assert publish(known, names=(), now=NOW + 3600).keys == ()
    refused("RENEWAL_REFUSED", may_renew, known, x5t=key().x5t, now=NOW + 3600)


def test_what_was_collected_is_forgotten_as_the_notice_says() -> None:
    known = retire(trusted(), now=NOW, reason="r")
    over = NOW + RETENTION_DAYS * DAY

    assert forgotten(known, now=over - 1) is known
    assert forgotten(active(), now=over).sources
    gone = forgotten(known, now=over)
    assert (gone.sources, gone.history, gone.status) == ({}, (), "retired")
    assert [each.spki for each in gone.keys] == ["s1"]
    assert forgotten(gone, now=over) is gone


def test_what_is_published_is_a_record_sidecars_can_read() -> None:
    import msgspec

    record = publish(trusted(), names=CATALOGUE, now=NOW)
    raw = msgspec.json.encode(
        {name: getattr(record, name) for name in record.__struct_fields__ if name != "facts"}
        | {"facts": dict(record.facts)}
    )

    assert read_device(raw).facts == record.facts


class Life(RuleBasedStateMachine):
    """Any sequence of operations and reports, by anybody, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.device = device(invited=invitation(approval=True))
        self.revoked: set[str] = set()
        self.ended = False
        self.issued = 1

    def attempt(self, operation: Any, *arguments: Any, **options: Any) -> None:
        before = self.device
        try:
            after = operation(before, *arguments, now=self.now, **options)
        except DeviceRecordError:
            return
        if after is not before:
            assert after.version == before.version + 1
            assert before.status == after.status or (before.status, after.status) in {
                (status, reached) for (status, _), reached in LIFECYCLE.items()
            }
            if before.status != after.status and after.status == "active":
                assert after.approved_by
        self.device = after

    @rule(by=st.sampled_from(["tanaka", "suzuki", "sato", ""]))
    def approve(self, by: str) -> None:
        holder = self.device.owner
        self.attempt(approve, by=by)
        if self.device.approved_by:
            assert self.device.approved_by != holder or not holder

    @rule(operation=st.sampled_from([quarantine, release, report_lost, recover]))
    def operate(self, operation: Any) -> None:
        self.attempt(operation, reason="r")

    @rule()
    def activate(self) -> None:
        self.attempt(activate)

    @precondition(lambda self: self.issued > 3)
    @rule(operation=st.sampled_from([revoke, retire]))
    def end(self, operation: Any) -> None:
        self.attempt(operation, reason="r")

    @rule(to=st.sampled_from(["tanaka", "suzuki", "sato"]))
    def transfer(self, to: str) -> None:
        self.attempt(transfer, to=to, reason="r")

    @rule(subject=st.sampled_from(["tanaka", "suzuki", "sato"]))
    def offboard(self, subject: str) -> None:
        self.attempt(offboard, subject=subject, reason="r")

    @rule(again=st.booleans(), protection=st.sampled_from(["file", "attested_hw"]))
    def renew(self, again: bool, protection: str) -> None:
        self.issued += 1
        spki = self.device.keys[0].spki if again else f"s{self.issued}"
        held = key(self.issued, spki=spki, protection=protection, not_after=self.now + DAY)
        self.attempt(renewed, held)

    @rule(which=st.integers(0, 3))
    def revoke_key(self, which: int) -> None:
        self.attempt(key_revoked, x5t=self.device.keys[which % len(self.device.keys)].x5t, reason="r")

    @rule(good=st.booleans(), boot=st.sampled_from(["", "b9"]), after=st.integers(60, 2 * DAY))
    def report(self, good: bool, boot: str, after: int) -> None:
        self.now += after
        values = {"disk.encrypted": good}
        options = {"boot_id": boot} if boot else {}
        before = self.device
        taken = reported(before, values, at=self.now, signed=values, **options)
        assert taken.device.version == before.version + taken.changed
        assert taken.device.status in (before.status, "quarantined")
        self.device = taken.device

    @invariant()
    def a_revoked_key_is_never_published_again(self) -> None:
        self.revoked |= {each.spki for each in self.device.keys if each.revoked_at is not None}
        shown = {each.x5t for each in publish(self.device, names=CATALOGUE, now=self.now).keys}
        held = {each.x5t: each for each in self.device.keys}

        assert not {held[x5t].spki for x5t in shown} & self.revoked
        assert len(shown) <= MAX_LIVE_KEYS
        assert self.revoked <= {each.spki for each in self.device.keys if each.revoked_at is not None}

    @invariant()
    def the_end_is_the_end(self) -> None:
        self.ended = self.ended or self.device.status in ("revoked", "retired")
        if self.ended:
            assert self.device.status in ("revoked", "retired")
            assert publish(self.device, names=(), now=self.now).keys == ()

    @invariant()
    def nothing_is_in_service_without_approval_and_a_holder_who_is_not_the_approver(self) -> None:
        if self.device.status == "active":
            assert self.device.approved_by
            assert self.device.approved_by != self.device.owner
            assert self.device.report_received_at


TestLife = Life.TestCase
