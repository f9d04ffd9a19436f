"""A freeze of a silent fleet, from the event to the decision: what it does, for whom, up to which label, until when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_inventory.device import DeviceRecord
from device_inventory.facts import FactEnvelope
from device_inventory.fleet import LONGEST, REPORT_FRESH, WINDOW, Freeze, ageing_instant
from device_inventory.standstill import ALARMING, stand_still
from tests.bundles import TINY, compiled
from tests.stream_support import Follower, batch, snapshot
from tests.world import HEALTHY, NOW, World, device, facts, situation, subject
from zt_engine.adapters.trust_yaml import load_trust
from zt_engine.core.policy_input import PolicyInput
from zt_engine.core.trust import device_points
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.outcomes import Outcome

MODEL = load_trust((TINY / "trust.yaml").read_text(), where="trust.yaml")
FREEZE = Freeze(start=NOW, end=NOW + LONGEST, aged_at=NOW)
TOLD = {"since": NOW, "until": NOW + LONGEST, "max_label": "C2"}
HOUR = 3600
CASE, SECRET = "https://portal.example/cases/1", "https://portal.example/secret"


def still(record: DeviceRecord, *, at: int = NOW + HOUR, freeze: Freeze | None = FREEZE) -> Any:
    return stand_still(freeze, record, tick_start=at, tick_end=at + 5)


# -- whom it is for


def test_a_healthy_device_that_was_heard_until_then_is_judged_as_it_was() -> None:
    record = device(now=NOW - 60)

    found = still(record)

    assert (found.record, found.at) == (record, NOW)


@pytest.mark.parametrize("status", ["invited", "enrolled", "quarantined", "lost", "revoked", "retired"])
def test_a_device_that_is_not_in_service_ages_on(status: str) -> None:
    assert still(device(now=NOW - 60, status=status)) is None


def test_a_device_that_had_fallen_silent_before_ages_on() -> None:
    assert still(device(now=NOW - REPORT_FRESH + 1)) is not None
    assert still(device(now=NOW - REPORT_FRESH)) is None


BAD = {
    "integrity.rooted": True, "ld_preload": True, "debugger": True, "disk.encrypted": False, "edr.running": False,
    "edr.healthy": False, "av.realtime": False, "firewall.enabled": False, "mac.enforcing": False,
    "os.supported": False, "mdm.compliant": False, "vuln.kev_overdue": ("CVE-2026-1",),
    "vuln.state": "kev_overdue",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("received_at", [NOW - 60, NOW + 60])
def test_a_device_with_something_bad_to_say_ages_on(name: str, received_at: int) -> None:
    said = {**facts(HEALTHY, NOW - 60), **facts({name: BAD[name]}, received_at)}

    assert BAD.keys() - {"vuln.state"} == ALARMING
    assert still(device(now=NOW - 60, facts=said)) is None


def test_evidence_from_the_future_is_no_reason_to_stand_still() -> None:
    assert still(device(now=NOW + 2 * HOUR)) is None


@pytest.mark.parametrize("at", [NOW - 5, NOW + LONGEST - 5, NOW + LONGEST])
def test_it_holds_for_a_tick_that_it_covers_from_beginning_to_end(at: int) -> None:
    assert still(device(now=NOW - 60), at=at) is None
    assert still(device(now=NOW - 60), at=NOW + LONGEST - 6) is not None
    assert still(device(now=NOW - 60), freeze=None) is None


moments = st.integers(NOW - REPORT_FRESH + 1, NOW + HOUR)
records = st.builds(
    lambda received, times: device(
        now=received,
        facts={
            name: FactEnvelope(status="observed", value=value, method="signed_agent", received_at=at)
            for (name, value), at in zip(HEALTHY.items(), times, strict=True)
        },
    ),
    moments,
    st.lists(moments, min_size=len(HEALTHY), max_size=len(HEALTHY)),
)


@given(records, st.integers(HOUR, LONGEST - 6))
def test_nothing_is_fresher_than_when_ageing_stood_still_or_when_it_came(record: DeviceRecord, later: int) -> None:
    found = still(record, at=NOW + later)

    for name, fact in record.facts.items():
        instant = ageing_instant(FREEZE, received_at=fact.received_at, rank=200, now=NOW + later)
        assert found.at - found.record.facts[name].received_at == instant - fact.received_at
    known = {name: fact for name, fact in record.facts.items() if fact.received_at <= NOW}
    if known == record.facts and record.report_received_at <= NOW:
        then = device_points(MODEL, record, tick_end=NOW).exact
        assert device_points(MODEL, found.record, tick_end=found.at).exact == then


# -- what it does to a decision


@pytest.fixture(scope="module")
def bundle(opa: str) -> bytes:
    return compiled(opa)


class Bench:
    """Tanaka's laptop, which fell silent, at some later time."""

    def __init__(self, bundle: bytes) -> None:
        self.world = World(bundle, now=NOW)
        self.world.subjects = {"tanaka": subject()}
        self.certificate = self.world.enroll()
        self.authorizer: Authorizer = self.world.authorizer()
        self.live: Authorizer = self.world.authorizer(cache_entries=0)

    def ask(self, later: int, url: str = CASE, *, authorizer: Authorizer | None = None, **told: Any) -> Outcome:
        self.world.clock.time = float(NOW + later)
        self.world.refresh_keys()
        self.world.situation = situation(**told)
        self.world.publish()
        token = self.world.token(bound_to=self.certificate)
        request = self.world.request(url, token=token, certificate=self.certificate)
        return self.world.decide(authorizer or self.authorizer, request)


@pytest.fixture
def bench(bundle: bytes) -> Iterator[Bench]:
    yield Bench(bundle)


def seen(outcome: Outcome) -> PolicyInput:
    return msgspec.json.decode(outcome.document, type=PolicyInput)


def test_the_device_counts_as_it_did_the_moment_before_up_to_c2_and_never_above(bench: Bench) -> None:
    before, secret_before = bench.ask(0), bench.ask(0, SECRET)
    frozen, secret = bench.ask(2 * HOUR, freeze=TOLD), bench.ask(2 * HOUR, SECRET, freeze=TOLD)
    aged, secret_aged = bench.ask(2 * HOUR), bench.ask(2 * HOUR, SECRET)

    assert before.trust and frozen.trust and aged.trust and secret.trust and secret_aged.trust and secret_before.trust
    assert aged.trust.device < frozen.trust.device == before.trust.device
    assert seen(frozen).device.report_age == 0
    assert secret.trust.device == secret_aged.trust.device < secret_before.trust.device
    assert secret.document == secret_aged.document
    assert (frozen.as_of, secret.as_of, aged.as_of) == (NOW, None, None)


def test_the_event_says_as_of_when_the_facts_were_judged(bench: Bench) -> None:
    frozen, aged = bench.ask(2 * HOUR, freeze=TOLD), bench.ask(2 * HOUR)

    said = json.loads(b"{%b}" % frozen.members)
    assert said["versions"]["facts_as_of"] == NOW
    assert said["versions"]["situation"] != json.loads(b"{%b}" % aged.members)["versions"]["situation"]
    assert "facts_as_of" not in json.loads(b"{%b}" % aged.members)["versions"]


def test_an_overlay_that_asks_for_fresh_reports_is_asked_by_somebody_who_means_it(bench: Bench) -> None:
    fresh = {"id": "o", "scope": "tenant", "effect": "report_age:600", "not_before": NOW, "not_after": NOW + 86_400}

    outcome = bench.ask(HOUR, freeze=TOLD, overlays=[fresh])

    assert outcome.as_of is None
    assert "OVERLAY_REPORT_AGE" in {item.code for item in outcome.decision.unmet}


def test_it_ends_by_itself_and_no_remembered_decision_outlives_it(bench: Bench) -> None:
    assert bench.ask(LONGEST - 30, freeze=TOLD).as_of == NOW
    held = bench.world.situation
    token = bench.world.token(bound_to=bench.certificate)
    request = bench.world.request(CASE, token=token, certificate=bench.certificate)
    for second in range(LONGEST - 30, LONGEST + 10):
        bench.world.clock.time = float(NOW + second)
        cached = bench.authorizer.decide(request, bench.world.clock.now())[0]
        anew = bench.live.decide(request, bench.world.clock.now())[0]
        assert cached.document == anew.document
        assert (cached.as_of is None) or NOW + second < NOW + LONGEST
    assert bench.world.situation is held
    assert cached.as_of is None


@settings(max_examples=25)
@given(
    st.integers(0, REPORT_FRESH - 10),
    st.integers(1, LONGEST - 10),
    st.sampled_from([CASE, SECRET, "https://portal.example/notes/a"]),
)
def test_a_freeze_never_makes_a_decision_better_than_it_was_the_moment_before(
    bundle: bytes, silent: int, later: int, url: str
) -> None:
    one = Bench(bundle)
    one.world.devices = {
        name: msgspec.structs.replace(record, facts=facts(HEALTHY, NOW - silent), report_received_at=NOW - silent)
        for name, record in one.world.devices.items()
    }
    before, frozen = one.ask(-5, url), one.ask(later, url, freeze=TOLD)
    aged = one.ask(later, url)

    assert before.trust and frozen.trust and aged.trust
    assert aged.trust.device <= frozen.trust.device <= before.trust.device
    assert ORDER.index(frozen.decision.effect.value) <= ORDER.index(before.decision.effect.value)
    if frozen.rank > 200:
        assert frozen.document == aged.document


ORDER = ("deny", "step_up", "observe", "allow")


# -- how it is told


def told(data: Any) -> tuple[str, Any]:
    return "fleet.frozen", data


def test_what_is_told_is_in_the_situation_until_it_is_taken_back() -> None:
    one = Follower().begin()
    calm = one.known[7]

    one.take("batch", batch(1, told(TOLD)))
    assert one.replica.situation and one.replica.situation.freeze == FREEZE
    assert one.known[7] != calm
    one.take("batch", batch(2, told({"removed": True})))

    assert one.replica.situation.freeze is None
    assert one.known[7] == calm


def test_a_snapshot_tells_the_same_as_the_event() -> None:
    event, whole = Follower().begin(), Follower().begin(told(TOLD), seq=1)

    event.take("batch", batch(1, told(TOLD)))

    assert event.known == whole.known
    for part in snapshot(2, [("threat_level.changed", {"threat_level": 0})]):
        whole.take("snapshot", part)
    assert whole.replica.situation and whole.replica.situation.freeze is None


@pytest.mark.parametrize(
    "data",
    [
        {**TOLD, "max_label": "C3"},
        {**TOLD, "until": NOW + LONGEST + WINDOW + 1},
        {**TOLD, "until": NOW},
        {**TOLD, "since": "now"},
        {**TOLD, "more": 1},
        {"since": NOW},
        {},
    ],
)
def test_one_that_lasts_too_long_or_reaches_too_high_does_not_hold_and_is_said(data: Any) -> None:
    one = Follower().begin(told(TOLD))

    one.take("batch", batch(1, told(data)))

    assert one.replica.situation and one.replica.situation.freeze is None
    assert [problem.code for problem in one.sync.problems.values()] == ["FLEET_FREEZE"]


def test_the_folder_s_situation_may_say_so_as_well() -> None:
    assert situation(freeze=TOLD).freeze == FREEZE
    assert situation(freeze={**TOLD, "max_label": "C1"}).freeze == msgspec.structs.replace(FREEZE, up_to=100)
    assert [problem.code for problem in situation(freeze={}).problems] == ["FLEET_FREEZE"]
