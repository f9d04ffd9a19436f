"""AuthZEN inside one process: rights, memory, the log. Everything is real but time, sockets and the rule's engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.authzen_support import CASE, question
from tests.bundles import compiled
from tests.fakes.decision_log import FakeDecisionLog
from tests.fakes.rule import FakeRule
from tests.world import ISSUER, NOW, World, situation, subject
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.issuer import IssuerMapping, Source
from zt_engine.pages.registry import registry
from zt_engine.sidecar.authzen.answering import Answering
from zt_engine.sidecar.authzen.app import AuthzenApp
from zt_engine.sidecar.authzen.evaluation import Evaluator
from zt_engine.sidecar.authzen.jobs import Found, Hit, Job, read_found, read_message
from zt_engine.sidecar.authzen.jobs import packed as written
from zt_engine.sidecar.authzen.metadata import EVALUATION, EVALUATIONS, SEARCHES
from zt_engine.sidecar.authzen.pages import Pages
from zt_engine.sidecar.authzen.pending import Asked, Pending
from zt_engine.sidecar.authzen.peps import Pep, Peps
from zt_engine.sidecar.authzen.principals import StatedPrincipals
from zt_engine.sidecar.authzen.rules import ResourceType, Rules
from zt_engine.sidecar.authzen.searches import Searches
from zt_engine.sidecar.authzen.wire import Batch, read_batch, read_body, read_question, read_search
from zt_engine.sidecar.hooks.credentials import key_digest
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.recorder import Numbers

KEY = b"k" * 40
ALL: dict[str, Any] = {
    "hosts": frozenset({"portal.example"}), "services": frozenset({"pilot"}), "types": frozenset({"record"}),
    "subject_types": frozenset({"user", "workload", "anonymous"}), "amr": frozenset({"hwk", "pwd", "user"}),
    "acr": frozenset({"phr"}), "enforces": ("no_store", "notify"), "searches": True,
    "statements": frozenset({"auth_time", "device_id", "binding", "ip_address"}),
}  # fmt: skip
RECORD = {"type": "record", "id": "1"}
PUBLIC_NOTE = "https://portal.example/notes/1"


def pep(**rights: Any) -> Pep:
    return Pep(name="app", proof="key", key_digests=(key_digest(KEY),), **rights)


class FakeSeeker:
    """Finds what it is told to find."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.more, self.code, self.down = False, "", False

    async def find(self, job: Job) -> Found:
        if self.down:
            raise UnavailableError("AUTHZEN_SEARCH_DOWN", "down")
        hits = [Hit(name, {}) for name in self.found]
        return Found(job.number, hits, after="z", more=self.more, code=self.code)


class Bench:
    """An application over a world."""

    def __init__(self, bundle: bytes, *, cache_entries: int = 1000, caller: Pep | None = None) -> None:
        self.world = World(bundle)
        self.world.enroll()
        self.world.subjects["tanaka"] = subject()
        self.world.publish()
        self.log = FakeDecisionLog()
        self.authorizer = self.world.authorizer(cache_entries=cache_entries)
        self.rule = FakeRule()
        self.rules = Rules({"record": ResourceType("records/allow")})
        self.rules.activate(self.rule, "0" * 64)
        self.mapping = IssuerMapping()
        self.seeker = FakeSeeker()
        meters, clock = Meters(), self.world.clock
        answering = Answering(
            self.evaluator(), registry(), clock=clock, numbers=Numbers("s"), meters=meters,
            origin=b'"sidecar":"s","tenant":"t"',
        )  # fmt: skip
        self.app = AuthzenApp(
            peps=Peps([caller or pep(**ALL)]),
            answering=answering,
            searches=Searches(self.seeker, Pages(b"p" * 32), self.world.replica, seconds=1),
            authorizer=self.authorizer,
            journal=self.log,
            meters=meters,
            metadata=b"{}",
        )

    def evaluator(self) -> Evaluator:
        self.principals = StatedPrincipals(
            mappings={ISSUER: self.mapping}, home=ISSUER, replica=self.world.replica,
            holds=self.authorizer._principals.holds, tick_seconds=5,
        )  # fmt: skip
        return Evaluator(
            self.authorizer, self.principals, self.rules, replica=self.world.replica, space=self.log, home=ISSUER,
            path_key=b"k" * 32,
        )  # fmt: skip

    def asked(self, body: Any, path: bytes = EVALUATION, number: str = "n") -> Asked:
        raw = json.dumps(body).encode()
        headers = {b"content-type": b"application/json", b"zt-pep-key": KEY, b"x-request-id": number.encode()}
        whole = b"POST %b HTTP/1.1\r\nX-Request-ID: %b\r\n\r\n%b" % (path, number.encode(), raw)
        return Asked(path, b"POST", headers, raw, (), whole)

    def pending(self, body: Any, path: bytes = EVALUATION, number: str = "n") -> Pending:
        asked = self.asked(body, path, number)
        answer = self.app.repeat(asked.raw, ()) or self.app.answer(asked)
        return answer if isinstance(answer, Pending) else asyncio.run(answer)

    def ask(self, body: Any, path: bytes = EVALUATION, number: str = "n") -> Any:
        (response,) = self.app.seal([self.pending(body, path, number)])
        head, _, rest = response.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), response
        assert f"Content-Length: {len(rest)}".encode() in head
        return json.loads(rest)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.lines]


@pytest.fixture
def bench(opa: str) -> Bench:
    return Bench(compiled(opa))


def asked(resource: Any = CASE, **said: Any) -> dict[str, Any]:
    return question(resource, now=NOW, **said)


# -- rights


@st.composite
def rights(draw: st.DrawFn) -> dict[str, Any]:
    """Some of all rights."""
    some: dict[str, Any] = {}
    for name, value in ALL.items():
        if isinstance(value, frozenset):
            some[name] = frozenset(draw(st.sets(st.sampled_from(sorted(value)))))
        else:
            some[name] = draw(st.sampled_from([value, type(value)()]))
    return some


STATED = st.fixed_dictionaries(
    {},
    optional={
        "amr": st.lists(st.sampled_from(["hwk", "pwd", "otp"]), max_size=2) | st.just("hwk"),
        "acr": st.sampled_from(["phr", "phrh", "", None, 3]),
        "auth_time": st.sampled_from([NOW - 60, NOW + 5000, -1, True, 1.5, None]),
        "device_id": st.sampled_from(["laptop-1", "laptop-2", "", None]),
        "binding": st.sampled_from(["mtls", "dpop", "none", "session", 1]),
        "ip_address": st.sampled_from(["203.0.113.7", "x", None, ""]),
        "department": st.text(max_size=3),
    },
)
RESOURCES = st.sampled_from(
    [
        {"type": "http", "id": CASE},
        {"type": "http", "id": "https://portal.example/"},
        {"type": "http", "id": "https://pilot.example/x"},
        {"type": "route", "id": "https://portal.example/notes/*"},
        RECORD,
        {"type": "other", "id": "1"},
    ]
)


def is_granted(granted: Mapping[str, Any], subject_type: str, said: Mapping[str, Any], resource: Any) -> bool:
    """What a caller may say, written down a second time and in another way."""
    if subject_type not in granted["subject_types"]:
        return False
    if resource["type"] in ("http", "route"):
        host = resource["id"].split("/")[2]
        if host not in granted["hosts"] and not (host == "pilot.example" and "pilot" in granted["services"]):
            return False
    elif resource["type"] not in granted["types"]:
        return False
    amr, acr = said.get("amr", []), said.get("acr")
    if not isinstance(amr, list) or not set(amr) <= granted["amr"]:
        return False
    if "acr" in said and acr not in granted["acr"]:
        return False
    return all(name in granted["statements"] for name in ALL["statements"] if name in said)


@pytest.fixture(scope="module")
def shared(opa: str) -> Bench:
    return Bench(compiled(opa))


@given(granted=rights(), said=STATED, resource=RESOURCES, subject_type=st.sampled_from(["user", "anonymous", "robot"]))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_invariant_14_nothing_is_permitted_that_takes_more_than_a_caller_may_say(
    shared: Bench, granted: Mapping[str, Any], said: Mapping[str, Any], resource: Any, subject_type: str
) -> None:
    body = {
        "subject": {"type": subject_type, "id": "tanaka", "properties": said},
        "resource": resource,
        "action": {"name": "GET"},
    }
    evaluator, caller = shared.evaluator(), pep(**granted)
    asking = read_question(body)

    done = evaluator.decide(caller, asking, NOW, "n")
    again = evaluator.decide(caller, asking, NOW, "n")

    assert again.outcome.decision == done.outcome.decision
    if done.outcome.decision.opens:
        assert is_granted(granted, subject_type, said, resource)
        duties = {duty.id for duty in done.outcome.decision.obligations}
        assert duties <= {*granted["enforces"], "no_store", "read_only", "notify_owner"}


@given(said=STATED, dropped=st.sampled_from(["amr", "acr", "auth_time", "device_id", "ip_address"]), resource=RESOURCES)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_saying_less_never_permits_more(shared: Bench, said: dict[str, Any], dropped: str, resource: Any) -> None:
    """INVARIANT: withholding evidence never improves a decision; what was said wrongly is no evidence."""
    evaluator, caller = shared.evaluator(), pep(**ALL)
    less = {name: value for name, value in said.items() if name != dropped}
    if dropped == "device_id":
        less.pop("binding", None)

    def permits(properties: Mapping[str, Any]) -> tuple[bool, tuple[str, ...]]:
        body = asked(resource)
        body["subject"]["properties"] = properties
        decision = evaluator.decide(caller, read_question(body), NOW, "n").outcome.decision
        return decision.opens, decision.reasons

    opens, reasons = permits(said)
    if not opens and reasons[0] not in ("AUTHZEN_STATEMENT", "ADDRESS_INVALID", "DEVICE_UNKNOWN"):
        assert not permits(less)[0]


def test_what_only_a_token_says_is_absent_and_a_directory_that_keeps_no_status_vouches_for_nobody(bench: Bench) -> None:
    bench.mapping = IssuerMapping(sources={"status": Source("claim", ("status",))})
    bench.app.rewire(Peps([pep(**ALL)]), bench.evaluator())

    assert bench.ask(asked())["context"]["reason"] == "SUBJECT_INACTIVE"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"status": "inactive"}, "SUBJECT_INACTIVE"),
        ({"type": "workload"}, "SUBJECT_MISMATCH"),
        ({"clearance": 0, "status": "active"}, ""),
    ],
)
def test_the_record_says_who_somebody_is(bench: Bench, changed: dict[str, Any], reason: str) -> None:
    bench.world.subjects["tanaka"] = subject(**changed)
    bench.world.publish()

    answer = bench.ask(asked())

    assert answer["context"].get("reason", "") == reason


# -- memory


def test_a_question_is_remembered_and_its_memory_ends_with_what_it_rests_on(bench: Bench) -> None:
    assert bench.ask(asked())["decision"] is True
    assert bench.ask(asked(), number="again")["decision"] is True
    assert [event["cache"] for event in bench.events] == ["miss", "hit"]

    bench.world.situation = situation(revocations=[{"kind": "device", "key": "laptop-1", "until": NOW + 60}])
    bench.world.publish()

    denied = bench.ask(asked(), number="third")
    assert (denied["decision"], denied["context"]["reason"]) == (False, "DEVICE_REVOKED")
    assert [event["request_id"] for event in bench.events] == ["n", "again", "third"]


def test_after_a_tick_a_remembered_question_is_decided_anew_at_its_own_time(bench: Bench) -> None:
    bench.ask(asked())
    bench.world.clock.advance(6)

    assert bench.ask(asked())["decision"] is True
    assert bench.events[-1]["cache"] == "miss"
    bench.world.clock.advance(86_500)  # the sign-in and the report are old by now
    assert bench.ask(asked())["decision"] is False


def test_a_rule_is_asked_once_until_the_bundle_changes(bench: Bench) -> None:
    for _ in range(3):
        assert bench.ask(asked(RECORD))["decision"] is True
    assert bench.rule.asked == 1

    bench.rules.activate(FakeRule(said=False), "1" * 64)
    assert bench.ask(asked(RECORD))["decision"] is False


def test_what_a_rule_was_asked_is_recorded_as_a_keyed_digest_and_not_kept(bench: Bench) -> None:
    for record in (RECORD, RECORD, {**RECORD, "id": "2"}):
        bench.ask(asked(record))

    first, again, other = [event["input_digest"] for event in bench.events[-3:]]
    assert first == again != other and len(first) == 64
    assert bench.log.inputs == {}


def test_somebody_revoked_is_denied_whatever_a_rule_says_and_said(bench: Bench) -> None:
    assert bench.ask(asked(RECORD))["decision"] is True
    bench.world.situation = situation(revocations=[{"kind": "subject", "key": "tanaka", "until": NOW + 60}])
    bench.world.publish()

    assert bench.ask(asked(RECORD))["context"]["reason"] == "SUBJECT_REVOKED"


def test_what_is_remembered_of_somebody_is_never_another_persons_after_a_reload(bench: Bench) -> None:
    bench.world.subjects["suzuki"] = subject("suzuki", clearance=0, status="active")
    bench.world.publish()
    first = read_question(asked(PUBLIC_NOTE))
    other = read_question(asked(PUBLIC_NOTE, subject="suzuki", amr=["pwd"], acr=None, device_id=None, binding=None))
    before, after = bench.evaluator(), bench.evaluator()

    one = before.decide(pep(**ALL), first, NOW, "n").outcome
    two = after.decide(pep(**ALL), other, NOW, "n").outcome

    assert one is not two
    assert b'"subject":"suzuki"' in two.members


# -- rules


@pytest.mark.parametrize(
    ("said", "decision", "reason"),
    [
        (True, True, None),
        (False, False, "AUTHZEN_DENIED"),
        ({"decision": True}, True, None),
        ({"decision": True, "context": {"x": 1}}, True, None),
        ({"decision": True, "context": {"obligations": [{"type": "notify"}]}}, True, None),
        ({"decision": True, "context": {"obligations": ["notify"]}}, True, None),
        ({"decision": True, "context": {"obligations": [{"type": "shred"}]}}, False, "OBLIGATION_UNENFORCEABLE"),
        ({"decision": True, "context": {"obligations": {"type": "notify"}}}, False, "AUTHZEN_RULE"),
        ({"decision": True, "context": {"obligations": [{}]}}, False, "AUTHZEN_RULE"),
        ({"decision": True, "context": []}, False, "AUTHZEN_RULE"),
        ({"decision": True, "more": 1}, False, "AUTHZEN_RULE"),
        ({"decision": "true"}, False, "AUTHZEN_RULE"),
        ({"decision": 1}, False, "AUTHZEN_RULE"),
        ({"allow": True}, False, "AUTHZEN_RULE"),
        ("true", False, "AUTHZEN_RULE"),
        (1, False, "AUTHZEN_RULE"),
        (None, False, "AUTHZEN_RULE"),
        ([True], False, "AUTHZEN_RULE"),
        (UnavailableError("ENGINE_UNDEFINED", ""), False, "AUTHZEN_DENIED"),
        (UnavailableError("ENGINE_TIMEOUT", ""), False, "ENGINE_TIMEOUT"),
        (ValueError("broken"), False, "INTERNAL_ERROR"),
    ],
)
def test_a_rule_says_yes_in_one_way_only(bench: Bench, said: Any, decision: bool, reason: str | None) -> None:
    bench.rule.said = said

    answer = bench.ask(asked(RECORD))

    assert (answer["decision"], answer["context"].get("reason")) == (decision, reason)
    assert bench.events[-1]["effect"] == ("allow" if decision else "deny")


def test_a_rule_cannot_put_another_id_in_the_place_of_the_decisions(bench: Bench) -> None:
    bench.rule.said = {"decision": True, "context": {"id": "forged", "note": "x"}}

    answer = bench.ask(asked(RECORD))

    assert answer["context"] == {"id": bench.events[-1]["decision_id"], "note": "x"}


def test_without_a_bundle_or_with_a_log_that_is_full_rules_permit_nothing(bench: Bench) -> None:
    bench.log.state = "reserve"
    assert bench.ask(asked(RECORD))["context"]["reason"] == "LOG_UNAVAILABLE"
    bench.log.state = "ok"
    bench.rules._engine = None
    assert bench.ask(asked(RECORD))["context"]["reason"] == "NOT_READY"


# -- the log


def batch_of(count: int) -> dict[str, Any]:
    return {**asked(), "evaluations": [{}] * count}


def test_without_the_log_nothing_is_permitted_whatever_was_decided(bench: Bench) -> None:
    bench.ask(asked())
    bench.log.broken = True

    single, repeated = bench.ask(asked(CASE + "2")), bench.ask(asked())
    several = bench.ask(batch_of(3), EVALUATIONS)["evaluations"]
    bench.seeker.found = ["tanaka"]
    search = {"subject": {"type": "user"}, "resource": RECORD, "action": {"name": "view"}}
    (path,) = [path for path, what in SEARCHES.items() if what == "subject"]

    assert [answer["decision"] for answer in (single, repeated, *several)] == [False] * 5
    assert {answer["context"]["reason"] for answer in (single, repeated, *several)} == {"LOG_UNAVAILABLE"}
    assert bench.ask(search, path)["results"] == []
    assert len(bench.events) == 1


def test_a_caller_without_context_is_told_no_more_by_a_log_that_fails(opa: str) -> None:
    blind = Bench(compiled(opa), caller=pep(**{**ALL, "enforces": ()}, context=False))
    blind.log.broken = True

    assert blind.ask(asked(RECORD)) == {"decision": False}
    assert blind.ask({**asked(RECORD), "evaluations": [{}, {}]}, EVALUATIONS) == {
        "evaluations": [{"decision": False}] * 2
    }


def test_what_was_decided_for_another_file_of_the_log_is_decided_again_for_this_one(bench: Bench) -> None:
    bench.ask(asked())
    pending = [bench.pending(asked()), bench.pending(asked(CASE + "3"))]
    bench.log.generation += 1  # somebody else's flush began another file
    bench.log.inputs.clear()

    responses = bench.app.seal(pending)

    assert all(b'"decision":true' in response for response in responses)
    digests = {event["input_digest"] for event in bench.events[1:]}
    assert digests <= set(bench.log.inputs)


def test_every_item_of_a_batch_that_was_decided_is_recorded_and_no_other(bench: Bench) -> None:
    bench.rule.said = False
    body = {**batch_of(4), "resource": RECORD, "options": {"evaluations_semantic": "deny_on_first_deny"}}

    answer = bench.ask(body, EVALUATIONS)

    assert [item["decision"] for item in answer["evaluations"]] == [False]
    assert len(bench.events) == 1


# -- searches


def test_what_a_search_finds_is_decided_once_more_before_it_is_told(bench: Bench) -> None:
    bench.seeker.found = ["suzuki", "tanaka"]
    body = {**asked(), "subject": {**asked()["subject"]}}

    answer = bench.ask(body, b"/access/v1/search/subject")

    assert [item["id"] for item in answer["results"]] == ["tanaka"]
    assert [event["effect"] for event in bench.events] == ["deny", "allow"]


def test_a_search_that_is_down_is_a_503_and_one_that_failed_inside_found_nothing(bench: Bench) -> None:
    bench.seeker.code = "NOT_READY"
    assert bench.ask(asked(), b"/access/v1/search/action")["context"] == {"reason_admin": {"403": "NOT_READY"}}
    bench.seeker.down = True
    assert bench.pending(asked(), b"/access/v1/search/action").response.startswith(b"HTTP/1.1 503")


def test_a_page_token_ends_and_cannot_be_made_up() -> None:
    pages, caller, path = Pages(b"k" * 32), pep(**ALL), b"/access/v1/search/action"
    token = pages.write(caller, path, {"a": 1}, after="x", now=NOW)

    def read(text: str, *, key: bytes = b"k" * 32, now: float = NOW, body: Any = None) -> str | None:
        return Pages(key).read(caller, path, {"a": 1, **(body or {}), "page": {"token": text}}, now=now).after

    assert read(token) == "x"
    for wrong in (
        lambda: read(token, key=b"o" * 32), lambda: read(token, now=NOW + 601), lambda: read(token, body={"a": 2}),
        lambda: read(token[:-1]), lambda: read(token + "A"), lambda: read("A" + token[1:]), lambda: read("=" * 8),
    ):  # fmt: skip
        with pytest.raises(InputError):
            wrong()


# -- what the two processes tell each other


def messages(world: World) -> Iterator[bytes]:
    body = read_body(json.dumps(asked()).encode())
    job = Job(
        number=1, pep=pep(**ALL), search=read_search(body, "subject"), device=world.replica.devices["laptop-1"],
        after=None, limit=3, now=1.0, seconds=2.0,
    )  # fmt: skip
    yield written(job)


def test_a_message_comes_out_as_it_went_in(bench: Bench) -> None:
    for raw in messages(bench.world):
        message = read_message(raw[4:])

        assert int.from_bytes(raw[:4]) == len(raw) - 4
        assert isinstance(message, Job)
        assert (message.pep, message.search.subject.id) == (pep(**ALL), "")
        assert message.device is not None
        assert message.device.facts["disk.encrypted"].value is True
    found = Found(3, [Hit("a", {"b": [1]})], after="a", more=True)
    assert read_found(written(found)[4:]) == found


def test_a_callers_key_is_in_no_message_and_no_text() -> None:
    caller = pep(**ALL)

    assert KEY not in msgspec.msgpack.encode(caller)
    assert KEY.decode() not in repr(caller) + repr(Peps([caller]))


# -- reading


NAMES = st.sampled_from(["subject", "resource", "action", "context", "evaluations", "options", "type", "id", "name"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(), inner, max_size=5),
    max_leaves=25,
)


@given(VALUES)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_every_object_is_a_question_a_batch_or_a_refusal_of_ours(value: Any) -> None:
    try:
        body = read_body(json.dumps(value).encode("utf-8", "surrogatepass"))
        read = read_batch(body)
    except InputError as error:
        assert error.code == "AUTHZEN_BODY"
        return
    assert isinstance(read, Batch) or (read.subject.type == body["subject"]["type"])
