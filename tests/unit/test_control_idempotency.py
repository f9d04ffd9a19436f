"""A write that is sent twice happens once, and the database does not tell the secrets of an answer."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from tests.control_support import TENANT, Control, a_device
from zt_engine.adapters.store_sql import open_store

KEY = "a-key-of-sixteen-or-more"
INVITATION = {"subject": "tanaka", "issuer": "https://idp.example", "ownership": "corp"}


def test_the_same_request_under_the_same_key_is_answered_the_same_and_done_once() -> None:
    with Control() as control:
        control.put(a_device())
        first = control.call("POST", "/v1/devices/laptop-1/lost", {"reason": "x"}, idempotency_key=KEY)
        again = control.call("POST", "/v1/devices/laptop-1/lost", {"reason": "x"}, idempotency_key=KEY)

        assert (first.status_code, first.content) == (again.status_code, again.content) == (200, first.content)
        assert control.device("laptop-1").version == 2
        assert [event.action for event in control.audit()] == ["device.enrolled", "device.lost"]


def test_another_request_under_the_same_key_is_refused() -> None:
    with Control() as control:
        control.put(a_device())
        control.call("POST", "/v1/devices/laptop-1/lost", {"reason": "x"}, idempotency_key=KEY)
        other_body = control.call("POST", "/v1/devices/laptop-1/lost", {"reason": "y"}, idempotency_key=KEY)
        other_path = control.call("POST", "/v1/devices/laptop-1/revoke", {"reason": "x"}, idempotency_key=KEY)

        assert [other_body.status_code, other_path.status_code] == [422, 422]
        assert {other_body.json()["code"], other_path.json()["code"]} == {"IDEMPOTENCY_MISMATCH"}
        assert control.device("laptop-1").status == "lost"


def test_a_key_belongs_to_whoever_used_it() -> None:
    with Control() as control:
        control.put(a_device())
        control.call("POST", "/v1/devices/laptop-1/quarantine", {"reason": "x"}, idempotency_key=KEY, who="helpdesk")
        other = control.call("POST", "/v1/devices/laptop-1/revoke", {"reason": "x"}, idempotency_key=KEY, who="owner")

        assert other.status_code == 200


def test_what_was_refused_is_tried_anew() -> None:
    with Control() as control:
        refused = control.call("POST", "/v1/devices/laptop-1/lost", {"reason": "x"}, idempotency_key=KEY)
        control.put(a_device())
        done = control.call("POST", "/v1/devices/laptop-1/lost", {"reason": "x"}, idempotency_key=KEY)

        assert [refused.status_code, done.status_code] == [404, 200]


def test_a_write_without_a_key_is_refused() -> None:
    with Control() as control:
        control.put(a_device())
        answers = [
            control.call("POST", "/v1/devices/laptop-1/lost", {"reason": "x"}, idempotency_key=key)
            for key in ("", "short", "with blank in it", "x" * 129)
        ]

        assert {answer.status_code for answer in answers} == {422}
        assert control.device("laptop-1").status == "active"


def test_the_code_of_an_invitation_is_told_again_to_whoever_sends_the_same_again_and_to_nobody_else(
    tmp_path: Path,
) -> None:
    file = tmp_path / "zt.db"
    with Control(store=open_store(f"sqlite:///{file}")) as control:
        first = control.call("POST", "/v1/invitations", INVITATION, idempotency_key=KEY).json()
        again = control.call("POST", "/v1/invitations", INVITATION, idempotency_key=KEY).json()
        listed = control.call("GET", "/v1/invitations").text
        audited = control.call("GET", "/v1/audit").text

    assert first == again
    assert first["code"] in first["link"]
    assert first["code"] not in listed + audited
    everything = "\n".join(sqlite3.connect(file).iterdump())
    assert first["id"] in everything
    assert first["code"] not in everything
    assert first["code"].encode().hex() not in everything.lower()
    assert KEY not in everything


def test_of_two_at_the_same_moment_one_is_done_and_both_are_answered(tmp_path: Path) -> None:
    with Control(store=open_store(f"sqlite:///{tmp_path / 'zt.db'}")) as control:
        answers: list[bytes] = []
        others = [Control(store=open_store(f"sqlite:///{tmp_path / 'zt.db'}")) for _ in range(3)]
        start = threading.Barrier(len(others))

        def ask(one: Control) -> None:
            start.wait()
            answers.append(one.call("POST", "/v1/invitations", INVITATION, idempotency_key=KEY).content)

        threads = [threading.Thread(target=ask, args=(one,)) for one in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with control.store.reading(TENANT) as tx:
            invitations = tx.invitations.page(after="", limit=10)
        for one in others:
            one.__exit__()

        assert len(set(answers)) == 1
        assert len(invitations) == 1


def test_an_answer_is_forgotten_when_nobody_can_be_asking_any_more() -> None:
    with Control() as control:
        control.put(a_device())
        control.call("POST", "/v1/devices/laptop-1/quarantine", {"reason": "x"}, idempotency_key=KEY)
        control.clock.advance(90_000)
        control.store.prune(control.plane.now())
        again = control.call("POST", "/v1/devices/laptop-1/quarantine", {"reason": "x"}, idempotency_key=KEY)

        assert (again.status_code, again.json()["code"]) == (409, "DEVICE_EVENT_REFUSED")
