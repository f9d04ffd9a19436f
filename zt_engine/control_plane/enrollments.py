"""Enrollments as administrators look for them: which ones are meant, and what is told of each."""

from __future__ import annotations

from typing import Any

from device_inventory.enrollment import STEPS, UNDER_WAY, Enrollment, EnrollmentGroup, states_of
from zt_engine.control_plane.holders import person_named
from zt_engine.core.issuer import is_foreign_name, subject_name
from zt_engine.ports.inventory import EnrollmentFilter


def wanted(
    *, group: EnrollmentGroup | None = None, person: str = "", device_id: str = "", text: str = "", home: str
) -> EnrollmentFilter:
    """Return what is looked for. `person` is the name records know somebody by; without a home issuer any issuer's.

    So is a text that can be nothing but the name of another issuer's person, as the lists of enrollments show it.
    """
    if not person and is_foreign_name(text):
        person, text = text, ""
    issuer, subject = person_named(person, home=home) if person else (None, None)
    return EnrollmentFilter(
        states=None if group is None else states_of(group),
        issuer=issuer or None,
        subject=subject,
        device_id=device_id or None,
        text=text,
    )


def name_of(enrollment: Enrollment, *, home: str) -> str:
    """Return the name its person goes by in records of devices."""
    return subject_name(enrollment.issuer, enrollment.subject, home=home or enrollment.issuer)


def listed(enrollment: Enrollment, *, home: str) -> dict[str, Any]:
    """Return an enrollment as administrators see it: without anything of its secret."""
    return {
        "id": enrollment.id,
        "state": enrollment.state,
        "open": enrollment.state in UNDER_WAY,
        "next": STEPS[enrollment.state],
        "person": name_of(enrollment, home=home),
        "issuer": enrollment.issuer,
        "subject": enrollment.subject,
        "invitation": enrollment.invitation,
        "device_id": enrollment.device_id or None,
        "started_at": enrollment.started_at,
        "changed_at": enrollment.changed_at,
        "not_after": enrollment.not_after,
    }
