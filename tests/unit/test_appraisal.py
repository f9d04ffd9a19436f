"""Appraisal: stale evidence is never affirming, and of two sources the worse one stands."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.appraisal import DevicePosture, Evidence, ReferenceValue, appraise, reconcile
from device_inventory.facts import DAY, FactEnvelope, badness, confidence

NOW = 1_790_000_000


def evidence(value: Any = True, *, name: str = "disk.encrypted", source: str = "agent", **changes: Any) -> Evidence:
    members: dict[str, Any] = {"status": "observed", "value": value, "method": "signed_agent", "received_at": NOW}
    return Evidence(fact=name, envelope=FactEnvelope(**(members | changes)), source=source)


def posture(*items: Evidence, references: list[ReferenceValue] | None = None, now: int = NOW) -> DevicePosture:
    wanted = references or [ReferenceValue(fact="disk.encrypted", expect="equals", value=True)]
    return appraise(items, wanted, boot_id="b1", now=now)


def test_fresh_evidence_that_meets_its_reference_is_affirming() -> None:
    assert posture(evidence()).tier == "affirming"


def test_fresh_evidence_that_does_not_is_contraindicated() -> None:
    assert posture(evidence(False)).tier == "contraindicated"


def test_no_evidence_says_nothing() -> None:
    appraised = posture()

    assert appraised.tier == "none"
    assert appraised.facts["disk.encrypted"].envelope.status == "not_collected"


@given(st.integers(0, 30 * DAY), st.booleans())
def test_stale_evidence_is_never_affirming(age: int, value: bool) -> None:
    appraised = posture(evidence(value), now=NOW + age).facts["disk.encrypted"]

    if appraised.confidence < 1000 or not value:
        assert appraised.tier != "affirming"


def test_old_bad_news_stays_bad_news() -> None:
    assert posture(evidence(False), now=NOW + 30 * DAY).tier == "contraindicated"


@pytest.mark.parametrize("status", ["not_collected", "not_supported", "error"])
def test_what_was_not_observed_is_neither_good_nor_bad(status: str) -> None:
    assert posture(evidence(None, status=status)).tier == "none"


def test_sources_that_differ_leave_the_worse_value_and_a_code() -> None:
    appraised = posture(evidence(True, source="mdm", method="mdm_server"), evidence(False))

    assert appraised.facts["disk.encrypted"].envelope.value is False
    assert appraised.facts["disk.encrypted"].conflicts == ("mdm",)
    assert appraised.codes == ("SOURCE_CONFLICT",)
    assert appraised.tier == "contraindicated"


def test_sources_that_agree_leave_the_best_proven_one() -> None:
    standing, conflicts = reconcile(
        [evidence(source="agent"), evidence(source="mdm", method="mdm_server")], boot_id="b1", now=NOW
    )

    assert standing is not None
    assert standing.method == "mdm_server"
    assert conflicts == ()


def test_void_evidence_takes_no_part_in_a_conflict() -> None:
    standing, conflicts = reconcile(
        [evidence(False, received_at=NOW - 30 * DAY), evidence(source="mdm")], boot_id="b1", now=NOW
    )

    assert standing is not None
    assert standing.value is True
    assert conflicts == ()


def test_values_without_an_order_cannot_be_reconciled() -> None:
    items = [evidence("12", name="os.version"), evidence("13", name="os.version", source="mdm")]

    standing, conflicts = reconcile(items, boot_id="b1", now=NOW)

    assert standing is not None
    assert standing.status == "error"
    assert standing.value is None
    assert conflicts == ("agent", "mdm")


def test_a_boot_fact_of_another_boot_is_not_affirming() -> None:
    reference = [ReferenceValue(fact="boot.secure_boot", expect="equals", value=True)]

    assert posture(evidence(name="boot.secure_boot", boot_id="b1"), references=reference).tier == "affirming"
    assert posture(evidence(name="boot.secure_boot", boot_id="b0"), references=reference).tier == "none"


@pytest.mark.parametrize(
    ("reference", "value", "tier"),
    [
        (ReferenceValue(fact="patch.oldest_pending_days", expect="at_most", value=14), 14, "affirming"),
        (ReferenceValue(fact="patch.oldest_pending_days", expect="at_most", value=14, tier="warning"), 15, "warning"),
        (ReferenceValue(fact="patch.last_success_at", expect="at_least", value=NOW - 5), NOW, "affirming"),
        (ReferenceValue(fact="device.key_protection", expect="one_of", value=("hw", "attested_hw")), "hw", "affirming"),
        (ReferenceValue(fact="device.key_protection", expect="one_of", value=("hw",)), "file", "contraindicated"),
        (ReferenceValue(fact="vuln.kev_open", expect="empty"), (), "affirming"),
        (ReferenceValue(fact="vuln.kev_open", expect="empty"), ("CVE-1",), "contraindicated"),
        (ReferenceValue(fact="disk.encrypted", expect="equals", value=1), True, "contraindicated"),
        (ReferenceValue(fact="disk.encrypted", expect="at_most", value=1), True, "contraindicated"),
    ],
)
def test_each_kind_of_reference_value(reference: ReferenceValue, value: Any, tier: str) -> None:
    assert posture(evidence(value, name=reference.fact), references=[reference]).tier == tier


_items = st.lists(
    st.builds(
        evidence,
        st.booleans(),
        source=st.sampled_from(["agent", "mdm", "edr"]),
        method=st.sampled_from(["attested", "mdm_server", "signed_agent", "self_report"]),
        received_at=st.integers(NOW - 8 * DAY, NOW),
    ),
    min_size=1,
    max_size=5,
)


@given(_items)
def test_the_value_that_stands_is_the_worst_of_all_that_still_counts(items: list[Evidence]) -> None:
    standing, _ = reconcile(items, boot_id="b1", now=NOW)

    assert standing is not None
    for item in items:
        if confidence("disk.encrypted", item.envelope, boot_id="b1", now=NOW) > 0:
            assert (badness("disk.encrypted", standing.value) or 0) >= (
                badness("disk.encrypted", item.envelope.value) or 0
            )


@given(_items, st.randoms())
def test_the_order_in_which_sources_report_does_not_matter(items: list[Evidence], random: Any) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)

    first, second = (reconcile(each, boot_id="b1", now=NOW) for each in (items, shuffled))

    assert first[0] is not None
    assert second[0] is not None
    assert (first[0].value, first[0].method) == (second[0].value, second[0].method)
