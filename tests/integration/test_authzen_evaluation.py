"""AuthZEN callers ask a running sidecar: what they are answered, what is recorded, and what they may not say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.authzen_support import (
    CASE,
    EVALUATION,
    GATEWAY,
    KEY,
    METADATA,
    OTHER_KEY,
    PUBLIC,
    Caller,
    Reply,
    address,
    office,
    question,
)
from tests.sidecar_support import Process, logged, running, verified, wait_for
from zt_engine.bootstrap.sandbox import Sandbox

BLIND = {"hosts": ["portal.example"], "subject_types": ["user"], "context": False}
NO_RIGHTS: dict[str, Any] = {}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Sandbox:
    callers = {
        "gateway": (KEY, GATEWAY),
        "blind": (OTHER_KEY, BLIND),
        "nobody": ("c" * 40, NO_RIGHTS),
        "by-service": ("d" * 40, {**GATEWAY, "hosts": [], "services": ["portal"]}),
        "elsewhere": ("e" * 40, {**GATEWAY, "hosts": ["pilot.example"]}),
    }
    return office(tmp_path_factory.mktemp("authzen") / "here", opa, callers)


@pytest.fixture(scope="module")
def sidecar(sandbox: Sandbox) -> Iterator[Process]:
    with running(sandbox) as process:
        yield process


@pytest.fixture
def gateway(sidecar: Process) -> Iterator[Caller]:
    with Caller(address(sidecar)) as client:
        yield client


def asking(sidecar: Process, key: str | None, body: Any, **how: Any) -> Reply:
    with Caller(address(sidecar), key) as client:
        return client.evaluate(body, **how)


def test_a_caller_is_answered_and_the_decision_is_recorded(sandbox: Sandbox, gateway: Caller) -> None:
    reply = gateway.evaluate(question(), headers=[("X-Request-ID", "Ab-1/x")])

    assert reply.decision is True
    assert reply.headers["x-request-id"] == "Ab-1/x"
    assert reply.headers["content-type"] == "application/json"
    context = reply.json["context"]
    assert (context["max_label"], context["obligations"]) == (
        "C2",
        [{"id": "no_store", "type": "no_store", "properties": {}}],
    )
    event = next(item for item in logged(sandbox) if item["decision_id"] == context["id"])
    assert (event["hook"], event["effect"], event["request_id"], event["subject"], event["device"]) == (
        "authzen", "allow", "Ab-1/x", "tanaka", "laptop-1",
    )  # fmt: skip
    assert (event["host"], event["route"], event["trust"]) == ("portal.example", "/cases/{case_id}", context["trust"])


def test_the_same_question_is_answered_alike_from_memory_and_recorded_each_time(
    sandbox: Sandbox, gateway: Caller
) -> None:
    body = question("https://portal.example/cases/77")
    replies = [gateway.evaluate(body, headers=[("X-Request-ID", f"again-{number}")]) for number in range(3)]

    assert [reply.decision for reply in replies] == [True] * 3
    assert [reply.headers["x-request-id"] for reply in replies] == ["again-0", "again-1", "again-2"]
    events = [item for item in logged(sandbox) if item["request_id"].startswith("again-")]
    assert [event["decision_id"] for event in events] == [reply.json["context"]["id"] for reply in replies]
    assert events[-1]["cache"] == "hit"


def test_what_a_stronger_sign_in_has_to_be_is_in_the_context(gateway: Caller) -> None:
    reply = gateway.evaluate(question(amr=["pwd"], acr=None))

    assert reply.decision is False
    context = reply.json["context"]
    assert (context["reason"], context["acr_values"], context["max_age"]) == ("MFA_REQUIRED", "phr", 3600)
    assert context["reason_admin"] == {"401": "MFA_REQUIRED"}
    assert set(context["reason_user"]) == {"ja", "en"}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"device_id": None, "binding": None}, "DEVICE_REQUIRED"),
        ({"device_id": "laptop-9"}, "DEVICE_UNKNOWN"),
        ({"subject": "suzuki"}, "SUBJECT_UNKNOWN"),
        ({"resource": "https://portal.example/nowhere"}, "ROUTE_UNKNOWN"),
        ({"resource": "https://portal.example/cases/../secret"}, "PATH_AMBIGUOUS"),
        ({"method": "get"}, "METHOD_AMBIGUOUS"),
        ({"method": "DELETE"}, "METHOD_UNKNOWN"),
        ({"resource": "https://other.example/"}, "AUTHZEN_FOREIGN"),
        ({"resource": "https://pilot.example/x"}, "AUTHZEN_FOREIGN"),
        ({"resource": {"type": "record", "id": "1"}}, "AUTHZEN_TYPE"),
        ({"resource": {"type": "http", "id": "case"}}, "AUTHZEN_RESOURCE"),
        (
            {"resource": {"type": "http", "id": CASE, "properties": {"path": "/"}}},
            "AUTHZEN_RESOURCE",
        ),
        ({"amr": ["otp"]}, "AUTHZEN_STATEMENT"),
        ({"amr": "hwk"}, "AUTHZEN_STATEMENT"),
        ({"acr": "phrh"}, "AUTHZEN_STATEMENT"),
        ({"auth_time": True}, "AUTHZEN_STATEMENT"),
        ({"device_id": None}, "AUTHZEN_STATEMENT"),
    ],
)
def test_a_question_that_does_not_hold_is_denied_with_its_code(
    gateway: Caller, changed: dict[str, Any], reason: str
) -> None:
    reply = gateway.evaluate(question(**changed))

    assert (reply.decision, reply.reason) == (False, reason)


@pytest.mark.parametrize(
    "resource",
    [
        {"type": "http", "id": "/cases/1", "properties": {"host": "portal.example"}},
        {"type": "http", "id": "a case", "properties": {"host": "portal.example", "path": "/cases/1"}},
        {"type": "route", "id": "https://portal.example/cases/{case_id}"},
        {"type": "route", "id": "/cases/{case_id}", "properties": {"host": "portal.example"}},
    ],
)
def test_a_resource_of_the_catalogue_can_be_named_in_several_ways(gateway: Caller, resource: Any) -> None:
    assert gateway.evaluate(question(resource)).decision is True


def test_a_template_that_is_no_route_is_unknown(gateway: Caller) -> None:
    reply = gateway.evaluate(question({"type": "route", "id": "https://portal.example/cases/{id}"}))

    assert (reply.decision, reply.reason) == (False, "ROUTE_UNKNOWN")


def test_nothing_is_granted_by_default(sidecar: Process) -> None:
    reply = asking(sidecar, "c" * 40, question())

    assert (reply.decision, reply.reason) == (False, "AUTHZEN_SUBJECT")


def test_a_host_is_reached_through_the_service_that_was_granted_and_no_other(sidecar: Process) -> None:
    assert asking(sidecar, "d" * 40, question()).decision is True
    assert asking(sidecar, "d" * 40, question("https://pilot.example/x")).reason == "AUTHZEN_FOREIGN"
    assert asking(sidecar, "e" * 40, question()).reason == "AUTHZEN_FOREIGN"


def test_a_caller_that_wants_no_context_gets_the_decision_alone(sidecar: Process) -> None:
    body = question(PUBLIC, amr=None, acr=None, auth_time=None, device_id=None, binding=None)

    assert asking(sidecar, OTHER_KEY, body).body == b'{"decision":true}'
    assert asking(sidecar, OTHER_KEY, {**body, "action": {"name": "PUT"}}).body == b'{"decision":false}'


def test_without_its_statements_a_subject_is_trusted_less_and_never_more(gateway: Caller) -> None:
    bare = question(amr=None, acr=None, auth_time=None, device_id=None, binding=None)

    assert gateway.evaluate(bare).decision is False
    assert gateway.evaluate({**bare, "resource": {"type": "http", "id": PUBLIC}}).decision is True


def test_somebody_who_is_revoked_is_denied_at_once(sandbox: Sandbox, gateway: Caller) -> None:
    body = question("https://portal.example/cases/5")
    assert gateway.evaluate(body).decision is True
    sandbox.situation(revocations=[{"kind": "subject", "key": "tanaka", "until": int(sandbox.now) + 3600}])

    wait_for(lambda: not gateway.evaluate(body).decision, "the revocation")
    assert gateway.evaluate(body).reason == "SUBJECT_REVOKED"
    sandbox.situation()
    wait_for(lambda: gateway.evaluate(body).decision, "the end of the revocation")


def test_a_caller_is_known_by_its_key_and_nobody_else_is_answered(sidecar: Process) -> None:
    replies = [
        asking(sidecar, None, question()),
        asking(sidecar, "z" * 40, question()),
        asking(sidecar, "", question()),
        asking(sidecar, KEY, question(), headers=[("Zt-Pep-Key", KEY)]),
    ]
    other_header = asking(sidecar, None, question(), headers=[("Zt-Pep-Key", KEY)])

    assert [reply.status for reply in replies] == [401] * 4
    assert all(reply.headers["www-authenticate"].startswith("Bearer") for reply in replies)
    assert other_header.decision is True


def test_the_metadata_names_what_is_served(gateway: Caller) -> None:
    with Caller(gateway.where, None) as stranger:
        reply = stranger.ask("GET", METADATA)

    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    identifier = reply.json["policy_decision_point"]
    assert reply.json["access_evaluation_endpoint"] == identifier + EVALUATION
    assert gateway.ask("POST", METADATA, b"{}").status == 405


def test_the_log_stays_whole(sandbox: Sandbox, gateway: Caller) -> None:
    gateway.evaluate(question())

    assert verified(sandbox).faults == ()
