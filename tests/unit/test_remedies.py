"""What a device is told is left to do, by the policy or by the trust model."""

from __future__ import annotations

from typing import Any

import pytest

from device_inventory.device import DeviceRecord
from tests.enrollment_support import Machine, Office
from tests.unit.inventory_support import COLLECTED
from tests.unit.reporting_support import machine as machine
from tests.unit.reporting_support import office as office
from tests.unit.trust_support import MODEL
from zt_engine.control_plane.enrollment_rules import DAY
from zt_engine.control_plane.remedies import ModelReadiness, NoReadiness, Unmet, items
from zt_engine.pages.registry import registry


def test_what_is_missing_is_listed_in_both_languages_once_for_the_lowest_label() -> None:
    unmet = [
        Unmet(code="FIX_DISK", label="C2", fact="disk.encrypted"),
        Unmet(code="FIX_DISK", label="C3-S", fact="disk.encrypted"),
        Unmet(code="SOMETHING_NEW"),
    ]

    ja, en = (items(unmet, codes=registry(), language=language) for language in ("ja", "en"))

    assert [(item.code, item.label) for item in ja] == [("FIX_DISK", "C2"), ("SOMETHING_NEW", "")]
    assert ja[0].text == registry()["FIX_DISK"].ja
    assert en[0].remedy == registry()["FIX_DISK"].hint_en
    assert en[1].text == "SOMETHING_NEW"


def test_without_a_policy_nothing_is_claimed(machine: Machine) -> None:
    assert [one.code for one in machine.report().unmet] == ["READINESS_UNKNOWN"]


def test_the_trust_model_names_what_costs_points_and_no_label() -> None:
    office = Office(readiness=ModelReadiness(MODEL))
    machine = office.enroll(key_protection="file")
    healthy = {one.fact for one in machine.report().unmet}
    ill = machine.report({**COLLECTED, "disk.encrypted": False, "firewall.enabled": None}).unmet

    assert "disk.encrypted" not in healthy
    assert {("FIX_DISK", "disk.encrypted"), ("FIX_FIREWALL", "firewall.enabled")} <= {(x.code, x.fact) for x in ill}
    assert {one.label for one in ill} == {""}
    assert ill[0].fact == "device.key_protection"


class _Policy:
    """A policy that opens a label, and names another that it keeps closed."""

    def __init__(self, label: str, closed: str) -> None:
        self.label, self.closed = label, closed

    def unmet(self, record: DeviceRecord, *, now: int) -> list[Unmet]:
        return [Unmet(code="FIX_DISK", label=self.closed)] if self.closed else []

    def labels(self, record: DeviceRecord, *, now: int) -> str:
        return self.label


@pytest.mark.parametrize(
    ("readiness", "good_for"),
    [
        (_Policy("C1", "C2"), "C1"),
        (_Policy("C3", ""), "C3"),
        (_Policy("", "C1"), ""),
        (NoReadiness(), None),
        (ModelReadiness(MODEL), None),
    ],
)
def test_whoever_knows_no_label_neither_opens_nor_closes_one(readiness: Any, good_for: str | None) -> None:
    office = Office(readiness=readiness)
    machine = office.enroll()

    assert office.reporting.good_for(machine.device, now=office.now) == good_for


def test_what_was_not_lately_observed_is_worth_a_report_however_good_it_was() -> None:
    office = Office(readiness=ModelReadiness(MODEL))
    machine = office.enroll()
    machine.report()
    office.now += 8 * DAY

    assert "disk.encrypted" in {one.fact for one in office.reporting.unmet(machine.device, now=office.now)}


def test_everything_the_trust_model_may_name_has_a_text() -> None:
    from zt_engine.control_plane.remedies import REMEDIES

    assert {fact for fact in MODEL.facts if fact not in REMEDIES} == set()
    assert {code for code in REMEDIES.values() if code not in registry()} == set()
