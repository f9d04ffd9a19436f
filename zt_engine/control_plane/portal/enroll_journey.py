"""Where a person's enrollment stands, for the pages that lead through it: which step is next, and what is left to do.

Everything is read; nothing here takes a step. The agent takes them, with the secret that only it was told, so whoever
looks over a shoulder at these pages can do nothing with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from device_inventory.device import DeviceStatus
from device_inventory.enrollment import Enrollment, EnrollmentState, expired
from device_inventory.inventory import Device
from device_inventory.invitation import Invitation
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrollment import EnrollmentRoom
from zt_engine.control_plane.remedies import Unmet
from zt_engine.core.classification import Level
from zt_engine.core.errors import InputError

Stage = Literal[
    "command", "agree", "key", "report", "remedy", "approval", "welcome",
    "held", "refused", "expired", "over", "withdrawn",
]  # fmt: skip
"""The screen a person is at. `held`: the device itself was stopped. `over`: the invitation, before anything began."""

_BY_STATE: Final[Mapping[EnrollmentState, Stage]] = {
    "identified": "agree",
    "consented": "key",
    "certified": "report",
    "reported": "report",
    "waiting": "approval",
    "refused": "refused",
}
_WORKING: Final[frozenset[DeviceStatus]] = frozenset({"invited", "enrolled", "active"})
_SAID: Final = frozenset({"APPROVAL_PENDING", "READINESS_UNKNOWN"})
"""Said by the screen itself."""


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """One enrollment as its person sees it."""

    invitation: Invitation
    stage: Stage
    enrollment: Enrollment | None = None
    device: Device | None = None
    unmet: tuple[Unmet, ...] = ()
    """What is missing, for the lowest label it keeps the device from first."""
    good_for: str | None = None
    """The highest label it may be used for now, empty for none; None where nobody knows."""

    @property
    def next_label(self) -> str:
        """The lowest label something is missing for; empty where it is missing for no label in particular."""
        return next((one.label for one in self.unmet if one.label), "")

    @property
    def left(self) -> tuple[Unmet, ...]:
        """What is missing for the next label: the list that is worked through now."""
        label = self.next_label
        return tuple(one for one in self.unmet if one.label == label)

    @property
    def reported_at(self) -> int:
        """When the device was last heard; 0 for never."""
        return 0 if self.device is None else self.device.report_received_at


class Journeys:
    """The enrollments of the people who look at them."""

    def __init__(self, plane: ControlPlane, ground: EnrollmentRoom) -> None:
        self._plane = plane
        self._ground = ground

    def wanted(self, *, acr: str, amr: tuple[str, ...]) -> frozenset[str]:
        """Return what a sign-in has to show one of and shows none of; nothing when it will do.

        The agent's own sign-in is what counts. Whoever signed in too weakly here would do so there, a command later.
        """
        demanded = self._ground.rules.sign_in
        return demanded if demanded.isdisjoint((acr, *amr)) else frozenset()

    def invited(self, code: str, *, issuer: str, subject: str, now: float) -> Invitation:
        """Return the invitation of a code; InputError as `Enrolling.look`, ENROLL_CLOSED."""
        return self._ground.enrolling.look(code, issuer=issuer, subject=subject, now=now)

    def of(self, invitation_id: str, *, issuer: str, subject: str, now: int) -> Journey:
        """Return a journey of this very person; INVITE_UNKNOWN for anybody else's as for none at all."""
        with self._plane.store.reading(self._plane.settings.tenant) as tx:
            invitation = tx.invitations.get(invitation_id)
            if invitation is None or not subject or (invitation.issuer, invitation.subject) != (issuer, subject):
                raise InputError("INVITE_UNKNOWN", "no invitation of this person has this id")
            enrollment = tx.enrollments.get(invitation.enrollment) if invitation.enrollment else None
            device = tx.devices.get(enrollment.device_id) if enrollment is not None and enrollment.device_id else None
        unmet: tuple[Unmet, ...] = ()
        good_for = None
        if device is not None and device.report_received_at:
            found = self._ground.reporting.unmet(device, now=now)
            unmet = tuple(one for one in found if one.code not in _SAID)
            good_for = self._ground.reporting.good_for(device, now=now)
        return Journey(
            invitation=invitation,
            stage=stage_of(invitation, enrollment, device, closed=good_for == "" and bool(unmet), now=now),
            enrollment=enrollment,
            device=device,
            unmet=unmet,
            good_for=good_for,
        )

    def levels(self) -> Mapping[str, Level]:
        """Return the labels there are."""
        return self._ground.levels()


def stage_of(
    invitation: Invitation, enrollment: Enrollment | None, device: Device | None, *, closed: bool, now: int
) -> Stage:
    """Return where a person stands. `closed`: no label is open to the device, and something can be done about it."""
    if enrollment is None:
        if invitation.state == "withdrawn":
            return "withdrawn"
        return "over" if now >= invitation.not_after else "command"
    if expired(enrollment, now=now):
        return "expired"
    if device is None:
        if invitation.state == "withdrawn":
            return "withdrawn"
        return _BY_STATE.get(enrollment.state, "refused")
    if device.status not in _WORKING:
        return "held"
    stage = _BY_STATE.get(enrollment.state)
    if stage is not None:
        return stage
    return "remedy" if closed else "welcome"
