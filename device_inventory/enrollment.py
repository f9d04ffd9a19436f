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

EnrollmentState = Literal[
    "identified", "consented", "certified", "reported", "waiting", "complete", "refused", "expired"
]
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


def advance(enrollment: Enrollment, event: EnrollmentEvent, *, now: int) -> Enrollment:
    """Return the enrollment after `event`; DeviceRecordError ENROLLMENT_STEP_REFUSED for what is not in the table."""
    state = TABLE.get((enrollment.state, event))
    if state is None:
        raise DeviceRecordError(
            "ENROLLMENT_STEP_REFUSED", f"an enrollment that is `{enrollment.state}` cannot `{event}`", field="state"
        )
    return replace(enrollment, state=state, changed_at=now)
