"""A principal in one decision tick: ages are measured to its end, and nothing outlives what it was made from."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from device_inventory.device import DeviceRecord
from device_inventory.facts import FUTURE_TOLERANCE
from tests.bundles import TINY
from tests.world import HEALTHY, NOW, device, facts, situation
from zt_engine.adapters.trust_yaml import load_trust
from zt_engine.core.identity import Subject
from zt_engine.core.policy_input import NEVER
from zt_engine.sidecar.moments import Moment, Moments, age
from zt_engine.sidecar.principals import Principal

MODEL = load_trust((TINY / "trust.yaml").read_text(), where="trust.yaml")
FACTS = ("disk.encrypted", "edr.running")


def principal(record: DeviceRecord | None = None, *, phase: int = 0, auth_time: int | None = NOW - 60) -> Principal:
    made = Principal(1, since=0, until=2**40, situation=situation())
    made.subject = Subject(type="user", id="tanaka", acr="phr", auth_time=auth_time)
    made.device = record
    made.phase = phase
    return made


def moments(*, tick_seconds: int = 5) -> Moments:
    return Moments(MODEL, facts=FACTS, tick_seconds=tick_seconds)


@given(st.integers(0, 2**32), st.floats(0, 2**33), st.integers(1, 60))
def test_every_instant_lies_in_exactly_one_tick_whose_phase_is_the_device_s(
    phase: int, now: float, length: int
) -> None:
    tick = moments(tick_seconds=length).tick(phase, now)

    assert tick.since <= now < tick.until
    assert round(1000 * (tick.until - tick.since)) == 1000 * length
    assert (round(1000 * tick.since) - phase) % (1000 * length) == 0
    assert tick.since - 1 < tick.start <= tick.since
    assert tick.until <= tick.end < tick.until + 1


def test_one_tick_is_one_moment_and_the_next_is_another() -> None:
    made, who = moments(), principal(device())
    first = made.of(who, NOW, strongest=None)

    assert made.of(who, first.until - 0.001, strongest=None) is first
    assert made.of(who, first.until, strongest=None) is not first
    assert made.of(who, first.since - 0.001, strongest=None) is not first


def test_another_trust_model_makes_another_moment() -> None:
    who = principal(device())
    first = moments().of(who, NOW, strongest=None)

    assert moments().of(who, NOW, strongest=None) is not first


def test_another_version_of_a_record_is_read_anew() -> None:
    made = moments()
    made.of(principal(device()), NOW, strongest=None)

    changed = made.of(principal(device(facts=facts({**HEALTHY, "disk.encrypted": False}, NOW))), NOW, strongest=None)

    assert shown(changed)["facts"]["disk.encrypted"]["value"] is False


def shown(moment: Moment) -> dict:
    return json.loads(moment.device_json)


def test_ages_are_measured_to_the_end_of_the_tick() -> None:
    found = moments().of(principal(device(report_received_at=NOW - 100), auth_time=NOW - 60), NOW, strongest=None)

    assert (found.tick_start, found.tick_end) == (NOW, NOW + 5)
    assert shown(found)["report_age"] == 105
    assert json.loads(found.subject_json)["auth_age"] == 65


def test_without_a_device_the_least_trusted_one_is_shown() -> None:
    parsed = shown(moments().of(principal(None), NOW, strongest=None))

    assert parsed == {
        "assigned": False, "facts": {}, "id": "", "key_protection": "", "ownership": "byod", "report_age": NEVER,
        "status": "unknown",
    }  # fmt: skip


def test_only_the_facts_that_the_policy_reads_are_shown() -> None:
    parsed = shown(moments().of(principal(device()), NOW, strongest=None))

    assert set(parsed["facts"]) == set(FACTS)


def test_a_key_protection_that_was_not_observed_is_not_claimed() -> None:
    record = device(facts={**facts(HEALTHY, NOW), "device.key_protection": facts({"x": "hw"}, NOW)["x"]})
    unknown = device(facts={})

    assert shown(moments().of(principal(record), NOW, strongest=None))["key_protection"] == "hw"
    assert shown(moments().of(principal(unknown), NOW, strongest=None))["key_protection"] == ""


def test_the_context_is_the_same_for_the_same_way_and_place() -> None:
    made = moments()
    found = made.of(principal(), NOW, strongest=None)

    assert made.context(found, "headquarters", "key") is made.context(found, "headquarters", "key")
    assert made.context(found, "headquarters", "key").exact > made.context(found, "unlisted", "key").exact


@given(st.integers(-(2**33), 2**33))
def test_what_claims_to_come_from_the_future_is_new_within_the_skew_and_never_happened_beyond(seconds: int) -> None:
    found = age(NOW - seconds, NOW)

    assert found == (seconds if seconds >= 0 else 0 if -seconds <= FUTURE_TOLERANCE else NEVER)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_an_older_report_or_sign_in_never_scores_higher(older: int, newer: int) -> None:
    older, newer = max(older, newer), min(older, newer)

    def points(seconds: int) -> tuple[int, int]:
        record = device(facts=facts(HEALTHY, NOW - seconds), report_received_at=NOW - seconds)
        found = moments().of(principal(record, auth_time=NOW - seconds), NOW, strongest="phrh")
        return found.device.exact, found.subject.exact

    assert all(old <= new for old, new in zip(points(older), points(newer), strict=True))
