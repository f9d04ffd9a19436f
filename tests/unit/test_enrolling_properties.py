"""In whatever order anybody calls: no certificate without the right person, the notice, a fresh nonce and a proof."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from msgspec.structs import replace

from device_inventory.facts import METHODS
from device_inventory.notice import NOTICE_VERSION
from tests.enrollment_support import NOW, URL, DeviceKey, Office
from tests.unit.inventory_support import COLLECTED
from zt_engine.control_plane.certifying import KeyRequest
from zt_engine.control_plane.nonces import LIFETIME
from zt_engine.core.errors import ZtError

PEOPLE = ("tanaka", "sato")
KEYS = [DeviceKey() for _ in range(5)]


class AnyOrder(RuleBasedStateMachine):
    """People, agents and thieves call in any order; what they may know is what they were told, or saw of others."""

    codes = Bundle("codes")
    enrollments = Bundle("enrollments")
    nonces = Bundle("nonces")
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.office = Office()
        self.invited: dict[str, str] = {}
        self.person_of: dict[str, str] = {}
        self.agreed: set[str] = set()
        self.handed_out: dict[str, tuple[str, int]] = {}
        self.used: set[str] = set()
        self.revoked: set[str] = set()
        self.withdrawn: set[str] = set()
        self.code_of: dict[str, str] = {}
        self.device_of_key: dict[str, str] = {}

    def attempt(self, call: Any, *arguments: Any, **more: Any) -> Any:
        """Call, and return what came of it; None when it was refused with a code."""
        try:
            return call(*arguments, **more)
        except ZtError as error:
            assert error.code
            return None

    @rule(target=codes, person=st.sampled_from(PEOPLE), replacing=st.booleans())
    def invite(self, person: str, replacing: bool) -> str:
        devices = self.office.devices()
        replaces = devices[0].device_id if replacing and devices else ""
        code = self.office.invite(person, replaces=replaces)
        self.invited[code] = person
        return code

    @rule(code=codes)
    def withdraw(self, code: str) -> None:
        if self.office.invitation(code).state == "open":
            self.office.change_invitation(code, state="withdrawn")
            self.withdrawn.add(code)

    @rule(target=enrollments, code=codes, person=st.sampled_from(PEOPLE))
    def start(self, code: str, person: str) -> Any:
        started = self.attempt(self.office.start, code, person)
        if started is None:
            return multiple()
        assert self.invited[code] == person
        self.person_of[started.enrollment] = person
        self.code_of[started.enrollment] = code
        return started.enrollment

    @rule(target=enrollments, person=st.sampled_from(PEOPLE), replacing=st.booleans())
    def begin(self, person: str, replacing: bool) -> Any:
        """Everything up to the key, as it should be."""
        enrollment = self.start(self.invite(person, replacing), person)
        if isinstance(enrollment, str):
            self.consent(enrollment, NOTICE_VERSION)
        return enrollment

    @rule(target=requests, enrollment=enrollments, key=st.sampled_from(KEYS))
    def certify_as_it_should_be(self, enrollment: str, key: DeviceKey) -> Any:
        nonce = self.nonce(enrollment)
        if not isinstance(nonce, str):
            return multiple()
        return self.certify(enrollment, None, nonce, key, None, URL)

    @rule(enrollment=enrollments, version=st.sampled_from([NOTICE_VERSION, "another", ""]))
    def consent(self, enrollment: str, version: str) -> None:
        if self.attempt(self.office.enrolling.consent, enrollment, version, now=self.office.now) is not None:
            assert version == NOTICE_VERSION
            self.agreed.add(enrollment)

    @rule(target=nonces, enrollment=enrollments)
    def nonce(self, enrollment: str) -> Any:
        nonce = self.attempt(self.office.enrolling.nonce, enrollment, now=self.office.now)
        if nonce is None:
            return multiple()
        assert enrollment in self.agreed
        self.handed_out[nonce] = (enrollment, self.office.now)
        return nonce

    @rule(
        target=requests,
        enrollment=enrollments,
        named=st.none() | enrollments,
        nonce=nonces | st.just("guess"),
        key=st.sampled_from(KEYS),
        signer=st.none() | st.sampled_from(KEYS),
        audience=st.sampled_from([URL, URL, URL, "https://elsewhere.example"]),
    )
    def certify(
        self,
        enrollment: str,
        named: str | None,
        nonce: str,
        key: DeviceKey,
        signer: DeviceKey | None,
        audience: str,
    ) -> Any:
        named = named or enrollment
        signer = signer or key
        claims = {"enrollment": named, "aud": audience}
        wanted = self.office.wanted(enrollment, key, nonce=nonce, signer=signer, claims=claims)
        good = signer is key and named == enrollment and audience == URL
        self.send(enrollment, wanted, nonce, key, good=good)
        return (enrollment, wanted, nonce, key, good)

    @rule(request=requests, enrollment=st.none() | enrollments)
    def replay(self, request: tuple[str, KeyRequest, str, DeviceKey, bool], enrollment: str | None) -> None:
        meant, wanted, nonce, key, good = request
        self.send(enrollment or meant, wanted, nonce, key, good=good and enrollment in (None, meant))

    @rule(seconds=st.sampled_from([1, LIFETIME, 3600, 90_000]))
    def wait(self, seconds: int) -> None:
        self.office.now += seconds

    def send(self, enrollment: str, wanted: KeyRequest, nonce: str, key: DeviceKey, *, good: bool) -> None:
        before = {device.device_id: device for device in self.office.devices()}
        certified = self.attempt(self.office.certifying.certify, enrollment, wanted, now=self.office.now)
        if certified is None:
            assert {device.device_id: device for device in self.office.devices()} == before
            return
        holder, at = self.handed_out[nonce]
        assert good
        assert enrollment in self.agreed
        assert holder == enrollment
        assert at <= self.office.now < at + LIFETIME
        assert nonce not in self.used
        assert self.device_of_key.setdefault(key.jkt, certified.device_id) == certified.device_id
        assert certified.device_id in before or self.code_of[enrollment] not in self.withdrawn
        self.used.add(nonce)

    @invariant()
    def every_device_came_from_its_own_persons_invitation(self) -> None:
        for device in self.office.devices():
            found = [one for one in self.office.enrollments() if one.device_id == device.device_id]
            assert len(found) == 1
            assert found[0].notice_version == NOTICE_VERSION
            assert device.owner == self.person_of[found[0].id] == found[0].subject

    @invariant()
    def what_was_replaced_is_revoked(self) -> None:
        devices = {device.device_id: device for device in self.office.devices()}
        for device in devices.values():
            if device.replaces:
                assert devices[device.replaces].status == "revoked"
                assert all(key.revoked_at is not None for key in devices[device.replaces].keys)

    @invariant()
    def one_invitation_makes_one_device(self) -> None:
        assert len(self.office.devices()) <= len(self.invited)
        used = [code for code in self.invited if self.office.invitation(code).state == "used"]
        assert len(self.office.devices()) == len(used)

    def teardown(self) -> None:
        self.office.store.close()


AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase


OFFICE = Office()
HELPER = DeviceKey()
MACHINE = OFFICE.enroll(helper_key=HELPER.jwk)

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**53)
    | st.text(max_size=20)
    | st.lists(st.text(max_size=5), max_size=3)
)
MEMBERS = st.dictionaries(
    st.sampled_from(["status", "value", "collected_at", "method", "received_at", "boot_id", "source"]),
    VALUES | st.sampled_from([*METHODS, "observed"]),
    max_size=5,
)


@given(
    facts=st.dictionaries(st.sampled_from(sorted({*COLLECTED, "device.key_protection"})), MEMBERS, max_size=4),
    more=st.dictionaries(
        st.sampled_from(["method", "sources", "quote", "attested", "status", "helper"]), VALUES, max_size=2
    ),
    whole=st.booleans(),
)
def test_no_report_raises_its_own_method(facts: dict[str, Any], more: dict[str, Any], whole: bool) -> None:
    """Whatever an agent says, the inventory holds it as a self-report, or does not hold it."""
    OFFICE.now += 1
    if whole:
        facts = {
            name: {"status": "observed", "value": COLLECTED.get(name), "collected_at": OFFICE.now, **fact}
            for name, fact in facts.items()
        }
    try:
        MACHINE.report(said={"facts": facts, **more})
    except ZtError as error:
        assert error.code
    device = MACHINE.device
    said = {(source, fact.method) for source, held in device.sources.items() for fact in held.facts.values()}
    assert said <= {("agent", "self_report")}
    assert device.keys[0].protection == "file"


def test_a_refused_attempt_uses_no_nonce_up() -> None:
    """What somebody else sends in between must not be able to end an honest attempt."""
    office, key = Office(), DeviceKey()
    enrollment = office.consented(office.invite())
    wanted = office.wanted(enrollment, key)
    forged = replace(wanted, proof=DeviceKey().prove({"nonce": "x"}))

    with pytest.raises(ZtError):
        office.certifying.certify(enrollment, forged, now=NOW)
    assert office.certifying.certify(enrollment, wanted, now=NOW).device_id
