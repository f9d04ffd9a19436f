"""Answers leave after their records, in order, or as denials; what is no decision is not in the log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.bundles import compiled
from tests.fakes.decision_log import FakeDecisionLog
from tests.world import World, situation, subject
from zt_engine.adapters.dev_issuer import DevProver
from zt_engine.core.decision import Decision, Effect
from zt_engine.core.decision_event import EVENT_NAMES
from zt_engine.core.errors import UnavailableError
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.sidecar.app import DecisionApp, Pending
from zt_engine.sidecar.hooks.credentials import Credential, Credentials, key_digest
from zt_engine.sidecar.hooks.denials import Denials
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.meters import Meters, exposition
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.recorder import Numbers, Origin

KEY = b"0123456789abcdef"
PATH = b"/v1/hooks/nginx"


DENIALS = Denials(DeniedPage(registry(), default_language="en"))


class Bench:
    """The application over a real authorizer and a log in memory."""

    def __init__(self, opa: str) -> None:
        self.world = World(compiled(opa))
        self.laptop = self.world.enroll()
        self.world.subjects["tanaka"] = subject()
        self.world.publish()
        self.authorizer = self.world.authorizer()
        self.log = FakeDecisionLog()
        self.meters = Meters()
        credential = Credential(
            name="front",
            hook="nginx",
            channel="open",
            proof="key",
            enforces=("no_store",),
            key_digests=(key_digest(KEY),),
        )
        self.app = DecisionApp(
            hooks=[NginxHook(Credentials([credential]))],
            pages=lambda path, _headers, _names, _uid: b"PAGE" if path == b"/page" else None,
            denials=DENIALS,
            authorizer=self.authorizer,
            decision_log=self.log,
            clock=self.world.clock,
            numbers=Numbers("s-1"),
            meters=self.meters,
            origin=Origin("sidecar-1", "default").members(),
        )
        self.token = self.world.token(bound_to=self.laptop)

    def pending(
        self,
        target: bytes = b"/cases/1",
        *,
        path: bytes = PATH,
        method: bytes = b"GET",
        person: bool = True,
        head: bytes = b"",
        **changes: bytes,
    ) -> Any:
        headers = {
            b"Host": b"zt", b"X-Original-URI": target, b"X-Original-Method": b"GET",
            b"X-Original-Host": b"portal.example", b"X-Original-Proto": b"https", b"X-Original-Port": b"443",
            b"X-Real-IP": b"203.0.113.7", b"Zt-Request-Id": b"r1", b"Zt-Pep-Key": KEY,
        }  # fmt: skip
        if person:
            headers |= {
                b"Authorization": b"Bearer " + self.token,
                b"Zt-Client-Verify": b"SUCCESS",
                b"Zt-Client-Cert": self.laptop.escaped,
            }
        headers |= {name.replace("_", "-").encode(): value for name, value in changes.items()}
        names = tuple(headers)
        headers[b""] = b""
        return self.app.answer(path, method, headers, names, None, head)

    def ask(self, *args: Any, **how: Any) -> bytes:
        (answer,) = self.app.seal([self.pending(*args, **how)])
        return answer

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.lines]


@pytest.fixture
def bench(opa: str) -> Bench:
    return Bench(opa)


def test_an_answer_carries_the_id_of_its_record(bench: Bench) -> None:
    answer = bench.ask()

    (event,) = bench.events()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"Zt-Decision: " + event["decision_id"].encode() + b"\r\n\r\n")
    assert (event["request_id"], event["effect"], event["cache"]) == ("r1", "allow", "miss")


def test_the_answers_of_a_turn_keep_their_order_and_each_has_a_record(bench: Bench) -> None:
    asked = [bench.pending(target) for target in (b"/", b"/cases/1", b"/secret", b"/cases/1")]

    answers = bench.app.seal(asked)

    assert [answer[9:12] for answer in answers] == [b"200", b"200", b"403", b"200"]
    assert [answer.rpartition(b"Zt-Decision: ")[2].strip().decode() for answer in answers] == [
        event["decision_id"] for event in bench.events()
    ]
    assert [event["cache"] for event in bench.events()] == ["miss", "miss", "miss", "hit"]


def test_every_event_has_every_fixed_name(bench: Bench) -> None:
    bench.ask()
    bench.ask(person=False)
    bench.ask(b"/a/../b")
    bench.ask(X_Original_Method=b"get")

    assert [set(event) for event in bench.events()] == 4 * [set(EVENT_NAMES)]


def test_the_input_of_each_distinct_decision_is_stored_once(bench: Bench) -> None:
    for _ in range(3):
        bench.ask()

    digests = {event["input_digest"] for event in bench.events()}
    assert set(bench.log.inputs) == digests
    assert len(digests) == 1
    assert json.loads(next(iter(bench.log.inputs.values())))["subject"]["id"] == "tanaka"


def test_after_a_rotation_a_remembered_decision_is_made_again_so_that_its_input_is_beside_it(bench: Bench) -> None:
    bench.ask()
    real = bench.log.flush

    def rotating() -> None:
        real()
        bench.log.generation += 1
        bench.log.inputs.clear()

    bench.log.flush = rotating  # type: ignore[method-assign]
    bench.ask()
    bench.log.flush = real  # type: ignore[method-assign]

    bench.ask()

    assert [event["cache"] for event in bench.events()] == ["miss", "hit", "miss"]
    assert bench.events()[-1]["input_digest"] in bench.log.inputs


def test_without_the_log_every_answer_of_the_turn_is_a_denial(bench: Bench) -> None:
    bench.log.broken = True

    answers = bench.app.seal([bench.pending(b"/"), bench.pending(path=b"/page"), bench.pending()])

    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 403", b"PAGE", b"HTTP/1.1 403"]
    assert b"Zt-Reason: LOG_UNAVAILABLE" in answers[0]
    assert bench.log.lines == []


def test_when_the_log_is_back_the_input_that_was_not_stored_is_stored(bench: Bench) -> None:
    bench.log.broken = True
    bench.ask()
    bench.log.broken = False

    assert bench.ask()[9:12] == b"200"
    assert bench.events()[0]["input_digest"] in bench.log.inputs


def test_whatever_the_log_raises_denies(bench: Bench) -> None:
    def fails() -> None:
        raise RuntimeError("a fault of ours")

    real, bench.log.flush = bench.log.flush, fails  # type: ignore[method-assign]
    assert bench.ask()[:12] == b"HTTP/1.1 403"

    bench.log.flush = real  # type: ignore[method-assign]
    assert bench.ask()[:12] == b"HTTP/1.1 200"
    assert len(bench.events()) == 1


@pytest.mark.parametrize(
    ("effect", "rank", "sync"),
    [("allow", 299, False), ("allow", 300, True), ("allow", 400, True), ("observe", 300, True), ("deny", 400, False)],
)
def test_a_secret_is_on_the_disk_before_it_is_answered(bench: Bench, effect: str, rank: int, sync: bool) -> None:
    outcome = Outcome(
        Decision(effect=Effect(effect)), head=b"HTTP/1.1 200 OK\r\nZt-Decision: ", members=b'"a":1', rank=rank
    )

    bench.app.seal([Pending(outcome, b"d1", b'"decision_id":"d1"')])

    assert bench.log.synced == int(sync)


def test_a_request_that_cannot_be_read_is_denied_and_in_the_log(bench: Bench) -> None:
    answers = [
        bench.ask(b"/a/../b"),
        bench.ask(Zt_Request_Id=b"not readable"),
        bench.ask(method=b"POST"),
        bench.ask(X_Forwarded_For=b"1.2.3.4"),
    ]

    assert [answer[9:12] for answer in answers] == [b"403"] * 4
    assert [(event["reasons"], event["request_id"], event["host"]) for event in bench.events()] == [
        (["PATH_AMBIGUOUS"], "r1", ""),
        (["REQUEST_ID_INVALID"], "", ""),
        (["HOOK_FRAMING"], "r1", ""),
        (["HEADER_RESERVED"], "", ""),
    ]


def test_a_stranger_is_told_nothing_and_not_logged(bench: Bench) -> None:
    answer = bench.ask(Zt_Pep_Key=b"guess")

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"Zt-Reason: PEP_UNKNOWN" in answer
    assert (bench.log.lines, bench.meters.strangers) == ([], 1)


def test_another_path_is_a_page_or_nothing(bench: Bench) -> None:
    assert bench.ask(path=b"/page") == b"PAGE"
    assert bench.ask(path=b"/v1/hooks/nginx/").startswith(b"HTTP/1.1 404 ")
    assert bench.log.lines == []


def test_who_may_ask_and_what_is_shown_can_be_replaced_between_two_requests(bench: Bench) -> None:
    bench.app.rewire([], lambda _path, _headers, _names, _uid: b"OTHER", DENIALS)

    assert bench.ask() == b"OTHER"


def test_decisions_are_counted_by_effect_reason_and_label(bench: Bench) -> None:
    bench.ask()
    bench.ask()
    bench.ask(b"/secret")
    bench.ask(b"/a/../b")

    text = exposition(bench.meters, {"zt_x": ("A gauge.", lambda: 1.5)}).decode()
    assert 'zt_decisions_total{effect="allow",label="C2",reason=""} 2.0' in text
    assert 'zt_decisions_total{effect="deny",label="C3",reason="NOT_ALLOWED"} 1.0' in text
    assert 'zt_decisions_total{effect="deny",label="",reason="PATH_AMBIGUOUS"} 1.0' in text
    assert 'zt_decision_cache_total{result="hit"} 1.0' in text
    assert "zt_decision_seconds_count 4.0" in text
    assert "zt_x 1.5" in text


def test_a_fault_inside_the_path_is_a_denial_with_a_record(bench: Bench) -> None:
    def fails(*_args: object, **_how: object) -> bytes:
        raise UnavailableError("ENGINE_TRAP", "unreachable")

    class Engine:
        revision = "r"
        evaluate = staticmethod(fails)

        def close(self) -> None: ...

    bench.world.engine = Engine()
    bench.authorizer.activate(bench.world.policy())

    assert b"Zt-Reason: ENGINE_TRAP" in bench.ask()
    assert bench.events()[0]["reasons"] == ["ENGINE_TRAP"]


# -- heads that were read before


def head_of(bench: Bench, number: bytes = b"r1", target: bytes = b"/cases/1", more: bytes = b"") -> bytes:
    return (
        b"GET /v1/hooks/nginx HTTP/1.1\r\nX-Original-URI: %b\r\nZt-Request-Id: %b\r\nAuthorization: Bearer %b%b\r\n\r\n"
        % (target, number, bench.token, more)
    )


def remembered(bench: Bench, **how: Any) -> None:
    """Ask once, with the bytes the request came as."""
    asked = bench.pending(head=head_of(bench), **how)
    assert bench.app.seal([asked])[0].startswith(b"HTTP/1.1 200 ")


def again(bench: Bench, number: bytes = b"r2", uid: int | None = None) -> bytes | None:
    pending = bench.app.repeat(head_of(bench, number), uid)
    return None if pending is None else bench.app.seal([pending])[0]


def test_a_repeated_head_is_answered_alike_and_has_a_record_of_its_own(bench: Bench) -> None:
    remembered(bench)

    answer = again(bench)

    first, second = bench.events()
    assert answer is not None and answer.endswith(second["decision_id"].encode() + b"\r\n\r\n")
    assert (second["request_id"], second["cache"], second["seq"]) == ("r2", "hit", 1)
    apart = ("request_id", "decision_id", "cache", "seq", "prev_hash", "latency_us")
    assert {k: v for k, v in first.items() if k not in apart} == {k: v for k, v in second.items() if k not in apart}


def test_nothing_is_known_of_a_head_that_was_not_read_or_came_from_somebody_else(bench: Bench) -> None:
    assert again(bench) is None
    remembered(bench)

    assert bench.app.repeat(head_of(bench, target=b"/cases/2"), None) is None
    assert bench.app.repeat(head_of(bench, more=b"\r\nX: y"), None) is None
    assert again(bench, uid=0) is None


def test_in_the_next_tick_a_repeated_head_is_decided_anew_without_being_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered(bench)
    monkeypatch.setattr(NginxHook, "read", lambda *_: pytest.fail("it was read"))
    bench.world.clock.advance(5)

    assert b"HTTP/1.1 200 " in (again(bench) or b"")
    assert b"HTTP/1.1 200 " in (again(bench, b"r3") or b"")
    assert [event["cache"] for event in bench.events()] == ["miss", "miss", "hit"]
    assert bench.events()[2]["request_id"] == "r3"


def test_a_repeated_head_of_a_device_that_was_revoked_is_refused(bench: Bench) -> None:
    remembered(bench)
    bench.world.situation = situation(revocations=[{"kind": "device", "key": "laptop-1", "until": None}])
    bench.world.publish()

    answer = again(bench)

    assert answer is not None and b"Zt-Reason: DEVICE_REVOKED" in answer
    assert bench.events()[1]["reasons"] == ["DEVICE_REVOKED"]


def test_a_repeated_head_is_refused_while_the_log_lives_on_its_reserve(bench: Bench) -> None:
    remembered(bench)
    space: Any = bench.authorizer._space
    space.state = "reserve"

    assert b"Zt-Reason: LOG_UNAVAILABLE" in (again(bench) or b"")


def test_when_who_may_ask_has_changed_every_head_is_read_again(bench: Bench) -> None:
    remembered(bench)
    bench.app.rewire([], lambda _path, _headers, _names, _uid: None, DENIALS)

    assert again(bench) is None


def test_a_request_with_a_proof_is_never_a_repeat(bench: Bench) -> None:
    prover = DevProver()
    token = bench.world.token(jkt=prover.jkt)
    proof = prover.prove(token=token, method="GET", url="https://portal.example/", now=bench.world.clock.now())
    pending = bench.pending(
        b"/", person=False, Authorization=b"DPoP " + token, DPoP=proof, head=head_of(bench, more=b"\r\nDPoP: x")
    )

    assert bench.app.seal([pending])[0].startswith(b"HTTP/1.1 200 ")
    assert bench.app.repeat(head_of(bench, more=b"\r\nDPoP: x"), None) is None


def test_without_a_cache_nothing_is_remembered_of_a_head(bench: Bench) -> None:
    bench.authorizer.cache = None
    remembered(bench)

    assert again(bench) is None
