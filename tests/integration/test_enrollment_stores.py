"""Enrollments and reports on both databases, and several at once: what counts once counts once for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from device_inventory.device import DeviceRecordError
from tests.enrollment_support import DeviceKey, Machine, Office
from tests.store_support import ON_DISK, opened
from zt_engine.core.errors import ZtError

THREADS = 4
ROUNDS = 8


@pytest.fixture(params=ON_DISK)
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    with opened(request.param, tmp_path) as store:
        yield Office(store=store)


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Call everything at the same time; what came of each: its answer, or the code it was refused with."""
    barrier = threading.Barrier(len(calls))
    outcomes: list[object] = [None] * len(calls)

    def run(place: int, call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            outcomes[place] = call()
        except (ZtError, DeviceRecordError) as error:
            outcomes[place] = error.code

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_the_life_of_a_device(office: Office) -> None:
    helper = DeviceKey()
    machine = office.enroll(helper_key=helper.jwk, approval=True)
    machine.report(helper=helper)
    office.approve(machine.device_id)
    office.now += 600
    assert machine.report(helper=helper).status == "active"
    machine.renew(DeviceKey())
    assert machine.report(helper=helper).status == "active"
    successor = office.enroll(replaces=machine.device_id)

    assert (machine.device.status, successor.device.replaces) == ("revoked", machine.device_id)
    assert office.losing.by_owner(office.people.sign_in("tanaka"), successor.device_id, now=office.now) == "lost"


def test_one_proof_sent_at_once_by_many_certifies_one_key(office: Office) -> None:
    for _ in range(ROUNDS):
        enrollment, key = office.consented(office.invite()), DeviceKey()
        wanted = office.wanted(enrollment, key)
        before = len(office.devices())
        outcomes = at_once(*[partial(office.certifying.certify, enrollment, wanted, now=office.now)] * THREADS)

        certified = [outcome for outcome in outcomes if not isinstance(outcome, str)]
        assert len(certified) == 1
        # The latter asks to try again, which is refused by then.
        assert set(map(str, outcomes)) - {str(certified[0])} <= {"NONCE_REFUSED", "STORE_CONFLICT"}
        assert len(office.devices()) == before + 1
        assert len(office.device(office.enrollment(enrollment).device_id).keys) == 1


def test_two_keys_for_one_invitation_at_once_make_one_device(office: Office) -> None:
    for _ in range(ROUNDS):
        enrollment = office.consented(office.invite())
        before = len(office.devices())
        wishes = [office.wanted(enrollment, DeviceKey()) for _ in range(THREADS)]
        at_once(*(partial(office.certifying.certify, enrollment, wish, now=office.now) for wish in wishes))

        assert len(office.devices()) == before + 1


def test_one_key_for_two_invitations_at_once_makes_one_device(office: Office) -> None:
    for _ in range(ROUNDS):
        key, before = DeviceKey(), len(office.devices())
        enrollments = [office.consented(office.invite()) for _ in range(2)]
        wishes = [(one, office.wanted(one, key)) for one in enrollments]
        outcomes = at_once(*(partial(office.certifying.certify, one, wish, now=office.now) for one, wish in wishes))

        assert len(office.devices()) == before + 1
        assert {code for code in outcomes if isinstance(code, str)} <= {"KEY_IN_USE", "STORE_CONFLICT"}


def test_one_report_sent_at_once_by_many_counts_once(office: Office) -> None:
    machine: Machine = office.enroll()
    for number in range(1, ROUNDS + 1):
        evidence = machine.evidence()
        outcomes = at_once(*[partial(office.reporting.receive, evidence, now=office.now)] * THREADS)

        assert outcomes.count("NONCE_REFUSED") == THREADS - 1
        assert machine.device.report_seq == number


def test_nobody_waits_for_somebody_who_waits_for_him(office: Office) -> None:
    """Steps of one enrollment, its reports, its approval and a loss at once: each is done or refused, none hangs."""
    for _ in range(ROUNDS):
        key = DeviceKey()
        code = office.invite(approval=True)
        enrollment = office.consented(code)
        machine = Machine(office, key, office.certify(enrollment, key), enrollment)
        again, evidence = office.wanted(enrollment, key), machine.evidence()
        tokens = [office.people.sign_in("tanaka") for _ in range(2)]
        outcomes = at_once(
            partial(office.certifying.certify, enrollment, again, now=office.now),
            partial(office.reporting.receive, evidence, now=office.now),
            partial(office.approve, machine.device_id),
            partial(office.enrolling.start, code, tokens[0], now=office.now),
            partial(office.losing.by_owner, tokens[1], machine.device_id, now=office.now),
        )

        assert not [code for code in outcomes if isinstance(code, str) and code.startswith("STORE_")]
        assert machine.device.status in ("enrolled", "active", "lost")
