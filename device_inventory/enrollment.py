"""An enrollment from the invitation to the first allowed request, as a table: (state, event) -> state.

It can be broken off after any step and resumed: the state says what comes next. What is not in the table is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from device_inventory.device import DeviceRecordError
from device_inventory.inventory import Device
from device_inventory.operations import activate, revoke

EnrollmentState = Literal[
    "identified", "consented", "certified", "reported", "waiting", "complete", "refused", "expired"
]
EnrollmentGroup = Literal["open", "finished", EnrollmentState]
"""Those in a state, or all that are under way, or all that are over."""
EnrollmentEvent = Literal["consent", "certify", "report", "ask_approval", "approve", "complete", "refuse", "expire"]
EnrollmentStep = Literal["consent", "key", "report", "remedy", "wait", "none"]

STEPS: Final[Mapping[EnrollmentState, EnrollmentStep]] = MappingProxyType(
    {
        "identified": "consent",
        "consented": "key",
        "certified": "report",
        "reported": "remedy",
        "waiting": "wait",
        "complete": "none",
        "refused": "none",
        "expired": "none",
    }
)
"""What the person's agent does next in each state."""

TABLE: Final[Mapping[tuple[EnrollmentState, EnrollmentEvent], EnrollmentState]] = MappingProxyType(
    {
        ("identified", "consent"): "consented",
        ("consented", "certify"): "certified",
        ("certified", "report"): "reported",
        ("reported", "report"): "reported",
        ("reported", "ask_approval"): "waiting",
        ("waiting", "report"): "waiting",
        ("waiting", "approve"): "complete",
        ("reported", "complete"): "complete",
        ("identified", "refuse"): "refused",
        ("consented", "refuse"): "refused",
        ("certified", "refuse"): "refused",
        ("reported", "refuse"): "refused",
        ("waiting", "refuse"): "refused",
        ("identified", "expire"): "expired",
        ("consented", "expire"): "expired",
        ("certified", "expire"): "expired",
        ("reported", "expire"): "expired",
        ("waiting", "expire"): "expired",
    }
)

STATES: Final[tuple[EnrollmentState, ...]] = tuple(STEPS)
"""Every state, in the order of the way."""
UNDER_WAY: Final[tuple[EnrollmentState, ...]] = tuple(state for state, step in STEPS.items() if step != "none")

# Once a device has reported there is something to wait for, and waiting for an approver is not the invitee's fault.
_TIMED: Final[frozenset[EnrollmentState]] = frozenset({"identified", "consented", "certified"})


class Enrollment(Struct, frozen=True, kw_only=True):
    """One enrollment under way; `secret_digest` is what its agent proves itself with between the steps."""

    tenant: str
    id: str
    invitation: str
    issuer: str
    subject: str
    state: EnrollmentState
    secret_digest: str
    """Hex SHA-256 of the secret."""
    acr: str = ""
    auth_time: int | None = None
    """How, and when, the person signed in."""
    notice_version: str = ""
    """The notice that was agreed to."""
    device_id: str = ""
    started_at: int
    changed_at: int
    not_after: int


def states_of(group: EnrollmentGroup) -> tuple[EnrollmentState, ...]:
    """Return the states of a group."""
    if group == "open":
        return UNDER_WAY
    return tuple(state for state in STATES if state not in UNDER_WAY) if group == "finished" else (group,)


def advance(enrollment: Enrollment, event: EnrollmentEvent, *, now: int) -> Enrollment:
    """Return the enrollment after `event`.

    DeviceRecordError ENROLLMENT_STEP_REFUSED for what is not in the table, ENROLLMENT_EXPIRED for a step that comes too
    late.
    """
    state = TABLE.get((enrollment.state, event))
    if state is None:
        raise DeviceRecordError(
            "ENROLLMENT_STEP_REFUSED", f"an enrollment that is `{enrollment.state}` cannot `{event}`", field="state"
        )
    if event not in ("refuse", "expire") and expired(enrollment, now=now):
        raise DeviceRecordError("ENROLLMENT_EXPIRED", "the enrollment took too long; ask for a new one", field="state")
    return replace(enrollment, state=state, changed_at=now)


def expired(enrollment: Enrollment, *, now: int) -> bool:
    """Whether the person took too long for the steps that are his own."""
    return enrollment.state == "expired" or (enrollment.state in _TIMED and now >= enrollment.not_after)


def consented(enrollment: Enrollment, *, notice_version: str, current: str, now: int) -> Enrollment:
    """Return the enrollment after its person agreed to the notice; NOTICE_CHANGED when it was another one."""
    if notice_version != current:
        raise DeviceRecordError(
            "NOTICE_CHANGED", "the notice is another one now; read it first", field="notice_version"
        )
    return replace(advance(enrollment, "consent", now=now), notice_version=notice_version)


def after_report(enrollment: Enrollment, device: Device, *, now: int) -> tuple[Enrollment, Device]:
    """Return both after a report was taken in: the device is active now, or waits for its approver.

    A quarantined device stays where it is, and so does its enrollment.
    """
    if enrollment.state == "complete":
        return enrollment, device
    enrollment = advance(enrollment, "report", now=now)
    if device.status != "enrolled":
        return enrollment, device
    if device.approval_required and not device.approved_by:
        return (enrollment if enrollment.state == "waiting" else advance(enrollment, "ask_approval", now=now)), device
    completion: EnrollmentEvent = "approve" if enrollment.state == "waiting" else "complete"
    return advance(enrollment, completion, now=now), activate(device, now=now)


def after_approval(enrollment: Enrollment, *, now: int) -> Enrollment:
    """Return the enrollment of a device that was approved; before its first report there is nothing to do yet."""
    return advance(enrollment, "approve", now=now) if enrollment.state == "waiting" else enrollment


def broken_off(
    enrollment: Enrollment, device: Device | None, event: Literal["refuse", "expire"], *, now: int
) -> tuple[Enrollment, Device | None]:
    """Return both after an enrollment came to nothing: a key that was certified on the way is revoked with it."""
    enrollment = advance(enrollment, event, now=now)
    if device is not None and device.status not in ("revoked", "retired"):
        device = revoke(device, now=now, reason=f"its enrollment was {enrollment.state}")
    return enrollment, device
