"""What time alone brings about, on the real store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from device_inventory.enrollment import Enrollment
from device_inventory.facts import DAY, FactEnvelope
from device_inventory.fleet import LONGEST, REPORT_FRESH, WINDOW
from device_inventory.inventory import SourceFacts
from device_inventory.notice import RETENTION_DAYS
from tests.control_support import NOW, TENANT, Control, a_device
from zt_engine.control_plane.fleet import remembered
from zt_engine.control_plane.housekeeping import Housekeeping
from zt_engine.control_plane.snapshot import situation_data

FLEET = 40


@pytest.fixture
def control() -> Iterator[Control]:
    with Control() as opened:
        yield opened


@pytest.fixture
def keeping(control: Control) -> Housekeeping:
    return Housekeeping(control.plane)


def actions(control: Control) -> list[str]:
    return [event.action for event in control.audit() if event.actor == "system" and event.action != "device.enrolled"]


def begun(control: Control, **members: Any) -> None:
    with control.store.writing(TENANT) as tx:
        tx.enrollments.put(
            Enrollment(
                **{
                    "tenant": TENANT,
                    "id": "e1",
                    "invitation": "i1",
                    "issuer": "https://idp.example",
                    "subject": "tanaka",
                    "state": "consented",
                    "secret_digest": "s",
                    "started_at": NOW - 3600,
                    "changed_at": NOW - 3600,
                    "not_after": NOW,
                    **members,
                }
            )
        )


def reported() -> Mapping[str, SourceFacts]:
    fact = FactEnvelope(status="observed", value=True, method="self_report", received_at=NOW)
    return {"agent": SourceFacts(source="agent", received_at=NOW, facts={"disk.encrypted": fact})}


def test_a_contractors_device_is_retired_when_its_end_has_come_and_that_is_said_once(
    control: Control, keeping: Housekeeping
) -> None:
    control.put(a_device(kind="contractor", sponsor="sato", ends_at=NOW))
    control.put(a_device("laptop-2", kind="contractor", sponsor="sato", ends_at=NOW + 1))
    control.announced()

    assert keeping.turn(now=NOW).retired == 1
    assert keeping.turn(now=NOW).retired == 0
    assert (control.device("laptop-1").status, control.device("laptop-2").status) == ("retired", "active")
    assert all(key.revoked_at is not None for key in control.device("laptop-1").keys)
    told = [data["device_id"] for type_, data in control.announced() if type_ == "device.changed"]
    assert told == ["laptop-1"]
    assert actions(control) == ["device.retired"]


@pytest.mark.parametrize("status", ["revoked", "retired"])
def test_what_ended_before_is_not_ended_again(control: Control, keeping: Housekeeping, status: str) -> None:
    control.put(a_device(status=status, ends_at=NOW - 5))
    assert keeping.turn(now=NOW).retired == 0
    assert actions(control) == []


def test_an_enrollment_that_took_too_long_ends_with_the_key_that_was_certified_on_the_way(
    control: Control, keeping: Housekeeping
) -> None:
    control.put(a_device(status="enrolled"))
    begun(control, state="certified", device_id="laptop-1")

    assert keeping.turn(now=NOW - 1).expired == 0
    assert keeping.turn(now=NOW).expired == 1
    assert keeping.turn(now=NOW).expired == 0
    assert control.device("laptop-1").status == "revoked"
    assert sorted(actions(control)) == ["device.revoked", "enrollment.expired"]


def test_an_enrollment_that_waits_for_its_approver_is_not_hurried(control: Control, keeping: Housekeeping) -> None:
    begun(control, state="waiting")
    assert keeping.turn(now=NOW + 90 * DAY).expired == 0


def test_what_was_collected_is_forgotten_when_the_notice_says_so(control: Control, keeping: Housekeeping) -> None:
    end = NOW - RETENTION_DAYS * DAY
    control.put(a_device(status="retired", changed_at=end, sources=reported()))
    control.put(a_device("laptop-2", status="retired", changed_at=end + 1, sources=reported()))
    control.put(a_device("laptop-3", sources=reported()))

    assert keeping.turn(now=NOW).forgotten == 1
    assert keeping.turn(now=NOW).forgotten == 0
    assert not control.device("laptop-1").sources
    assert control.device("laptop-1").keys
    assert control.device("laptop-2").sources and control.device("laptop-3").sources
    assert keeping.turn(now=NOW + 1).forgotten == 1


def test_nonces_that_are_over_are_removed(control: Control, keeping: Housekeeping) -> None:
    with control.store.writing(TENANT) as tx:
        tx.nonces.add("n", purpose="report", holder="device:a", expires_at=NOW)
    assert keeping.turn(now=NOW).pruned == 1
    assert keeping.turn(now=NOW).pruned == 0


def fleet(control: Control, *, reported_at: int, count: int = FLEET) -> None:
    with control.store.writing(TENANT) as tx:
        for number in range(count):
            name = f"pc-{number:03}"
            version = 1 if (before := tx.devices.get(name)) is None else before.version + 1
            tx.devices.put(a_device(name, version=version, keys=(), report_received_at=reported_at))


def health(control: Control) -> str:
    return str(control.call("GET", "/healthz", who=None).json()["reports"])


def test_a_fleet_that_falls_silent_at_once_raises_an_alarm_once(control: Control, keeping: Housekeeping) -> None:
    fleet(control, reported_at=NOW)
    assert keeping.turn(now=NOW).fleet == "none"
    assert health(control) == "ok"

    silent_at = NOW + REPORT_FRESH
    control.clock.time = float(silent_at)
    with capture_logs() as logs:
        assert keeping.turn(now=silent_at).fleet == "sensor_outage"
        assert keeping.turn(now=silent_at + 60).fleet == "none"
    alarms = [line for line in logs if line["event"] == "fleet.sensor_outage"]
    assert [(line["log_level"], line["code"], line["lapsed"]) for line in alarms] == [("error", "SENSOR_OUTAGE", FLEET)]
    assert health(control) == "silent"
    assert actions(control) == ["fleet.sensor_outage"]


def test_an_alarm_ends_when_the_fleet_is_heard_again(control: Control, keeping: Housekeeping) -> None:
    fleet(control, reported_at=NOW)
    silent_at = NOW + REPORT_FRESH
    keeping.turn(now=silent_at)
    fleet(control, reported_at=silent_at + 300)
    control.clock.time = float(silent_at + 301)

    assert keeping.turn(now=silent_at + 301).fleet == "sensor_recovered"
    assert keeping.turn(now=silent_at + 361).fleet == "none"
    assert health(control) == "ok"
    assert actions(control) == ["fleet.sensor_outage", "fleet.sensor_recovered"]


def test_a_fleet_that_never_comes_back_is_said_to_age_again(control: Control, keeping: Housekeeping) -> None:
    fleet(control, reported_at=NOW)
    silent_at = NOW + REPORT_FRESH
    keeping.turn(now=silent_at)
    with capture_logs() as logs:
        assert keeping.turn(now=silent_at + LONGEST).fleet == "sensor_outage_over"
    assert [line["code"] for line in logs if "code" in line] == ["SENSOR_OUTAGE_OVER"]
    assert keeping.turn(now=silent_at + LONGEST + 60).fleet == "none"


def test_a_restart_does_not_forget_that_an_outage_has_been_had(control: Control, keeping: Housekeeping) -> None:
    fleet(control, reported_at=NOW)
    silent_at = NOW + REPORT_FRESH
    keeping.turn(now=silent_at)
    fleet(control, reported_at=silent_at + 300)
    again = Housekeeping(control.plane)
    assert again.turn(now=silent_at + 301).fleet == "sensor_recovered"
    # It falls silent once more, long before the rest is over.
    assert Housekeeping(control.plane).turn(now=silent_at + 300 + REPORT_FRESH).fleet == "none"
    with control.store.reading(TENANT) as tx:
        freeze = remembered(tx).freeze
    assert freeze is not None
    assert freeze.start == silent_at


def test_a_small_fleet_or_a_slow_end_of_day_raises_none(control: Control, keeping: Housekeeping) -> None:
    fleet(control, reported_at=NOW, count=10)
    assert keeping.turn(now=NOW + REPORT_FRESH).fleet == "none"
    fleet(control, reported_at=NOW + REPORT_FRESH)
    fleet(control, reported_at=NOW, count=10)
    assert keeping.turn(now=NOW + REPORT_FRESH + WINDOW - 1).fleet == "none"
    assert actions(control) == []


def test_sidecars_are_told_when_ageing_stands_still_and_when_it_goes_on(
    control: Control, keeping: Housekeeping
) -> None:
    fleet(control, reported_at=NOW)
    before = len(control.announced())
    silent_at = NOW + REPORT_FRESH
    keeping.turn(now=silent_at)
    with control.store.reading(TENANT) as tx:
        told = dict(situation_data(tx, silent_at + 60))["fleet.frozen"]
        assert "fleet.frozen" not in dict(situation_data(tx, silent_at + LONGEST))
    fleet(control, reported_at=silent_at + 300)
    keeping.turn(now=silent_at + 301)

    frozen = {"since": silent_at - WINDOW, "until": silent_at + LONGEST, "max_label": "C2"}
    events = [data for kind, data in control.announced()[before:] if kind == "fleet.frozen"]
    assert events == [frozen, {"removed": True}]
    assert json.loads(told) == frozen
    with control.store.reading(TENANT) as tx:
        assert "fleet.frozen" not in dict(situation_data(tx, silent_at + 302))
