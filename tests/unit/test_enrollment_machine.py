"""Invitation and enrollment: once, in order, by the invited person, and resumable at every step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from device_inventory.device import DeviceRecordError
from device_inventory.enrollment import (
    STEPS,
    TABLE,
    Enrollment,
    advance,
    after_approval,
    after_report,
    broken_off,
    consented,
)
from device_inventory.inventory import Device
from device_inventory.invitation import LIFETIME, admit, begun, used, withdrawn
from device_inventory.notice import NOTICE_VERSION
from device_inventory.operations import approve, quarantine
from tests.unit.inventory_support import NOW, device, invitation, key, reported

END = NOW + 3600


def enrollment(state: Any = "identified", **changes: Any) -> Enrollment:
    members: dict[str, Any] = {
        "tenant": "mofa",
        "id": "e-1",
        "invitation": "inv-1",
        "issuer": "https://idp.example",
        "subject": "tanaka-sub",
        "state": state,
        "secret_digest": "0" * 64,
        "started_at": NOW,
        "changed_at": NOW,
        "not_after": END,
    }
    return Enrollment(**(members | changes))


def refused(code: str, operation: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(DeviceRecordError) as error:
        operation(*arguments, **options)

    assert error.value.code == code


TANAKA: dict[str, Any] = {"issuer": "https://idp.example", "subject": "tanaka-sub"}


@pytest.mark.parametrize(
    ("changes", "who", "code"),
    [
        ({}, {"subject": "sato-sub"}, "INVITE_FOREIGN"),
        ({}, {"subject": ""}, "INVITE_FOREIGN"),
        ({}, {"issuer": "https://evil.example"}, "INVITE_FOREIGN"),
        ({"subject": ""}, {"subject": ""}, "INVITE_FOREIGN"),
        ({"state": "used"}, {}, "INVITE_USED"),
        ({"state": "withdrawn"}, {}, "INVITE_WITHDRAWN"),
        ({"not_after": NOW}, {}, "INVITE_EXPIRED"),
        ({"state": "used"}, {"subject": "sato-sub"}, "INVITE_FOREIGN"),
    ],
)
def test_who_may_not_enroll_is_told_why(changes: dict[str, Any], who: dict[str, Any], code: str) -> None:
    refused(code, admit, invitation(**changes), **(TANAKA | who), now=NOW)


def test_the_invited_person_may_enroll_until_the_end_and_resume_after_it() -> None:
    open_ = invitation(not_after=NOW + LIFETIME)

    admit(open_, **TANAKA, now=NOW + LIFETIME - 1)
    refused("INVITE_EXPIRED", admit, open_, **TANAKA, now=NOW + LIFETIME)
    admit(begun(open_, enrollment="e-1"), **TANAKA, now=NOW + LIFETIME)


def test_an_invitation_is_for_one_enrollment_and_one_key() -> None:
    started = begun(invitation(), enrollment="e-1")

    assert begun(started, enrollment="e-1") == started
    refused("INVITE_USED", begun, started, enrollment="e-2")
    refused("INVITE_USED", used, started, enrollment="e-2")
    over = used(started, enrollment="e-1")
    refused("INVITE_USED", used, over, enrollment="e-1")
    refused("INVITE_USED", begun, over, enrollment="e-1")
    refused("INVITE_USED", withdrawn, over)
    assert withdrawn(started).state == "withdrawn"


def test_every_state_says_what_comes_next() -> None:
    states = {state for state, _ in TABLE} | set(TABLE.values())

    assert states == set(STEPS)
    assert {state for state in states if STEPS[state] == "none"} == states - {state for state, _ in TABLE}


def test_steps_come_in_order() -> None:
    refused("ENROLLMENT_STEP_REFUSED", advance, enrollment(), "certify", now=NOW)
    refused("ENROLLMENT_STEP_REFUSED", advance, enrollment("certified"), "complete", now=NOW)
    refused("ENROLLMENT_STEP_REFUSED", advance, enrollment("complete"), "report", now=NOW)
    refused("ENROLLMENT_STEP_REFUSED", advance, enrollment("refused"), "consent", now=NOW)


@pytest.mark.parametrize(
    ("state", "event"), [("identified", "consent"), ("consented", "certify"), ("certified", "report")]
)
def test_a_step_that_comes_too_late_is_refused(state: Any, event: Any) -> None:
    advance(enrollment(state), event, now=END - 1)
    refused("ENROLLMENT_EXPIRED", advance, enrollment(state), event, now=END)


def test_waiting_for_an_approver_is_not_the_invitees_fault() -> None:
    assert advance(enrollment("waiting"), "approve", now=END + 10**6).state == "complete"


def test_consent_is_to_the_notice_as_it_is() -> None:
    agreed = consented(enrollment(), notice_version=NOTICE_VERSION, current=NOTICE_VERSION, now=NOW)

    assert (agreed.state, agreed.notice_version) == ("consented", NOTICE_VERSION)
    refused("NOTICE_CHANGED", consented, enrollment(), notice_version="old", current=NOTICE_VERSION, now=NOW)


def test_the_first_report_completes_an_enrollment_that_nobody_has_to_approve() -> None:
    known = reported(device(), at=NOW).device

    done, known = after_report(enrollment("certified"), known, now=NOW)

    assert (done.state, known.status) == ("complete", "active")


def test_the_first_report_waits_for_approval_where_it_is_demanded() -> None:
    known = reported(device(invited=invitation(approval=True)), at=NOW).device

    asked, known = after_report(enrollment("certified"), known, now=NOW)
    again, known = after_report(asked, reported(known, at=NOW + 60).device, now=NOW + 60)
    done = after_approval(again, now=NOW + 60)

    assert (asked.state, again.state, known.status) == ("waiting", "waiting", "enrolled")
    assert done.state == "complete"


def test_approval_before_the_first_report_completes_with_it() -> None:
    known = approve(device(invited=invitation(approval=True)), by="suzuki", now=NOW)
    held = after_approval(enrollment("certified"), now=NOW)

    done, known = after_report(held, reported(known, at=NOW).device, now=NOW)

    assert (held.state, done.state, known.status) == ("certified", "complete", "active")


def test_a_quarantined_device_does_not_complete_its_enrollment() -> None:
    known = quarantine(reported(device(), at=NOW).device, now=NOW, reason="r")

    held, known = after_report(enrollment("certified"), known, now=NOW)

    assert (held.state, known.status) == ("reported", "quarantined")


@pytest.mark.parametrize("event", ["refuse", "expire"])
def test_what_comes_to_nothing_leaves_no_key_behind(event: Any) -> None:
    ended, known = broken_off(enrollment("waiting"), reported(device(), at=NOW).device, event, now=NOW)

    assert ended.state in ("refused", "expired")
    assert known is not None
    assert known.status == "revoked"
    assert broken_off(enrollment(), None, event, now=NOW)[1] is None


class Journey(RuleBasedStateMachine):
    """Everybody tries every step at any time; the invitee, a stranger, the approver, and the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.invitation = invitation(approval=True)
        self.enrollment: Enrollment | None = None
        self.device: Device | None = None
        self.reached: list[str] = []
        self.certified = 0

    def attempt(self, step: Any) -> None:
        try:
            step()
        except DeviceRecordError:
            return
        if self.enrollment is not None:
            self.reached.append(self.enrollment.state)

    @rule(who=st.sampled_from(["tanaka-sub", "sato-sub"]), number=st.sampled_from(["e-1", "e-2"]))
    def sign_in(self, who: str, number: str) -> None:
        def step() -> None:
            admit(self.invitation, issuer="https://idp.example", subject=who, now=self.now)
            assert who == "tanaka-sub"
            resumed = self.enrollment is not None and self.enrollment.id == number
            self.invitation = begun(self.invitation, enrollment=number)
            if not resumed:
                assert self.enrollment is None
                self.enrollment = enrollment(id=number, subject=who, not_after=self.now + 3600)

        self.attempt(step)

    @rule(version=st.sampled_from([NOTICE_VERSION, "old"]))
    def consent(self, version: str) -> None:
        def step() -> None:
            if self.enrollment is not None:
                self.enrollment = consented(
                    self.enrollment, notice_version=version, current=NOTICE_VERSION, now=self.now
                )

        self.attempt(step)

    @rule()
    def certify(self) -> None:
        def step() -> None:
            if self.enrollment is not None:
                certified = advance(self.enrollment, "certify", now=self.now)
                self.invitation = used(self.invitation, enrollment=certified.id)
                self.enrollment = certified
                self.device = device(key(), invited=self.invitation)
                self.certified += 1

        self.attempt(step)

    @rule(after=st.integers(60, 1800))
    def report(self, after: int) -> None:
        self.now += after

        def step() -> None:
            if self.enrollment is not None and self.device is not None:
                taken = reported(self.device, {"disk.encrypted": True}, at=self.now)
                if taken.refusal is None:
                    self.enrollment, self.device = after_report(self.enrollment, taken.device, now=self.now)

        self.attempt(step)

    @rule(by=st.sampled_from(["tanaka", "suzuki"]))
    def approve(self, by: str) -> None:
        def step() -> None:
            if self.enrollment is not None and self.device is not None:
                approved = approve(self.device, by=by, now=self.now)
                self.enrollment, self.device = after_approval(self.enrollment, now=self.now), approved
                assert by == "suzuki"

        self.attempt(step)

    @rule(event=st.sampled_from(["refuse", "expire"]), chance=st.integers(0, 4))
    def break_off(self, event: Any, chance: int) -> None:
        def step() -> None:
            if self.enrollment is not None and not chance:
                self.enrollment, self.device = broken_off(self.enrollment, self.device, event, now=self.now)

        self.attempt(step)

    @rule()
    def withdraw_is_refused_once_used(self) -> None:
        if self.invitation.state == "used":
            refused("INVITE_USED", withdrawn, self.invitation)

    @invariant()
    def one_invitation_makes_at_most_one_device(self) -> None:
        assert self.certified <= 1
        assert (self.invitation.state == "used") == (self.certified == 1)

    @invariant()
    def only_a_complete_enrollment_has_a_device_in_service(self) -> None:
        if self.device is not None and self.enrollment is not None:
            assert (self.device.status == "active") == (self.enrollment.state == "complete")
            if self.device.status == "active":
                assert self.device.approved_by == "suzuki"
                assert "consented" in self.reached

    @invariant()
    def what_is_over_stays_over(self) -> None:
        for over in ("refused", "expired"):
            if over in self.reached:
                assert self.enrollment is not None
                assert self.enrollment.state == over
                assert self.device is None or self.device.status == "revoked"


TestJourney = Journey.TestCase
