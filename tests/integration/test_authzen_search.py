"""Searches of AuthZEN callers: found in a process of their own, told a page at a time, never what is not permitted."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.authzen_support import (
    EVALUATION,
    EVALUATIONS,
    GATEWAY,
    KEY,
    METADATA,
    OTHER_KEY,
    RIGHTS,
    Caller,
    Reply,
    address,
    question,
    records_office,
)
from tests.sidecar_support import Process, logged, running, wait_for
from zt_engine.bootstrap.sandbox import Sandbox

PEOPLE = 230
SEARCH = "/access/v1/search/"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Sandbox:
    everything = {**GATEWAY, **RIGHTS, "acr": ["phr", "mfa"], "subject_types": ["user", "workload"]}
    everything["enforces"] = ["no_store", "notify"]
    callers = {"app": (KEY, everything), "curious": (OTHER_KEY, {**everything, "searches": False})}
    made = records_office(tmp_path_factory.mktemp("authzen") / "here", opa, callers)
    for number in range(PEOPLE):
        made.subject(f"person-{number:03}")
    made.subject("robot", type="workload")
    made.subject("gone", status="inactive")
    return made


@pytest.fixture(scope="module")
def sidecar(sandbox: Sandbox) -> Iterator[Process]:
    with running(sandbox) as process:
        yield process


@pytest.fixture
def app(sidecar: Process) -> Iterator[Caller]:
    with Caller(address(sidecar)) as client:
        yield client


def search(app: Caller, what: str, body: Any, **how: Any) -> Reply:
    return app.post(SEARCH + what, body, **how)


def found(reply: Reply) -> list[str]:
    assert reply.status == 200, reply
    assert next(iter(reply.json)) == "page"
    return [item.get("id", item.get("name")) for item in reply.json["results"]]


PERSON = {"type": "user"}
VIEW, EDIT, DELETE = ({"name": name} for name in ("view", "edit", "delete"))
OFFER, NOTICE = ({"type": "record", "id": name} for name in ("offer-1", "notice-2"))
RIE, KEN = ({"type": "user", "id": name} for name in ("rie", "ken"))


@pytest.mark.parametrize(
    ("what", "body", "expected"),
    [
        ("subject", {"subject": PERSON, "action": VIEW, "resource": OFFER}, ["ken", "rie"]),
        ("subject", {"subject": {**PERSON, "id": "ignored"}, "action": DELETE, "resource": NOTICE}, ["rie"]),
        ("subject", {"subject": {**PERSON, "properties": {"acr": "mfa"}}, "action": EDIT, "resource": OFFER}, ["ken"]),
        ("subject", {"subject": PERSON, "action": EDIT, "resource": OFFER}, []),
        ("subject", {"subject": {"type": "robot"}, "action": VIEW, "resource": OFFER}, []),
        ("subject", {"subject": PERSON, "action": VIEW, "resource": {"type": "record", "id": "nothing"}}, []),
        ("subject", {"subject": PERSON, "action": VIEW, "resource": {"type": "planet", "id": "1"}}, []),
        ("resource", {"subject": RIE, "action": VIEW, "resource": {"type": "record"}}, ["notice-2", "offer-1"]),
        ("resource", {"subject": RIE, "action": DELETE, "resource": {"type": "record", "id": "x"}}, ["notice-2"]),
        ("resource", {"subject": RIE, "action": VIEW, "resource": {"type": "plain"}}, []),
        ("resource", {"subject": {**KEN, "id": "eve"}, "action": VIEW, "resource": {"type": "record"}}, []),
        ("action", {"subject": RIE, "resource": NOTICE}, ["delete", "view"]),
        ("action", {"subject": KEN, "resource": OFFER, "action": 7}, ["view"]),
        ("action", {"subject": KEN, "resource": OFFER, "action": VIEW}, ["view"]),
    ],
)
def test_search_finds_exactly_what_an_evaluation_permits(
    app: Caller, what: str, body: Any, expected: list[str]
) -> None:
    reply = search(app, what, body, headers=[("X-Request-ID", "s-1")])

    assert found(reply) == expected
    assert reply.json["page"] == {"count": len(expected), "next_token": ""}
    assert reply.headers["x-request-id"] == "s-1"


def test_search_tells_the_type_and_the_properties_of_what_it_finds(app: Caller) -> None:
    resources = search(app, "resource", {"subject": KEN, "action": VIEW, "resource": {"type": "record"}}).json
    actions = search(app, "action", {"subject": KEN, "resource": OFFER}).json

    assert resources["results"][0] == {"type": "record", "id": "notice-2", "properties": {"unit": "sales"}}
    assert actions["results"] == [{"name": "view"}]


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("subject", {"action": VIEW, "resource": OFFER}),
        ("subject", {"subject": {"id": "ken"}, "action": VIEW, "resource": OFFER}),
        ("subject", {"subject": PERSON, "resource": OFFER}),
        ("subject", {"subject": PERSON, "action": VIEW, "resource": {"type": "record"}}),
        ("resource", {"subject": PERSON, "action": VIEW, "resource": {"type": "record"}}),
        ("resource", {"subject": RIE, "action": VIEW}),
        ("action", {"subject": PERSON, "resource": OFFER}),
        ("action", {"subject": RIE}),
        ("action", {"subject": RIE, "resource": OFFER, "page": []}),
        ("action", {"subject": RIE, "resource": OFFER, "page": {"limit": -1}}),
        ("action", {"subject": RIE, "resource": OFFER, "page": {"limit": "1"}}),
        ("action", {"subject": RIE, "resource": OFFER, "page": {"limit": True}}),
        ("action", {"subject": RIE, "resource": OFFER, "page": {"token": 1}}),
        ("action", {"subject": RIE, "resource": OFFER, "page": {"token": "Zm9v"}}),
        ("action", {"subject": RIE, "resource": OFFER, "page": {"token": "ü"}}),
        ("action", {"subject": RIE, "resource": OFFER, "page": {"token": "A" * 5000}}),
    ],
)
def test_search_that_is_none_is_a_400(app: Caller, what: str, body: Any) -> None:
    assert search(app, what, body).status == 400


def people(**more: Any) -> dict[str, Any]:
    asked = question()
    return {"subject": {"type": "user", "properties": {"amr": ["hwk"]}}, "action": asked["action"], **more}


NOTES = {"resource": {"type": "route", "id": "https://portal.example/notes/*"}}


def test_search_pages_at_a_hundred_and_every_page_goes_on_behind_the_last(app: Caller) -> None:
    body, pages, token = people(**NOTES), [], None
    while token != "":
        page = {} if token is None else {"page": {"token": token}}
        reply = search(app, "subject", {**body, **page})
        pages.append(found(reply))
        token = reply.json["page"]["next_token"]

    assert [len(page) for page in pages] == [100, 100, PEOPLE + 1 - 200]
    together = [name for page in pages for name in page]
    assert together == sorted({*together}) == [*(f"person-{number:03}" for number in range(PEOPLE)), "tanaka"]


def test_search_takes_smaller_pages_and_none_at_all(app: Caller) -> None:
    small = search(app, "subject", {**people(**NOTES), "page": {"limit": 3}})
    nothing = search(app, "subject", {**people(**NOTES), "page": {"limit": 0}})
    large = search(app, "subject", {**people(**NOTES), "page": {"limit": 10_000}})
    then = {"limit": 2, "token": nothing.json["page"]["next_token"]}

    assert found(small) == ["person-000", "person-001", "person-002"]
    assert (found(nothing), bool(nothing.json["page"]["next_token"])) == ([], True)
    assert found(search(app, "subject", {**people(**NOTES), "page": then})) == ["person-000", "person-001"]
    assert len(found(large)) == 100


def test_search_token_serves_the_search_and_the_caller_it_was_made_for(app: Caller, sidecar: Process) -> None:
    token = search(app, "subject", people(**NOTES)).json["page"]["next_token"]
    page = {"page": {"token": token}}
    other = people(resource={"type": "route", "id": "https://portal.example/"})
    flipped = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]

    assert search(app, "subject", {**people(**NOTES), **page}).status == 200
    assert search(app, "subject", {**other, **page}).status == 400
    assert search(app, "resource", {**people(**NOTES), **page, "subject": RIE}).status == 400
    assert search(app, "subject", {**people(**NOTES), "page": {"token": flipped}}).status == 400
    with Caller(address(sidecar), OTHER_KEY) as curious:
        assert search(curious, "subject", {**people(**NOTES), **page}).status == 400


def test_search_of_the_catalogue_finds_routes_and_methods(app: Caller) -> None:
    tanaka = question()["subject"]
    routes = search(app, "resource", {"subject": tanaka, "action": {"name": "GET"}, "resource": {"type": "route"}})
    addresses = search(app, "resource", {"subject": tanaka, "action": {"name": "GET"}, "resource": {"type": "http"}})
    methods = search(app, "action", {"subject": tanaka, "resource": question()["resource"]})
    robots = search(app, "subject", {**people(**NOTES), "subject": {"type": "workload"}})

    portal = "https://portal.example"
    assert found(routes) == [f"{portal}/", f"{portal}/cases/{{case_id}}", f"{portal}/notes/*"]
    assert found(addresses) == [f"{portal}/"]
    assert found(methods) == ["GET", "HEAD", "POST"]
    assert found(robots) == ["robot"]


def test_search_results_are_decisions_and_stand_in_the_log(sandbox: Sandbox, app: Caller) -> None:
    search(app, "action", {"subject": RIE, "resource": NOTICE}, headers=[("X-Request-ID", "in-the-log")])

    events = [event for event in logged(sandbox) if event["request_id"] == "in-the-log"]
    assert [(event["method"], event["effect"]) for event in events] == [("delete", "allow"), ("view", "allow")]


def test_search_takes_a_right_of_its_own(sidecar: Process) -> None:
    with Caller(address(sidecar), OTHER_KEY) as curious:
        assert search(curious, "action", {"subject": RIE, "resource": NOTICE}).status == 403
    with Caller(address(sidecar), None) as stranger:
        assert search(stranger, "action", {"subject": RIE, "resource": NOTICE}).status == 401


def test_search_knows_who_has_come_and_gone(sandbox: Sandbox, app: Caller) -> None:
    def there(name: str) -> bool:
        page = {"page": {"limit": 1}}
        return name in found(search(app, "subject", {**people(**NOTES), **page}))

    sandbox.subject("aaron")
    wait_for(lambda: there("aaron"), "somebody new")
    (sandbox.folder / "policy/subjects/aaron.json").unlink()
    wait_for(lambda: not there("aaron"), "the end of a record")
    sandbox.situation(revocations=[{"kind": "subject", "key": "person-000", "until": int(sandbox.now) + 3600}])
    wait_for(lambda: not there("person-000"), "a revocation")
    sandbox.situation()


def test_search_that_is_killed_starts_again_and_one_that_is_stopped_keeps_no_decision_waiting(
    app: Caller, sidecar: Process
) -> None:
    body = {"subject": RIE, "resource": NOTICE}
    assert found(search(app, "action", body)) == ["delete", "view"]
    (child,) = children(sidecar.process.pid)
    assert os.getpriority(os.PRIO_PROCESS, child) > os.getpriority(os.PRIO_PROCESS, sidecar.process.pid)
    os.kill(child, signal.SIGKILL)

    wait_for(lambda: search(app, "action", body).status == 200, "the next search")
    (child,) = children(sidecar.process.pid)
    os.kill(child, signal.SIGSTOP)
    with Caller(app.where) as other:
        assert other.sock is None
        app.sock.sendall(request(body))
        assert all(other.evaluate(question()).decision for _ in range(20))
    os.kill(child, signal.SIGCONT)
    assert found(app.send(b"")) == ["delete", "view"]


def request(body: Any) -> bytes:

    raw = json.dumps(body).encode()
    head = (
        f"POST {SEARCH}action HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
    )
    return f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_discovery_names_every_endpoint_below_the_identifier(app: Caller) -> None:
    document = app.ask("GET", METADATA).json

    identifier = document.pop("policy_decision_point")
    assert document.pop("access_evaluation_endpoint") == identifier + EVALUATION
    assert document.pop("access_evaluations_endpoint") == identifier + EVALUATIONS
    assert document == {
        f"search_{what}_endpoint": f"{identifier}/access/v1/search/{what}" for what in ("subject", "resource", "action")
    }
