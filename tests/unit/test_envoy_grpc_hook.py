"""Questions of Envoy over gRPC that were asked before: whoever remembers them answers like whoever reads each one."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bundles import TINY, compiled
from tests.fakes.decision_log import FakeDecisionLog
from tests.unit.test_envoy_grpc_messages import question
from tests.unit.test_envoy_repeats import PLAIN_ID, marked, spelled
from tests.world import World, subject
from zt_engine.core.errors import InputError
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.sidecar.app import DecisionApp
from zt_engine.sidecar.grpc import wire
from zt_engine.sidecar.grpc.check import Check, allowed, option
from zt_engine.sidecar.hooks.credentials import Credential, Credentials
from zt_engine.sidecar.hooks.denials import Denials
from zt_engine.sidecar.hooks.envoy_grpc import EnvoyGrpcHook, Parts
from zt_engine.sidecar.hooks.envoy_repeats import MARK
from zt_engine.sidecar.hooks.pages import DeniedPages
from zt_engine.sidecar.hooks.reading import Sent
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.recorder import Numbers, Origin

PEER = 1000
ALLOWED = b"\x0a\x02\x08\x00"
DIFFERENT = ("ts", "cache", "latency_us", "prev_hash")


class Site:
    """A sidecar that an Envoy asks, and how many questions it has read."""

    def __init__(self, world: World, enforces: tuple[str, ...] = ()) -> None:
        self.log = FakeDecisionLog()
        self.shown = Credentials(
            [
                Credential(
                    "front",
                    hook="envoy_grpc",
                    channel="open",
                    proof="socket",
                    uids=frozenset({PEER}),
                    enforces=enforces,
                )
            ]
        )
        page = DeniedPage(registry(), default_language="en")
        self.denials = Denials(page)
        self.app = DecisionApp(
            hooks=[], pages=DeniedPages(page, self.shown), denials=self.denials, authorizer=world.authorizer(),
            decision_log=self.log, clock=world.clock, numbers=Numbers("s-1"), meters=Meters(),
            origin=Origin("sidecar-1", "default").members(),
        )  # fmt: skip
        self.read = 0
        site = self

        class Counting(EnvoyGrpcHook):
            def _sent(self, check: Check) -> Sent:
                site.read += 1
                return super()._sent(check)

        no_rules: Any = None
        self.hook = Counting(self.app, self.shown, self.denials, no_rules)

    def ask(self, message: bytes, *, peer: int = PEER) -> bytes:
        (answer,) = self.app.seal([self.hook.answer(message, peer)])
        return answer

    def forget(self) -> None:
        self.hook.rewire(self.shown, self.denials)

    def recorded(self) -> dict[str, Any]:
        """The last line of the log, without what is never the same twice."""
        line = msgspec.json.decode(self.log.lines[-1])
        return {name: value for name, value in line.items() if name not in DIFFERENT}


class Asked:
    """A world with somebody in it, and what an Envoy would ask about them."""

    def __init__(self, opa: str) -> None:
        self.world = World(compiled(opa, TINY))
        self.laptop = self.world.enroll()
        self.world.subjects["tanaka"] = subject()
        self.world.publish()
        self.token = b"Bearer " + self.world.token(bound_to=self.laptop)

    def question(self, number: bytes = b"id-1", *more: tuple[bytes, bytes], **fields: Any) -> bytes:
        headers = [(b"x-forwarded-proto", b"https"), (b"x-request-id", number), (b"authorization", self.token), *more]
        return question(headers=headers, **{"certificate": quote(self.laptop.pem, safe="").encode(), **fields})


@pytest.fixture
def asked(opa: str) -> Asked:
    return Asked(opa)


def test_the_same_question_is_read_once_and_each_answer_and_record_has_its_own_id(asked: Asked) -> None:
    site = Site(asked.world)

    first, second = site.ask(asked.question(b"id-1")), site.ask(asked.question(b"id-2"))

    assert site.read == 1
    assert first.startswith(ALLOWED) and first.replace(b"s-1-1", b"s-1-2") == second != first
    assert [msgspec.json.decode(line)["request_id"] for line in site.log.lines] == ["id-1", "id-2"]


def test_nothing_follows_about_the_decision(asked: Asked) -> None:
    site = Site(asked.world)
    assert site.ask(asked.question(b"id-1")).startswith(ALLOWED)
    known = asked.world.devices["laptop-1"]
    asked.world.devices["laptop-1"] = msgspec.structs.replace(known, status="revoked", version=known.version + 1)
    asked.world.publish()

    assert not site.ask(asked.question(b"id-2")).startswith(ALLOWED)
    assert site.read == 1
    assert not site.ask(asked.question(b"id-3")).startswith(ALLOWED)


def test_who_may_ask_is_looked_at_each_time(asked: Asked) -> None:
    site = Site(asked.world)
    site.ask(asked.question())

    with pytest.raises(InputError, match="PEP_UNKNOWN"):
        site.ask(asked.question(), peer=PEER + 1)
    site.hook.rewire(Credentials([]), site.denials)
    with pytest.raises(InputError, match="PEP_UNKNOWN"):
        site.ask(asked.question())


def test_what_only_begins_as_an_id_is_read_each_time(asked: Asked) -> None:
    site = Site(asked.world)

    def question(scheme: bytes) -> bytes:
        line = wire.data(1, marked(scheme) + wire.data(1, b"x-forwarded-proto"))
        token = wire.data(1, wire.data(1, b"authorization") + wire.data(3, asked.token))
        return spelled(line + PLAIN_ID + token, like=asked.question())

    assert site.ask(question(b"https")).startswith(ALLOWED)
    assert not site.ask(question(b"xxxxx")).startswith(ALLOWED)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_asked_after_it_a_remembered_question_answers_for_itself_alone(
    asked: Asked, data: st.DataObject
) -> None:
    """Two sidecars hear the same, of which one remembers nothing: they answer and record the same."""
    remembers, reads = Site(asked.world), Site(asked.world)
    question = asked.question()
    ends = st.integers(0, 60), st.integers(len(question) - 40, len(question) - 1)
    near = question.index(MARK)
    places = st.one_of(*ends, st.integers(near - 40, near + 40), st.integers(0, len(question) - 1))
    changed = bytearray(question)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(places)
        changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))

    for message in (question, bytes(changed), asked.question(b"id-2"), bytes(changed)):
        reads.forget()
        assert remembers.ask(message) == reads.ask(message)
        assert remembers.recorded() == reads.recorded()
    assert len(remembers.log.lines) == 4


@given(st.lists(st.sampled_from([b"Zt-Trust: 15", b"Zt-Subject: a", b"Zt-Groups:"]), max_size=3), st.data())
def test_an_allow_that_is_put_together_is_the_one_that_is_written(lines: list[bytes], data: st.DataObject) -> None:
    parts = Parts(b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"Zt-Decision: "]))
    headers = [option(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]

    for number in data.draw(st.lists(st.binary(min_size=1, max_size=130), min_size=1, max_size=4)):
        assert parts.allow(number) == allowed([*headers, option(b"zt-decision", number)])
