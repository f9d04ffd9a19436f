"""The scenario that PDPs are certified by, as a fixture of our own writing: Basic, Batch, Search and Discovery.

Of the entities and the eight decisions that the scenario names; its requests are made here from those.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.authzen_support import EVALUATION, KEY, METADATA, Caller, Reply, address, office
from tests.peers import ROOT
from tests.sidecar_support import running
from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.bootstrap.authzen_bundle import build_rules

RULES = ("scenario/allow", "scenario/candidates")
TYPES = '\n[[authzen.types]]\ntype = "record"\nentrypoint = "scenario/allow"\ncandidates = "scenario/candidates"\n'
IDENTIFIER = 'identifier = "https://pdp.example"\n'
SEARCH = "/access/v1/search/"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[Caller]:
    rights = {"types": ["record"], "subject_types": ["user"], "searches": True}
    made = office(tmp_path_factory.mktemp("authzen") / "here", opa, {"app": (KEY, rights)}, IDENTIFIER, TYPES)
    folder = ROOT / "tests/fixtures/authzen/scenario"
    made.write("authzen.tar.gz", build_rules(folder, RULES, OpaBinary(Path(opa)), key=made.bundle_key))
    with running(made) as process, Caller(address(process)) as client:
        yield client


def entity(kind: str, name: str | None, **properties: Any) -> dict[str, Any]:
    """A subject or a resource."""
    found: dict[str, Any] = {"type": kind, "id": name, "properties": properties}
    return {key: value for key, value in found.items() if value}


def user(name: str | None = None, **properties: Any) -> dict[str, Any]:
    return {"subject": entity("user", name, **properties)}


def record(number: int | None = None, **properties: Any) -> dict[str, Any]:
    return {"resource": entity("record", f"record-{number}" if number else None, **properties)}


def to(name: str, **properties: Any) -> dict[str, Any]:
    return {"action": {"name": name, **({"properties": properties} if properties else {})}}


ALICE, BOB, ADMIN = user("alice"), user("bob"), user("bob", role="admin")
ARCHIVED = record(2, status="archived")

CORE = [
    (ALICE | to("read") | record(1), True),
    (ALICE | to("write") | record(1), True),
    (BOB | to("read") | record(1), True),
    (BOB | to("write") | record(1), False),
]
PROPERTIES = [
    (ALICE | to("write") | ARCHIVED, False),
    (ADMIN | to("write") | ARCHIVED, True),
    (ALICE | to("delete", soft=True) | record(1), True),
    (ALICE | to("delete", soft=False) | record(1), False),
]
FORWARD = [
    CORE[0][0] | {"context": {"time": "2026-11-27T09:00-07:00", "ip": "192.0.2.7"}},
    user("alice", department="Sales", role="manager")
    | to("read", method="GET")
    | record(1, status="active", owner="bob"),
    CORE[0][0] | {"foo": "bar", "futureField": {"nested": True}},
]


@pytest.mark.parametrize(("body", "expected"), [*CORE, *PROPERTIES, *((body, True) for body in FORWARD)])
def test_basic_the_eight_decisions_hold_each_time(app: Caller, body: Any, expected: bool) -> None:
    replies = [app.evaluate(body, headers=[("X-Request-ID", f"r-{number}")]) for number in range(3)]

    assert [reply.decision for reply in replies] == [expected] * 3
    assert [reply.headers["x-request-id"] for reply in replies] == ["r-0", "r-1", "r-2"]
    assert {reply.headers["content-type"] for reply in replies} == {"application/json"}
    assert all(isinstance(reply.json.get("context", {}), dict) for reply in replies)


def test_basic_a_question_without_a_part_or_of_another_shape_is_a_400(app: Caller) -> None:
    good = CORE[0][0]
    wrong: list[Any] = [{key: value for key, value in good.items() if key != gone} for gone in good]
    wrong += [
        good | {part: {key: value for key, value in good[part].items() if key != gone}}
        for part, gone in (("subject", "type"), ("subject", "id"), ("action", "name"), ("resource", "type"),
                           ("resource", "id"))
    ]  # fmt: skip
    wrong += [good | {"subject": "alice"}, good | to(123), [good], b"", b"{"]  # type: ignore[arg-type]

    assert [app.evaluate(body).status for body in wrong] == [400] * len(wrong)
    assert app.ask("POST", EVALUATION, b"{}", content="text/plain").status == 400


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (ALICE | to("read") | {"evaluations": [record(1), record(2)]}, [True, True]),
        (BOB | record(1) | {"evaluations": [to("read"), to("write")]}, [True, False]),
        ({"evaluations": [CORE[0][0], CORE[3][0]]}, [True, False]),
        (
            ALICE | to("read") | {"context": {"time": "1"},
                                  "evaluations": [record(1), record(2) | {"context": {"source": "other"}}]},
            [True, True],
        ),
        (ALICE | to("write") | {"evaluations": [record(1, status="active"), ARCHIVED]}, [True, False]),
        (to("write") | ARCHIVED | {"evaluations": [ALICE, ADMIN]}, [False, True]),
        (ALICE | to("read") | {"evaluations": [record(1), {}]}, [True, False]),
    ],
)  # fmt: skip
def test_batch_every_item_is_decided_in_its_place(app: Caller, body: Any, expected: list[bool]) -> None:
    reply = app.batch(body)

    assert reply.decisions == expected and "decision" not in reply.json


@pytest.mark.parametrize("more", [{}, {"evaluations": []}])
def test_batch_without_items_is_the_question_itself(app: Caller, more: Any) -> None:
    assert app.batch(CORE[0][0] | more).decision is True


def searched(app: Caller, what: str, body: Any) -> list[Any]:
    reply: Reply = app.post(SEARCH + what, body)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    page = reply.json.get("page", {"next_token": ""})
    assert isinstance(page["next_token"], str)
    return list(reply.json["results"])


@pytest.mark.parametrize("more", [{}, {"context": {"ip": "192.0.2.7"}}])
def test_search_finds_whom_what_and_how_the_rules_permit(app: Caller, more: Any) -> None:
    subjects = searched(app, "subject", user() | to("read") | record(1) | more)
    resources = searched(app, "resource", ALICE | to("read") | record() | more)
    actions = searched(app, "action", ALICE | record(1) | more)

    assert [(item["type"], item["id"]) for item in subjects] == [("user", "alice"), ("user", "bob")]
    assert [(item["type"], item["id"]) for item in resources] == [("record", "record-1"), ("record", "record-2")]
    assert [item["name"] for item in actions] == ["read", "write"]


def test_search_reads_the_properties_that_are_said(app: Caller) -> None:
    assert [item["id"] for item in searched(app, "subject", user() | to("write") | ARCHIVED)] == ["bob"]
    assert [item["id"] for item in searched(app, "resource", ADMIN | to("write") | record())] == ["record-2"]
    assert [item["name"] for item in searched(app, "action", ADMIN | ARCHIVED)] == ["read", "write"]


def test_search_goes_on_where_a_page_ended(app: Caller) -> None:
    asked = user() | to("read") | record(1)
    first = app.post(SEARCH + "subject", asked | {"page": {"limit": 1}}).json
    second = app.post(SEARCH + "subject", asked | {"page": {"limit": 1, "token": first["page"]["next_token"]}}).json

    assert [item["id"] for item in itertools.chain(first["results"], second["results"])] == ["alice", "bob"]
    assert first["page"]["next_token"] and not second["page"]["next_token"]


def test_search_of_what_nobody_knows_finds_nothing_and_of_what_is_no_search_is_a_400(app: Caller) -> None:
    assert searched(app, "action", user("nobody") | record(1)) == []
    assert searched(app, "subject", {"subject": {"type": "spaceship"}} | to("read") | record(1)) == []
    assert searched(app, "resource", ALICE | to("read") | {"resource": {"type": "spaceship"}}) == []
    for what, body in (
        ("subject", user() | record(1)), ("resource", to("read") | record()), ("action", ALICE),
        ("subject", user() | to("read") | record()), ("resource", user() | to("read") | record()),
    ):  # fmt: skip
        assert app.post(SEARCH + what, body).status == 400


def test_discovery_leads_to_every_endpoint(app: Caller) -> None:
    reply = app.ask("GET", METADATA)

    document = reply.json
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    base = document["policy_decision_point"]
    assert base == "https://pdp.example"
    endpoints = [value for name, value in document.items() if name.endswith("_endpoint")]
    assert len(endpoints) == 5 and all(value.startswith(f"{base}/access/v1/") for value in endpoints)
