"""The pages of an enrollment for tests: an office that invites people, and browsers that carry an invitation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from device_inventory.device import DeviceRecord
from device_inventory.enrollment import Enrollment
from tests.control_support import TENANT, a_device
from tests.fakes.persons import FakePersons
from tests.portal_support import ISSUER, Browser, PortalOffice
from zt_engine.control_plane.app import RATES
from zt_engine.control_plane.context import Enrolling
from zt_engine.control_plane.enrollment import PARTS, EnrollmentParts, room
from zt_engine.control_plane.enrollment_rules import EnrollmentRules
from zt_engine.control_plane.limits import Rate
from zt_engine.control_plane.remedies import Unmet
from zt_engine.core.classification import Level

PIN = "ab" * 32
LEVELS = {
    "C1": Level(code="C1", rank=100, ja="平", en="Level 1"),
    "C2": Level(code="C2", rank=200, ja="取扱注意", en="Level 2"),
    "C3": Level(code="C3", rank=300, ja="秘", en="Level 3"),
}
DISK, PATCH = (Unmet(code=code, label="C2", fact="x") for code in ("FIX_DISK", "FIX_PATCH"))
LINUX = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/140"}


class Words:
    """The `Readiness` of a policy that says what a test wants."""

    def __init__(self) -> None:
        self.missing: tuple[Unmet, ...] = ()
        self.best = "C2"

    def unmet(self, record: DeviceRecord, *, now: int) -> Sequence[Unmet]:
        return self.missing

    def labels(self, record: DeviceRecord, *, now: int) -> str:
        return self.best


class Office(PortalOffice):
    """A control plane that takes enrollments; for each test somebody else is invited to enroll another device."""

    def __init__(self, *, rules: EnrollmentRules | None = None, **parts: Any) -> None:
        self.words = Words()
        self.persons = FakePersons()
        enrollment = EnrollmentParts(readiness=self.words, levels=lambda: LEVELS, rules=rules or EnrollmentRules())
        extras = {"ca_sha256": PIN, PARTS: enrollment}
        super().__init__(
            people=self.persons,
            enrolling=Enrolling(issuer=ISSUER, client_id="zt-agent"),
            extras=extras,
            rates=dict.fromkeys(RATES, (Rate(100_000, 1000), Rate(100_000, 1000))),
            **parts,
        )
        self.plane = self.control.plane
        self.number = 0

    def fresh(self) -> Office:
        """Have one more person invited, and nothing else."""
        self.number += 1
        self.who, self.device_id = f"tanaka-{self.number}", f"laptop-{self.number}"
        self.words.missing, self.words.best = (), "C2"
        self.code, self.id = self.invite()
        return self

    def invite(self, subject: str = "", **changes: Any) -> tuple[str, str]:
        """Invite somebody; return the code and the invitation's id."""
        body = {"subject": subject or self.who, "ownership": "corp", **changes}
        made = self.control.call("POST", "/v1/invitations", body, who="helpdesk").json()
        return made["code"], made["id"]

    def begin(self, *, state: str = "identified", **device: Any) -> Enrollment:
        """Have the agent sign in, and the enrollment go as far as a state says."""
        started = room(self.plane).enrolling.start(self.code, self.persons.sign_in(self.who), now=self.plane.now())
        with self.control.store.writing(TENANT) as tx:
            begun = tx.enrollments.get(started.enrollment)
            assert begun is not None
            held = state not in ("identified", "consented") and device is not None
            after = replace(begun, state=state, device_id=self.device_id if held else "")
            tx.enrollments.put(after)
        if held:
            self.control.put(a_device(self.device_id, **({"name": "mado-7", "model": "ThinkPad X1"} | device)))
        return after

    def change_invitation(self, **changes: Any) -> None:
        with self.control.store.writing(TENANT) as tx:
            invitation = tx.invitations.get(self.id)
            assert invitation is not None
            tx.invitations.put(replace(invitation, **changes))

    def change_enrollment(self, enrollment: Enrollment, **changes: Any) -> None:
        with self.control.store.writing(TENANT) as tx:
            tx.enrollments.put(replace(enrollment, **changes))

    @property
    def progress(self) -> str:
        return f"/enroll/progress/{self.id}"

    def carrying(self, *, subject: str = "", language: str = "en", code: str = "") -> Browser:
        """A browser of somebody who signed in and has given an invitation."""
        browser = self.browser(subject or self.who, language=language)
        browser.send("/enroll", {"code": code or self.code})
        return browser


@pytest.fixture(scope="module")
def shared() -> Iterator[Office]:
    with Office() as made:
        yield made


@pytest.fixture
def office(shared: Office) -> Office:
    return shared.fresh()
