"""Facts: what is not observed is worth nothing, and what was observed fades."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.facts import (
    CATALOGUE,
    DAY,
    FRESHNESS,
    HOUR,
    FactEnvelope,
    FreshnessRange,
    badness,
    confidence,
    freshness,
    suggestion,
)

NOW = 1_790_000_000


def fact(value: object = True, **changes: object) -> FactEnvelope:
    members = {"status": "observed", "value": value, "method": "attested", "received_at": NOW} | changes
    return FactEnvelope(**members)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "age", "expected"),
    [
        ("device.key_protection", 900, 1000),
        ("device.key_protection", 2250, 500),
        ("device.key_protection", HOUR, 0),
        ("edr.running", HOUR, 800),
        ("edr.running", 4 * HOUR, 0),
        ("firewall.enabled", DAY, 0),
        ("disk.encrypted", DAY, 1000),
        ("disk.encrypted", 3 * DAY, 666),
        ("disk.encrypted", 7 * DAY, 0),
        ("vuln.feed_age", 3 * DAY, 1000),
        ("vuln.feed_age", 14 * DAY, 0),
        ("device.ownership", 1000 * DAY, 1000),
    ],
)
def test_each_class_fades_between_its_two_ages(name: str, age: int, expected: int) -> None:
    value = {"device.key_protection": "hw", "device.ownership": "corp", "vuln.feed_age": 3}.get(name, True)

    assert confidence(name, fact(value), boot_id="b", now=NOW + age) == expected


def test_a_boot_fact_says_nothing_about_another_boot() -> None:
    envelope = fact(boot_id="first")

    assert confidence("boot.secure_boot", envelope, boot_id="first", now=NOW) == 1000
    assert confidence("boot.secure_boot", envelope, boot_id="second", now=NOW) == 0
    assert confidence("boot.secure_boot", fact(), boot_id="second", now=NOW) == 1000
    assert confidence("disk.encrypted", envelope, boot_id="second", now=NOW) == 1000


@pytest.mark.parametrize("status", ["not_collected", "not_supported", "error"])
def test_what_was_not_observed_has_no_confidence(status: str) -> None:
    assert confidence("disk.encrypted", fact(None, status=status), boot_id="", now=NOW) == 0


def test_a_fact_outside_the_catalogue_has_no_confidence() -> None:
    assert confidence("disk.encripted", fact(), boot_id="", now=NOW) == 0
    assert suggestion("disk.encripted") == "disk.encrypted"
    assert suggestion("zzzz") == ""


@pytest.mark.parametrize(("ahead", "expected"), [(0, 1000), (300, 1000), (301, 0), (10**9, 0)])
def test_evidence_from_the_future_counts_only_within_the_tolerance(ahead: int, expected: int) -> None:
    assert confidence("disk.encrypted", fact(), boot_id="", now=NOW - ahead) == expected


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**6), st.integers(1, 10**6))
def test_freshness_never_grows_with_age(age: int, later: int, full: int, span: int) -> None:
    limits = FreshnessRange(full, full + span)

    assert 0 <= freshness(age + later, limits) <= freshness(age, limits) <= 1000


def test_every_class_of_the_catalogue_has_a_range_or_does_not_age() -> None:
    assert {kind.freshness for kind in CATALOGUE.values()} - {"static"} <= FRESHNESS.keys()
    assert all(limits.full_until < limits.void_from for limits in FRESHNESS.values())
    assert all(kind.choices for kind in CATALOGUE.values() if kind.type == "choice")


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("disk.encrypted", True, False),
        ("user.is_admin", False, True),
        ("device.key_protection", "attested_hw", "file"),
        ("patch.oldest_pending_days", 3, 45),
        ("patch.last_success_at", NOW, NOW - 1),
        ("vuln.kev_open", (), ("CVE-2026-1",)),
        ("vuln.max_cvss_open", 9, 9.8),
    ],
)
def test_the_catalogue_knows_which_of_two_values_is_the_worse(name: str, better: object, worse: object) -> None:
    first, second = badness(name, better), badness(name, worse)  # type: ignore[arg-type]

    assert first is not None
    assert second is not None
    assert first < second


@pytest.mark.parametrize(
    ("name", "value"), [("os.version", "12"), ("disk.encrypted", "yes"), ("vm", True), ("kernel.taint", True)]
)
def test_there_is_no_order_where_the_catalogue_gives_none(name: str, value: object) -> None:
    assert badness(name, value) is None  # type: ignore[arg-type]
