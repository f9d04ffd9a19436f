"""Several control planes on one PostgreSQL: a write that is sent to two of them at once is done once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.control_support import TENANT, Control, a_device
from tests.postgres import postgres_url
from zt_engine.adapters.store_sql import open_store

KEY = "one-key-for-all-of-them"


@pytest.fixture
def planes() -> Iterator[list[Control]]:
    with postgres_url() as url:
        made = [Control(store=open_store(url), home_issuer="https://idp.example") for _ in range(4)]
        yield made
        for one in made:
            one.__exit__()


def at_once(planes: list[Control], ask: Callable[[Control], httpx.Response]) -> list[httpx.Response]:
    """Ask every control plane at the same moment."""
    start = threading.Barrier(len(planes))
    answers: list[httpx.Response] = []

    def work(plane: Control) -> None:
        start.wait()
        answers.append(ask(plane))

    threads = [threading.Thread(target=work, args=(plane,)) for plane in planes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_the_same_invitation_sent_to_all_is_made_once_and_told_to_each(planes: list[Control]) -> None:
    body = {"subject": "tanaka", "ownership": "corp"}

    answers = at_once(planes, lambda one: one.call("POST", "/v1/invitations", body, idempotency_key=KEY))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    with planes[0].store.reading(TENANT) as tx:
        assert len(tx.invitations.page(after="", limit=10)) == 1
    assert [event.action for event in planes[0].audit()] == ["invitation.made"]


def test_a_device_that_all_revoke_with_keys_of_their_own_is_revoked_once(planes: list[Control]) -> None:
    planes[0].put(a_device())

    answers = at_once(planes, lambda one: one.call("POST", "/v1/devices/laptop-1/revoke", {"reason": "stolen"}))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert planes[0].device("laptop-1").version == 2
    assert [event.action for event in planes[0].audit()] == ["device.enrolled", "device.revoked"]


def test_of_two_who_make_the_same_record_at_once_one_is_told_that_he_is_late(planes: list[Control]) -> None:
    record = {"status": "active", "groups": [], "compartments": [], "clearance": 0, "org": "", "valid_until": None}
    path = "/v1/subjects/https%3A%2F%2Fidp.example/sato"

    answers = at_once(planes, lambda one: one.call("PUT", path, record))

    done = [answer.json()["version"] for answer in answers if answer.status_code == 200]
    assert sorted(done) == list(range(1, len(done) + 1))
    assert {answer.json()["code"] for answer in answers if answer.status_code != 200} <= {"STORE_CONFLICT"}
    assert len(planes[0].audit()) == len(done)


def test_changes_of_one_record_come_one_after_the_other(planes: list[Control]) -> None:
    record = {
        "status": "active", "groups": [], "compartments": [], "clearance": 0, "org": "", "valid_until": None,
        "version": 0,
    }  # fmt: skip
    path = "/v1/subjects/https%3A%2F%2Fidp.example/tanaka"
    first = planes[0].call("PUT", path, record)

    answers = at_once(planes, lambda one: one.call("PUT", path, record | {"version": 1}))

    assert first.status_code == 200
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert planes[0].call("GET", path).json()["version"] == 2
