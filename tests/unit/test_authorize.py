"""The path from a request to an outcome: what is decided, remembered, refused and written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.bundles import compiled
from tests.world import ISSUER, NOW, World, situation, subject
from zt_engine.adapters.dev_issuer import DevCertificate
from zt_engine.core.decision import Effect
from zt_engine.core.decision_cache import PROJECTED
from zt_engine.core.errors import UnavailableError
from zt_engine.sidecar.authorize import Answer, Authorizer, Memory
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.principals import Principals
from zt_engine.sidecar.targets import Place

CASE = "https://portal.example/cases/1"
PUBLIC = "https://portal.example/"


class Bench:
    """A world with tanaka on her laptop, and one authorizer."""

    def __init__(self, opa: str) -> None:
        self.world = World(compiled(opa))
        self.laptop: DevCertificate = self.world.enroll()
        self.world.subjects["tanaka"] = subject(version=7)
        self.world.publish()
        self.authorizer = self.world.authorizer()
        self.token = self.world.token(bound_to=self.laptop)

    def ask(self, url: str = CASE, **how: Any) -> Answer:
        request = self.world.request(url, **{"token": self.token, "certificate": self.laptop, **how})
        return self.authorizer.decide(request, self.world.clock.now())

    @property
    def space(self) -> Any:
        return self.authorizer._space

    def decided(self, url: str = CASE, **how: Any) -> Outcome:
        return self.ask(url, **how)[0]


@pytest.fixture
def bench(opa: str) -> Bench:
    return Bench(opa)


def event(outcome: Outcome) -> dict[str, Any]:
    return json.loads(b"{" + outcome.members + b"}")


# -- what is decided --------------------------------------------------------------------------------------------------


def test_a_person_on_her_healthy_laptop_reads_a_case_and_the_event_says_from_what(bench: Bench) -> None:
    outcome = bench.decided()

    said = event(outcome)
    assert outcome.decision.effect is Effect.ALLOW
    assert (said["subject"], said["device"], said["label"], said["effect"]) == ("tanaka", "laptop-1", "C2", "allow")
    assert (said["obligations"], said["threshold"], said["trust"]) == ([{"id": "no_store"}], 60, 90)
    assert {"bundle", "catalogue", "trust", "situation", "device", "subject"} == set(said["versions"])
    assert (said["versions"]["device"], said["versions"]["subject"]) == (1, 7)
    assert said["input_digest"] == outcome.digest
    assert outcome.head.startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_score_in_the_event_is_the_one_the_policy_saw(bench: Bench) -> None:
    outcome = bench.decided()

    seen = json.loads(outcome.document)
    assert event(outcome)["trust"] == seen["trust"]["score"]
    assert event(outcome)["pillars"] == seen["trust"]["pillars"]


def test_without_a_sign_in_one_is_asked_for(bench: Bench) -> None:
    outcome = bench.decided(token=b"", certificate=None)

    assert (outcome.decision.effect, outcome.decision.reasons[0]) == (Effect.STEP_UP, "AUTH_REQUIRED")
    assert b'WWW-Authenticate: Bearer realm="zt"' in outcome.head


def test_a_weak_sign_in_is_asked_to_be_stronger(bench: Bench) -> None:
    weak = bench.world.token(bound_to=bench.laptop, acr="pwd", amr=["pwd"])

    head = bench.decided(token=weak).head

    assert b'error="insufficient_user_authentication"' in head
    assert b'acr_values="phr"' in head
    assert b'max_age="3600"' in head


def test_a_stale_device_is_asked_to_report(bench: Bench) -> None:
    record = bench.world.devices["laptop-1"]
    stale = msgspec.structs.replace(record, report_received_at=record.report_received_at - 100_000)
    bench.world.devices["laptop-1"] = stale
    bench.world.publish()

    outcome = bench.decided()

    assert (outcome.decision.effect, outcome.decision.reasons[0]) == (Effect.DENY, "REPORT_NOW")


def test_a_service_the_bundle_does_not_know_is_answered_by_the_other_layers(bench: Bench) -> None:
    text = bench.world.catalogue_text.decode()
    bench.world.catalogue_text = (text + text[text.index("  pilot:") :].replace("pilot", "novel")).encode()
    bench.authorizer.activate(bench.world.policy())

    outcome = bench.decided("https://novel.example/x")

    assert json.loads(outcome.document)["resource"]["service"] == "novel"
    assert outcome.decision.effect is Effect.ALLOW


def test_a_request_over_a_channel_that_the_service_does_not_serve_is_refused(bench: Bench) -> None:
    assert bench.decided(channel="lgwan").decision.reasons == ("CHANNEL_NOT_SERVED",)


def test_an_assertion_is_made_only_where_the_route_asks_for_one(bench: Bench) -> None:
    made = bench.authorizer._deliberation
    made._assert_for = lambda case, label, _trust: f"for-{case.principal.subject.id}-{label.code}"
    assert b"Zt-Assertion: \r\n" in bench.decided().head

    text = bench.world.catalogue_text.decode().replace("POST], label: C2}", "POST], label: C2, assertion: true}")
    bench.world.catalogue_text = text.encode()
    bench.authorizer.activate(bench.world.policy())

    assert b"Zt-Assertion: for-tanaka-C2\r\n" in bench.decided().head


# -- what is refused before policy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "code", "status"),
    [
        ({"token": b"not.a.token"}, "TOKEN_MALFORMED", b"401"),
        ({"scheme": b"Basic"}, "TOKEN_SCHEME", b"401"),
        ({"client_cert": b"nonsense"}, "CERT_MALFORMED", b"403"),
        ({"url": "https://nobody.example/"}, "HOST_UNKNOWN", b"403"),
    ],
)
def test_a_refusal_before_policy_has_its_own_code_and_no_input(
    bench: Bench, how: dict[str, Any], code: str, status: bytes
) -> None:
    outcome = bench.decided(**how)

    said = event(outcome)
    assert outcome.decision.reasons == (code,)
    assert outcome.head.startswith(b"HTTP/1.1 " + status)
    assert (said["reasons"], said["input_digest"], said["threshold"], said["trust"]) == ([code], None, None, None)


def test_the_event_of_a_revoked_device_says_which_device_and_whose_token_it_was(bench: Bench) -> None:
    bench.world.situation = situation(revocations=[{"kind": "device", "key": "laptop-1", "until": None}])
    bench.world.publish()

    outcome, _, place, _ = bench.ask()

    said = event(outcome)
    assert (said["reasons"], said["subject"], said["device"]) == (["DEVICE_REVOKED"], "tanaka", "laptop-1")
    assert (said["label"], json.loads(b"{" + place + b"}")["route"]) == ("C2", "/cases/{case_id}")


def test_the_event_of_somebody_whom_the_directory_does_not_have_says_the_sub_of_their_token(bench: Bench) -> None:
    said = event(bench.decided(token=bench.world.token("00u-of-the-provider")))

    assert (said["reasons"], said["subject"]) == (["SUBJECT_UNKNOWN"], "00u-of-the-provider")


def test_the_event_of_a_failing_engine_says_who_was_refused(bench: Bench) -> None:
    class Failing:
        revision = "r"

        def evaluate(self, _entrypoint: str, _document: bytes) -> bytes:
            raise UnavailableError("ENGINE_TIMEOUT", "too slow")

        def close(self) -> None: ...

    bench.world.engine = Failing()
    bench.authorizer.activate(bench.world.policy())

    said = event(bench.decided())

    assert (said["reasons"], said["subject"], said["device"], said["label"]) == (
        ["ENGINE_TIMEOUT"], "tanaka", "laptop-1", "C2",
    )  # fmt: skip


def test_before_the_first_policy_or_record_nothing_is_decided(bench: Bench) -> None:
    fresh = bench.world.authorizer()
    fresh._policy = None
    assert bench.world.decide(fresh, bench.world.request()).decision.reasons == ("NOT_READY",)

    fresh.activate(bench.world.policy())
    bench.world.replica.situation = None

    assert bench.world.decide(fresh, bench.world.request()).decision.reasons == ("NOT_READY",)


def test_a_policy_past_its_time_decides_nothing(bench: Bench) -> None:
    policy = bench.world.policy()
    bench.authorizer.activate(msgspec.structs.replace(policy, not_after=int(bench.world.clock.now()) + 10))
    assert bench.decided().decision.effect is Effect.ALLOW

    bench.world.clock.advance(10)

    assert bench.decided().decision.reasons == ("BUNDLE_EXPIRED",)


# -- the log's space --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["reserve", "unavailable"])
def test_while_the_log_is_not_whole_nothing_above_c1_is_answered(bench: Bench, state: str) -> None:
    bench.space.state = state

    assert bench.decided(PUBLIC).decision.effect is Effect.ALLOW
    assert bench.decided("https://portal.example/notes/a").decision.effect is Effect.ALLOW
    refused = bench.decided()
    assert refused.decision.reasons == ("LOG_UNAVAILABLE",)
    assert (event(refused)["subject"], event(refused)["label"]) == ("tanaka", "C2")

    bench.space.state = "ok"
    assert bench.decided().decision.effect is Effect.ALLOW


# -- what is remembered -----------------------------------------------------------------------------------------------


def test_the_same_question_in_the_same_tick_is_remembered(bench: Bench) -> None:
    first, hit, *_ = bench.ask()
    again, hit_again, *_ = bench.ask()

    assert (hit, hit_again) == (False, True)
    assert again is first


def test_a_question_that_the_policy_cannot_tell_from_another_is_the_same(bench: Bench) -> None:
    bench.ask(CASE)

    outcome, hit, place, _ = bench.ask("https://portal.example/cases/2")

    assert hit
    assert place != bench.ask(CASE)[2]
    assert json.loads(outcome.document)["request"]["path"] == ""


@pytest.mark.parametrize(
    "how",
    [
        {"pep": "other"},
        {"proof": "socket"},
        {"purpose": "audit"},
        {"client_ip": "192.0.2.99"},
        {"method": "POST"},
        {"certificate": None, "token": b""},
    ],
)
def test_a_question_that_differs_in_what_counts_is_another(bench: Bench, how: dict[str, Any]) -> None:
    bench.ask()

    assert not bench.ask(**how)[1]


def test_the_address_itself_counts_when_the_policy_reads_it(bench: Bench) -> None:
    bench.ask(client_ip="203.0.113.7")
    assert bench.ask(client_ip="203.0.113.8")[1]

    policy = bench.world.policy()
    wanted = msgspec.structs.replace(policy.wanted, members=frozenset({"client_ip"}))
    bench.authorizer.activate(msgspec.structs.replace(policy, wanted=wanted))

    bench.ask(client_ip="203.0.113.7")
    assert not bench.ask(client_ip="203.0.113.8")[1]


def test_the_next_tick_is_another_question(bench: Bench) -> None:
    bench.ask()
    bench.world.clock.advance(5)

    assert not bench.ask()[1]


def test_refusals_and_failures_are_never_remembered(bench: Bench) -> None:
    for _ in range(2):
        assert not bench.ask(token=b"not.a.token")[1]
        assert not bench.ask("https://nobody.example/")[1]

    assert len(bench.authorizer.cache or ()) == 0


def test_a_bundle_that_does_not_say_what_it_reads_is_never_remembered(bench: Bench) -> None:
    policy = bench.world.policy()
    bench.authorizer.activate(
        msgspec.structs.replace(policy, wanted=msgspec.structs.replace(policy.wanted, cacheable=False))
    )
    bench.ask()

    assert not bench.ask()[1]


def test_a_label_that_depends_on_the_clock_s_source_is_never_remembered(bench: Bench) -> None:
    text = bench.world.catalogue_text.decode()
    timed = "POST], label: {code: C2, declassify: {at: 2026-09-21T14:13:20Z, to: C0}}}"
    bench.world.catalogue_text = text.replace("POST], label: C2}", timed).encode()
    bench.authorizer.activate(bench.world.policy())

    assert bench.ask(token=b"", certificate=None)[0].decision.effect is Effect.ALLOW
    bench.world.clock.follows_a_source = False

    assert bench.ask(token=b"", certificate=None)[0].decision.effect is Effect.STEP_UP


@pytest.mark.parametrize("change", ["policy", "situation", "principals"])
def test_a_change_forgets_what_was_decided(bench: Bench, change: str) -> None:
    bench.ask()
    if change == "policy":
        assert bench.authorizer.activate(bench.world.policy()) is not None
    elif change == "situation":
        bench.world.situation = situation(threat_level=1)
        bench.world.publish()
    else:
        bench.authorizer.rely_on(bench.authorizer._principals, {ISSUER: ""})

    assert not bench.ask()[1]


def test_other_principals_are_relied_on_from_the_next_request_on(bench: Bench) -> None:
    class Nobody:
        def of(self, _request: object, _now: float) -> object:
            raise UnavailableError("KEYS_UNAVAILABLE", "none")

    principals: Principals = Nobody()  # type: ignore[assignment]
    bench.authorizer.rely_on(principals, {ISSUER: ""})

    assert bench.decided().decision.reasons == ("KEYS_UNAVAILABLE",)
    assert bench.authorizer.policy is not None
    assert bench.authorizer.policy.strongest == {ISSUER: ""}


def test_the_cache_can_be_switched_off(bench: Bench) -> None:
    off: Authorizer = bench.world.authorizer(cache_entries=0)
    assert off.cache is None

    request = bench.world.request(token=bench.token, certificate=bench.laptop)
    first, second = (off.decide(request, bench.world.clock.now()) for _ in range(2))

    assert (first[1], second[1]) == (False, False)
    assert first[0].members == second[0].members
    assert off.engine_calls == 2


def test_whom_the_addresses_belong_to_is_looked_up_once_and_boundedly(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zt_engine.sidecar.authorize.MAX_ADDRESSES", 3)
    bench.authorizer = bench.world.authorizer()
    for number in range(10):
        bench.ask(client_ip=f"203.0.113.{number}")

    assert len(bench.authorizer._addresses) <= 3


def test_the_request_s_part_of_the_input_is_canonical(bench: Bench) -> None:
    request = bench.world.request("https://portal.example/cases/%22x%22", purpose='"quoted"')
    resource = bench.world.policy().places.of(request.target, request.method).resource
    place = Place(resource, request.target, request.method, log=b"", read=frozenset(PROJECTED))

    raw = place.asked(request.channel, request.hook, request.purpose, request.client_ip)

    assert raw == json.dumps(json.loads(raw), sort_keys=True, separators=(",", ":")).encode()
    assert json.loads(raw)["params"] == {"case_id": '"x"'}


# -- memories of a decision -------------------------------------------------------------------------------------------


def memory_of(bench: Bench, url: str = CASE, **how: Any) -> Memory:
    found = bench.ask(url, **how).memory
    assert found is not None and stands(bench, found)
    return found


def stands(bench: Bench, memory: Memory) -> bool:
    return bench.authorizer.stands(memory, bench.world.clock.now())


def device_changes(bench: Bench) -> None:
    old = bench.world.devices["laptop-1"]
    bench.world.devices["laptop-1"] = msgspec.structs.replace(old, version=old.version + 1)
    bench.world.publish()


def subject_changes(bench: Bench) -> None:
    bench.world.subjects["tanaka"] = subject(version=8)
    bench.world.publish()


def situation_changes(bench: Bench) -> None:
    bench.world.situation = situation(threat_level=1)
    bench.world.publish()


ENDS: dict[str, Callable[[Bench], object]] = {
    "the tick is over": lambda bench: bench.world.clock.advance(5),
    "the clock was set back": lambda bench: bench.world.clock.advance(-5),
    "the device's record changed": device_changes,
    "the subject's record changed": subject_changes,
    "the situation changed": situation_changes,
    "another policy": lambda bench: bench.authorizer.activate(bench.world.policy()),
    "no policy": lambda bench: bench.authorizer.withdraw("BUNDLE_KEY_WITHDRAWN", "gone"),
    "other device authorities": lambda bench: bench.authorizer.forget_principals(),
    "everything was forgotten": lambda bench: bench.authorizer.forget(),
    "other issuers": lambda bench: bench.authorizer.rely_on(bench.authorizer._principals, {}),
    "the issuer's keys changed": lambda bench: setattr(bench.world.keys, "version", bench.world.keys.version + 1),
    "the log is on its reserve": lambda bench: setattr(bench.space, "state", "reserve"),
    "the cache was switched off": lambda bench: setattr(bench.authorizer, "cache", None),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_memory_stands_until_anything_it_rests_on_changes(bench: Bench, end: Callable[[Bench], object]) -> None:
    memory = memory_of(bench)

    end(bench)

    assert not stands(bench, memory)


def test_a_memory_ends_with_the_token_and_with_the_policy(bench: Bench) -> None:
    now = bench.world.clock.now()
    short = memory_of(bench, token=bench.world.token(bound_to=bench.laptop, lifetime=2))
    policy = bench.world.policy()
    bench.authorizer.activate(msgspec.structs.replace(policy, not_after=int(now) + 1))

    assert short.until <= now + 2
    assert memory_of(bench).until <= int(now) + 1


def test_a_device_opens_nothing_above_the_level_it_was_registered_for(bench: Bench) -> None:
    held = bench.world.devices["laptop-1"]
    bench.world.devices["laptop-1"] = msgspec.structs.replace(held, version=held.version + 1, ceiling=100)
    bench.world.publish()

    denied, allowed = bench.decided(), bench.decided(PUBLIC)

    assert denied.decision.effect is Effect.DENY
    assert denied.decision.reasons == ("DEVICE_CEILING",)
    assert event(denied)["overlays"] == ["device-registration"]
    assert allowed.decision.effect is Effect.ALLOW
    assert event(allowed)["overlays"] == []


def test_a_ceiling_that_is_high_enough_changes_nothing(bench: Bench) -> None:
    plain = event(bench.decided())
    held = bench.world.devices["laptop-1"]
    bench.world.devices["laptop-1"] = msgspec.structs.replace(held, ceiling=200)
    bench.world.publish()

    assert event(bench.decided()) == plain


def test_a_change_that_concerns_somebody_else_leaves_a_memory_standing(bench: Bench) -> None:
    memory = memory_of(bench)
    bench.world.subjects["suzuki"] = subject("suzuki")
    bench.world.publish()

    assert stands(bench, memory)


def test_memories_of_one_person_share_her_credentials(bench: Bench) -> None:
    one, other = memory_of(bench), memory_of(bench, PUBLIC)

    assert one.request.authorization is other.request.authorization
    assert one.request.client_cert is other.request.client_cert


@pytest.mark.parametrize("how", [{"token": b"garbage"}, {"url": "https://portal.example/nowhere"}])
def test_a_refusal_before_policy_leaves_no_memory(bench: Bench, how: dict[str, Any]) -> None:
    assert bench.ask(**how).memory is None


def test_an_event_has_the_same_members_however_it_was_put_together(bench: Bench) -> None:
    """The quick way for what nobody disputes, the long way with an overlay that asks for nothing new."""
    plain = event(bench.decided())
    bench.world.situation = situation(
        overlays=[
            {
                "id": "drill", "cause": "test", "scope": "tenant", "effect": "ceiling:300", "not_before": NOW - 60,
                "not_after": NOW + 600, "severity": "low", "exercise": False, "approvals": [],
            }
        ]
    )  # fmt: skip
    bench.world.publish()

    long = event(bench.decided())

    assert list(plain) == list(long)
    assert [name for name in plain if plain[name] != long[name]] == ["overlays", "versions", "input_digest"]
