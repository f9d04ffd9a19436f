"""A scenario as certifications have one, of our own writing: plain Rego decides records for a caller of general use.

Two people, two records, three actions, eight rules; every answer below follows from `tests/fixtures/authzen/records`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.authzen_support import KEY, OTHER_KEY, RIGHTS, Caller, about, address, records_office
from tests.sidecar_support import Process, logged, running
from zt_engine.bootstrap.sandbox import Sandbox

BARE = {"types": ["record"], "subject_types": ["user"], "context": False, "acr": ["mfa"]}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Sandbox:
    callers = {"app": (KEY, RIGHTS), "bare": (OTHER_KEY, BARE)}
    return records_office(tmp_path_factory.mktemp("authzen") / "here", opa, callers)


@pytest.fixture(scope="module")
def sidecar(sandbox: Sandbox) -> Iterator[Process]:
    with running(sandbox) as process:
        yield process


@pytest.fixture
def app(sidecar: Process) -> Iterator[Caller]:
    with Caller(address(sidecar)) as client:
        yield client


BASIC = [
    (about("ken", "view", "notice-2"), True),  # 1
    (about("rie", "view", "notice-2"), True),
    (about("eve", "view", "notice-2"), False),
    (about("ken", "view", "offer-1"), True),  # 2
    (about("rie", "view", "offer-1"), True),  # 3
    (about("ken", "edit", "offer-1", subject_acr="mfa"), True),  # 4
    (about("rie", "edit", "offer-1", subject_acr="mfa"), False),
    (about("rie", "edit", "notice-2", subject_acr="mfa"), False),
    (about("rie", "delete", "notice-2"), True),  # 5
    (about("rie", "delete", "offer-1"), False),
    (about("ken", "delete", "offer-1"), False),
    (about("ken", "delete", "offer-1", action_soft=True), True),  # 6
    (about("eve", "view", "offer-1", subject_role="auditor", context={"audit": True}), True),  # 7
    (about("eve", "view", "offer-1", subject_role="auditor"), False),
    (about("ken", "edit", "offer-1"), False),  # 8
    (about("ken", "archive", "offer-1"), False),
    (about("ken", "view", "nothing"), False),
    ({**about("ken", "view", "offer-1"), "resource": {"type": "record", "id": "offer-1"}}, True),
]


@pytest.mark.parametrize(("body", "expected"), BASIC)
def test_basic_each_question_gets_the_answer_of_the_rules(app: Caller, body: Any, expected: bool) -> None:
    assert app.evaluate(body).decision is expected
    assert app.evaluate(body).decision is expected


def test_basic_members_that_nobody_knows_are_ignored(app: Caller) -> None:
    body = {**about("ken", "view", "offer-1"), "future": {"x": [1]}, "evaluations": [{"action": {"name": "edit"}}]}
    body["subject"]["future"] = None

    assert app.evaluate(body).decision is True


def test_basic_what_a_rule_tells_is_in_the_context_and_the_record(sandbox: Sandbox, app: Caller) -> None:
    weak = app.evaluate(about("ken", "edit", "offer-1"), headers=[("X-Request-ID", "weak")]).json["context"]
    duty = app.evaluate(about("rie", "delete", "notice-2")).json["context"]

    assert (weak["acr_values"], weak["reason_admin"], weak["reason"]) == ("mfa", {"401": "MFA"}, "AUTHZEN_DENIED")
    assert duty["obligations"] == [{"id": "1", "type": "notify"}]
    events = {item["decision_id"]: item for item in logged(sandbox)}
    told = events[weak["id"]]
    assert (told["hook"], told["effect"], told["route"], told["method"], told["subject"]) == (
        "authzen", "deny", "record", "edit", "ken",
    )  # fmt: skip
    assert told["revision"].startswith("rules-")
    assert "offer-1" not in str(told)
    assert events[duty["id"]]["obligations"] == [{"id": "notify"}]


def test_basic_an_obligation_that_a_caller_does_not_enforce_denies(sidecar: Process) -> None:
    with Caller(address(sidecar), OTHER_KEY) as bare:
        assert bare.evaluate(about("rie", "delete", "notice-2")).body == b'{"decision":false}'
        assert bare.evaluate(about("rie", "view", "notice-2")).body == b'{"decision":true}'


def test_basic_a_boolean_rule_without_a_value_says_no(app: Caller) -> None:
    plain = {**about("ken", "view", "x"), "resource": {"type": "plain", "id": "x"}}

    reply = app.evaluate(plain)

    assert (reply.decision, reply.reason) == (False, "AUTHZEN_DENIED")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"subject": {"type": "robot", "id": "ken"}}, "AUTHZEN_SUBJECT"),
        ({"resource": {"type": "invoice", "id": "1"}}, "AUTHZEN_TYPE"),
        ({"subject": {"type": "user", "id": "ken", "properties": {"acr": "phrh"}}}, "AUTHZEN_STATEMENT"),
        ({"context": {"device_id": "laptop-1"}}, "AUTHZEN_STATEMENT"),
    ],
)
def test_basic_what_a_caller_may_not_say_denies(app: Caller, changed: Any, reason: str) -> None:
    reply = app.evaluate({**about("ken", "view", "offer-1"), **changed})

    assert (reply.decision, reply.reason) == (False, reason)


# -- batches

VIEW, EDIT = {"action": {"name": "view"}}, {"action": {"name": "edit"}}
OFFER = {"resource": {"type": "record", "id": "offer-1"}}
NOTICE = {"resource": {"type": "record", "id": "notice-2"}}
RIE = {"subject": {"type": "user", "id": "rie"}}
KEN = {"subject": {"type": "user", "id": "ken"}}


def batch(*items: Any, semantic: str | None = None, **defaults: Any) -> dict[str, Any]:
    options = {} if semantic is None else {"options": {"evaluations_semantic": semantic}}
    return {**defaults, "evaluations": list(items), **options}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (batch(VIEW, EDIT, **RIE, **OFFER), [True, False]),
        (batch(NOTICE, OFFER, {**OFFER, **EDIT}, **KEN, **VIEW), [True, True, False]),
        (batch({**RIE, **VIEW, **OFFER}, {**KEN, **EDIT, **OFFER}), [True, False]),
        (batch({**RIE, **VIEW, **OFFER}, {}, semantic="execute_all"), [True, False]),
        (batch(VIEW, EDIT, VIEW, semantic="deny_on_first_deny", **RIE, **OFFER), [True, False]),
        (batch(VIEW, VIEW, semantic="deny_on_first_deny", **RIE, **OFFER), [True, True]),
        (batch(EDIT, VIEW, EDIT, semantic="permit_on_first_permit", **RIE, **OFFER), [False, True]),
        (batch(EDIT, EDIT, semantic="permit_on_first_permit", **RIE, **OFFER), [False, False]),
        (batch({"resource": {"id": "offer-1"}}, semantic="deny_on_first_deny", **RIE, **VIEW, **OFFER), [False]),
        (batch({**OFFER}, **RIE, **VIEW, resource={}), [True]),
        (
            batch(
                {"context": {"audit": True}}, {},
                subject={"type": "user", "id": "eve", "properties": {"role": "auditor"}}, **VIEW, **OFFER,
            ),
            [True, False],
        ),
    ],
)  # fmt: skip
def test_batch_items_take_whole_defaults_and_end_where_the_semantic_says(
    app: Caller, body: Any, expected: list[bool]
) -> None:
    reply = app.batch(body)

    assert reply.decisions == expected
    assert set(reply.json) == {"evaluations"}


def test_batch_an_item_that_is_no_question_stands_as_the_error_it_is(app: Caller) -> None:
    first, second = app.batch(batch({**OFFER}, {"resource": 7}, **RIE, **VIEW)).json["evaluations"]

    assert first["decision"] is True
    assert second["decision"] is False
    assert second["context"]["error"]["status"] == 400


@pytest.mark.parametrize("empty", [{}, {"evaluations": []}])
def test_batch_without_items_is_one_question(app: Caller, empty: Any) -> None:
    reply = app.batch({**RIE, **VIEW, **OFFER, **empty})

    assert (reply.decision, set(reply.json)) == (True, {"decision", "context"})
    assert app.batch({**RIE, **VIEW, **empty}).status == 400


def test_batch_every_decision_of_it_is_recorded(sandbox: Sandbox, app: Caller) -> None:
    body = batch(*[VIEW, EDIT] * 40, **RIE, **OFFER)

    reply = app.batch(body, headers=[("X-Request-ID", "eighty")])

    assert reply.decisions == [True, False] * 40
    assert reply.headers["x-request-id"] == "eighty"
    events = [item for item in logged(sandbox) if item["request_id"] == "eighty"]
    assert [event["decision_id"] for event in events] == [item["context"]["id"] for item in reply.json["evaluations"]]


def test_batch_answers_without_context_have_nothing_but_the_decision(sidecar: Process) -> None:
    with Caller(address(sidecar), OTHER_KEY) as bare:
        reply = bare.batch(batch(VIEW, EDIT, {"action": 1}, **RIE, **OFFER))

    assert reply.json == {"evaluations": [{"decision": True}, {"decision": False}, {"decision": False}]}
