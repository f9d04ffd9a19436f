"""Reports: the channel says how far they are believed, the server says when, and the sequence only grows."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from device_inventory.claims import read_helper_claims, read_report
from device_inventory.device import DeviceRecordError
from device_inventory.facts import CATALOGUE, DAY, badness, confidence
from device_inventory.inventory import Device, publish, said
from device_inventory.notice import allowed
from device_inventory.operations import activate, quarantine, report_lost, revoke
from device_inventory.reports import REPORTS_APART, Ingested, ingest
from tests.unit.inventory_support import (
    COLLECTED,
    NOW,
    claims,
    device,
    document,
    helper,
    invitation,
    key,
    report,
    reported,
    trusted,
)

DISK = {"disk.encrypted": True}


def published(known: Device, name: str, *, now: int = NOW) -> Any:
    return publish(known, names=CATALOGUE, now=now).facts.get(name)


def codes(taken: Ingested) -> set[str]:
    return {finding.code for finding in taken.findings}


def test_the_channel_sets_the_method() -> None:
    sent = {"disk.encrypted": True, "screenlock.enabled": True}
    known = reported(trusted(values=DISK), sent, at=NOW + 900, signed=DISK, attested={"boot.measured": True}).device

    facts = publish(known, names=CATALOGUE, now=NOW + 900).facts

    assert facts["screenlock.enabled"].method == "self_report"
    assert facts["disk.encrypted"].method == "signed_agent"
    assert facts["boot.measured"].method == "attested"


def test_a_helper_withdraws_nothing_by_silence() -> None:
    known = reported(trusted(), {}, at=NOW + 900, signed={"firewall.enabled": True}).device

    fact = published(known, "disk.encrypted", now=NOW + 900)

    assert (fact.value, fact.method, fact.received_at) == (True, "signed_agent", NOW)


def test_two_numbers_of_different_times_are_no_contradiction() -> None:
    taken = reported(device(), {"patch.metadata_age": 3}, at=NOW, signed={"patch.metadata_age": 4})

    assert "SOURCE_CONFLICT" not in codes(taken)
    assert published(taken.device, "patch.metadata_age").value == 4


@pytest.mark.parametrize("claim", [{"method": "attested"}, {"received_at": NOW}, {"source": "mdm"}, {"boot_id": "b"}])
def test_a_report_that_says_how_far_it_is_to_be_believed_is_refused(claim: dict[str, Any]) -> None:
    sent = document(DISK)
    sent["facts"]["disk.encrypted"] |= claim

    with pytest.raises(DeviceRecordError, match="REPORT_MALFORMED"):
        read_report(sent)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seq": 0}, "seq"),
        ({"seq": True}, "seq"),
        ({"seq": "7"}, "seq"),
        ({"seq": 2**53}, "seq"),
        ({"boot_id": ""}, "boot_id"),
        ({"boot_id": "b 1"}, "boot_id"),
        ({"boot_id": "x" * 65}, "boot_id"),
        ({"delta": 1}, "delta"),
        ({"device": 7}, "device"),
        ({"collector": "1.0"}, "collector"),
        ({"collector": {"version": "1.0"}}, "collector.scope"),
        ({"facts": []}, "facts"),
        ({"facts": {"disk.encrypted": True}}, "facts.disk.encrypted"),
        (
            {"facts": {"disk.encrypted": {"status": "good", "value": True, "collected_at": 1}}},
            "facts.disk.encrypted.status",
        ),
        ({"facts": {"disk.encrypted": {"status": "observed", "value": True}}}, "facts.disk.encrypted.collected_at"),
        ({"facts": {f"x.y{n}": {} for n in range(300)}}, "facts"),
        ({"confirmed": "disk.encrypted"}, "confirmed"),
        ({"delta": True, "confirmed": ["disk.encrypted"]}, "confirmed"),
        ({"delta": True, "confirmed": ["firewall.enabled"] * 2}, "confirmed"),
        ({"confirmed": ["firewall.enabled"]}, "confirmed"),
        ({"trust": 100}, "trust"),
    ],
)
def test_a_report_is_read_strictly(change: dict[str, Any], field: str) -> None:
    with pytest.raises(DeviceRecordError) as refused:
        read_report(document(DISK) | change)

    assert refused.value.code == "REPORT_MALFORMED"
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("disk.encrypted", "true"),
        ("disk.encrypted", 1),
        ("disk.encrypted", {"value": True}),
        ("patch.pending_security", -1),
        ("patch.pending_security", 1.5),
        ("firewall.default_inbound", "open"),
        ("os.version", "x" * 257),
        ("os.version", "a\x00b"),
        ("root_equiv_groups", "docker"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_the_name_of_its_fact(name: str, value: Any) -> None:
    with pytest.raises(DeviceRecordError) as refused:
        read_report(document({name: value}))

    assert refused.value.code == "REPORT_FACT_VALUE"
    assert refused.value.field.startswith(name)


def test_a_value_without_an_observation_is_refused() -> None:
    sent = document(DISK)
    sent["facts"]["disk.encrypted"]["status"] = "error"

    with pytest.raises(DeviceRecordError, match="REPORT_FACT_VALUE"):
        read_report(sent)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*document(), "confirmed", "other"]), _json), st.booleans())
def test_nothing_makes_the_reader_raise_anything_else(changes: dict[str, Any], by_helper: bool) -> None:
    try:
        read_helper_claims(changes) if by_helper else read_report(document(DISK) | changes)
    except DeviceRecordError as error:
        assert error.code in ("REPORT_MALFORMED", "REPORT_FACT_VALUE")


def test_an_unknown_fact_is_named_and_dropped() -> None:
    sent = document(DISK)
    sent["facts"]["files.opened"] = {"anything": ["secret"]}

    taken = ingest(device(), read_report(sent), now=NOW)

    assert taken.refusal is None
    assert ("REPORT_FACT_UNKNOWN", "files.opened") in {(finding.code, finding.fact) for finding in taken.findings}
    assert set(taken.device.sources["agent"].facts) == {"disk.encrypted"}


def test_a_device_of_ones_own_is_not_asked_more_than_its_notice_says() -> None:
    private = device(invited=invitation(ownership="byod"))

    taken = reported(private, {"disk.encrypted": True, "root_equiv_groups": ["docker"]}, at=NOW)

    assert set(taken.device.sources["agent"].facts) == {"disk.encrypted"}
    assert ("REPORT_FACT_REFUSED", "root_equiv_groups") in {(found.code, found.fact) for found in taken.findings}


@pytest.mark.parametrize("name", ["device.key_protection", "device.ownership", "vuln.kev_open", "report_seq"])
def test_a_report_says_nothing_about_what_the_inventory_knows_itself(name: str) -> None:
    value = {"device.key_protection": "attested_hw", "device.ownership": "corp", "vuln.kev_open": []}.get(name, 7)

    taken = reported(device(key(protection="file")), {name: value}, at=NOW)

    assert name not in taken.device.sources["agent"].facts
    assert "REPORT_FACT_REFUSED" in codes(taken)


def test_the_time_of_a_fact_is_the_servers() -> None:
    taken = reported(device(), DISK, at=NOW, collected=NOW - 200).device

    assert published(taken, "disk.encrypted").received_at == NOW


def test_a_fact_from_the_future_is_flagged_and_counts_from_now() -> None:
    taken = reported(device(), DISK, at=NOW, collected=NOW + 301)

    assert "CLOCK_SKEW" in codes(taken)
    assert taken.device.findings == ("CLOCK_SKEW",)
    assert published(taken.device, "disk.encrypted").received_at == NOW
    assert "CLOCK_SKEW" not in codes(reported(device(), DISK, at=NOW, collected=NOW + 300))


def test_evidence_of_more_than_five_minutes_ago_counts_from_when_it_was_collected() -> None:
    taken = reported(device(), DISK, at=NOW, collected=NOW - 301).device

    assert published(taken, "disk.encrypted").received_at == NOW - 301


def test_old_evidence_told_again_says_nothing_new() -> None:
    bad = reported(device(), {"disk.encrypted": False}, at=NOW).device

    taken = reported(bad, DISK, at=NOW + 900, collected=NOW - 7200).device

    assert published(taken, "disk.encrypted", now=NOW + 900).value is False
    assert published(taken, "disk.encrypted", now=NOW + 900).received_at == NOW


@pytest.mark.parametrize("seq", [1, 2])
def test_a_sequence_that_does_not_grow_is_refused(seq: int) -> None:
    known = reported(device(), DISK, at=NOW, seq=2).device

    taken = reported(known, {"disk.encrypted": False}, at=NOW + 900, seq=seq)

    assert taken.refusal is not None
    assert taken.refusal.code == "REPORT_SEQ"
    assert "2" in taken.refusal.message
    assert not taken.changed
    assert taken.device.version == known.version
    assert taken.device.sources == known.sources
    assert taken.device.report_received_at == NOW


def test_a_report_about_another_device_is_refused() -> None:
    taken = ingest(device(), report(device="d-2"), now=NOW)

    assert taken.refusal is not None
    assert taken.refusal.code == "REPORT_FOREIGN"
    assert taken.device == device()


@pytest.mark.parametrize("end", [report_lost, revoke])
def test_a_device_that_is_lost_or_revoked_reports_nothing(end: Any) -> None:
    known = end(device(), now=NOW, reason="r")

    taken = reported(known, DISK, at=NOW + 60)

    assert taken.refusal is not None
    assert taken.refusal.code == "REPORT_STATUS"
    assert taken.device is known


def test_a_quarantined_device_may_report_so_that_it_can_be_mended() -> None:
    known = quarantine(device(), now=NOW, reason="r")

    assert reported(known, DISK, at=NOW + 60).refusal is None


def test_what_changed_is_told_by_a_new_version_and_what_only_grew_older_is_not() -> None:
    first = reported(device(), DISK, at=NOW)
    again = reported(first.device, DISK, at=NOW + 900)
    worse = reported(again.device, {"disk.encrypted": False}, at=NOW + 1800)

    assert first.changed
    assert first.device.version == device().version + 1
    assert not again.changed
    assert again.device.version == first.device.version
    assert again.device.report_received_at == NOW + 900
    assert again.confirmed == ("device.key_protection", "disk.encrypted")
    assert worse.changed
    assert worse.device.version == first.device.version + 1


def test_only_facts_that_sidecars_read_are_a_change_to_them() -> None:
    known = ingest(
        device(), report({"os.build": "1", "disk.encrypted": True}), now=NOW, names=["disk.encrypted"]
    ).device

    taken = ingest(
        known, report({"os.build": "2", "disk.encrypted": True}, seq=2), now=NOW + 60, names=["disk.encrypted"]
    )

    assert not taken.changed
    assert taken.confirmed == ("disk.encrypted",)


def test_a_delta_confirms_what_it_names_and_leaves_the_rest_to_age() -> None:
    both = {"disk.encrypted": True, "firewall.enabled": True}
    known = reported(device(), both, at=NOW).device

    taken = reported(known, {}, at=NOW + 900, confirmed=("firewall.enabled",))

    assert published(taken.device, "firewall.enabled", now=NOW + 900).received_at == NOW + 900
    assert published(taken.device, "disk.encrypted", now=NOW + 900).received_at == NOW
    assert taken.confirmed == ("device.key_protection", "firewall.enabled")
    assert not taken.changed


def test_a_delta_cannot_confirm_what_is_not_held() -> None:
    taken = reported(device(), {}, at=NOW, confirmed=("firewall.enabled",))

    assert "REPORT_FACT_MISSING" in codes(taken)
    assert published(taken.device, "firewall.enabled") is None


def test_a_helper_confirms_what_it_said_itself() -> None:
    known = trusted()

    taken = ingest(
        known,
        report({}, seq=known.report_seq + 1, confirmed=tuple(COLLECTED), at=NOW + 900),
        helper=helper({}, at=NOW + 900, confirmed=tuple(COLLECTED)),
        now=NOW + 900,
    )

    assert not taken.changed
    assert set(taken.confirmed) == {*COLLECTED, "device.key_protection"}


def test_a_new_boot_voids_what_was_true_of_the_one_before() -> None:
    boot = {"boot.secure_boot": True, "disk.encrypted": True}
    known = reported(device(), boot, at=NOW).device

    taken = reported(known, {"firewall.enabled": True}, at=NOW + 900, boot_id="b2", delta=True)

    record = publish(taken.device, names=CATALOGUE, now=NOW + 900)
    assert taken.changed
    assert record.boot_id == "b2"
    assert confidence("boot.secure_boot", record.facts["boot.secure_boot"], boot_id="b2", now=NOW + 900) == 0
    assert confidence("disk.encrypted", record.facts["disk.encrypted"], boot_id="b2", now=NOW + 900) == 1000


def test_a_boot_fact_cannot_be_confirmed_across_boots_and_is_good_when_it_is_reported_again() -> None:
    known = reported(device(), {"boot.secure_boot": True}, at=NOW).device

    confirmed = reported(known, {}, at=NOW + 900, boot_id="b2", confirmed=("boot.secure_boot",))
    anew = reported(known, {"boot.secure_boot": True}, at=NOW + 900, boot_id="b2").device

    assert "REPORT_FACT_MISSING" in codes(confirmed)
    assert published(confirmed.device, "boot.secure_boot", now=NOW + 900).boot_id not in ("", "b2")
    record = publish(anew, names=CATALOGUE, now=NOW + 900)
    assert confidence("boot.secure_boot", record.facts["boot.secure_boot"], boot_id="b2", now=NOW + 900) == 1000


def test_bad_news_stays_when_it_is_no_longer_told() -> None:
    known = reported(device(), {"disk.encrypted": False}, at=NOW).device

    for withheld in ({}, {"disk.encrypted": None}):
        taken = reported(known, withheld, at=NOW + 900).device
        assert published(taken, "disk.encrypted", now=NOW + 900).value is False


def test_good_news_that_is_no_longer_collected_is_no_longer_held() -> None:
    known = reported(device(), DISK, at=NOW).device

    taken = reported(known, {}, at=NOW + 900)

    assert published(taken.device, "disk.encrypted", now=NOW + 900).status == "not_collected"
    assert taken.changed


def test_where_agent_and_helper_differ_the_worse_value_stands() -> None:
    taken = reported(
        trusted(), {**COLLECTED, "firewall.enabled": True}, at=NOW + 900, signed={"firewall.enabled": False}
    )

    assert published(taken.device, "firewall.enabled", now=NOW + 900).value is False
    assert "SOURCE_CONFLICT" in taken.device.findings


def test_the_key_is_as_old_as_the_report_it_signed() -> None:
    known = trusted(key(protection="attested_hw"))

    fact = published(known, "device.key_protection", now=NOW + 5000)

    assert (fact.value, fact.method, fact.received_at) == ("attested_hw", "attested", NOW)
    assert published(device(), "device.key_protection") is None


def test_of_two_live_keys_the_worse_kept_one_is_the_devices() -> None:
    known = trusted(key(protection="attested_hw"))
    both = replace(known, keys=(*known.keys, key(2, protection="file")))

    assert published(both, "device.key_protection").value == "file"


def test_a_new_device_is_a_self_report_until_two_reports_agree_ten_minutes_apart() -> None:
    first = reported(device(), at=NOW, signed=COLLECTED, attested={"boot.measured": True})
    early = reported(first.device, at=NOW + REPORTS_APART - 1, signed=COLLECTED)
    later = reported(early.device, at=NOW + REPORTS_APART, signed=COLLECTED)

    for taken in (first, early):
        record = publish(taken.device, names=CATALOGUE, now=NOW + REPORTS_APART)
        assert {fact.method for name, fact in record.facts.items() if name != "device.ownership"} == {"self_report"}
        assert "REPORT_UNCONFIRMED" in codes(taken)
    assert later.changed
    assert "REPORT_UNCONFIRMED" not in codes(later)
    assert published(later.device, "disk.encrypted", now=NOW + REPORTS_APART).method == "signed_agent"
    assert published(later.device, "device.key_protection", now=NOW + REPORTS_APART).method == "attested"


def test_reports_without_a_helper_prove_nothing() -> None:
    known = device()
    for number in range(5):
        known = reported(known, at=NOW + number * 900).device

    assert published(known, "device.key_protection", now=NOW + 4000).method == "self_report"
    first_by_helper = reported(known, at=NOW + 5000, signed=COLLECTED).device
    assert published(first_by_helper, "disk.encrypted", now=NOW + 5000).method == "self_report"


def test_a_contradiction_starts_the_count_anew() -> None:
    first = reported(device(), at=NOW, signed=COLLECTED).device
    torn = reported(first, at=NOW + 700, signed={**COLLECTED, "firewall.enabled": False}).device
    mended = reported(torn, at=NOW + 1400, signed=COLLECTED).device
    again = reported(mended, at=NOW + 2100, signed=COLLECTED).device

    assert torn.consistent_reports == 0
    assert mended.consistent_reports == 1
    assert again.consistent_reports == 2


def test_nobody_vouches_for_a_value_that_comes_and_goes() -> None:
    known = trusted()
    for number in range(1, 5):
        values = {**COLLECTED, "firewall.enabled": number % 2 == 0}
        taken = reported(known, values, at=NOW + number * 900, signed=values)
        known = taken.device

    assert "FACT_FLAPPING" in known.findings
    assert published(known, "firewall.enabled", now=NOW + 3600).value is True
    assert published(known, "firewall.enabled", now=NOW + 3600).method == "declared"
    assert published(known, "disk.encrypted", now=NOW + 3600).method == "signed_agent"
    calm = reported(known, at=NOW + 3600 + DAY, signed=COLLECTED)
    assert calm.changed
    assert published(calm.device, "firewall.enabled", now=NOW + 3600 + DAY).method == "signed_agent"


def test_one_repair_is_no_flapping() -> None:
    broken = reported(device(), {"firewall.enabled": False}, at=NOW).device

    taken = reported(broken, {"firewall.enabled": True}, at=NOW + 60)

    assert "FACT_FLAPPING" not in codes(taken)
    assert [change.value for change in taken.device.history] == [False, True]


def test_the_history_is_bounded() -> None:
    known = device()
    for number in range(1, 60):
        known = reported(known, {"firewall.enabled": number % 2 == 0}, at=NOW + number).device

    assert len(known.history) == 8


def test_activation_is_told_once_and_compared_with_nothing() -> None:
    known = reported(device(), DISK, at=NOW).device

    taken = reported(activate(known, now=NOW + 1), DISK, at=NOW + 900)

    assert taken.changed  # what an operation told was not remembered
    assert not reported(taken.device, DISK, at=NOW + 1800).changed


_names = sorted(
    name for name in allowed("corp") if CATALOGUE[name].type == "boolean" and CATALOGUE[name].order != "none"
)
_values = st.dictionaries(st.sampled_from(_names), st.booleans() | st.none(), max_size=6)
_reports = st.lists(
    st.tuples(_values, st.none() | _values, st.booleans(), st.integers(1, 2000)), min_size=1, max_size=6
)


def _worth(known: Device, name: str, now: int) -> int:
    """What a fact is worth: nothing when it is unknown, less when it is worse or by a weaker word."""
    record = publish(known, names=[name], now=now)
    fact = record.facts.get(name)
    if fact is None or fact.status != "observed" or badness(name, fact.value) != 0:
        return 0
    share = {"attested": 1000, "signed_agent": 850, "self_report": 400, "declared": 200}[fact.method]
    return share * confidence(name, fact, boot_id=record.boot_id, now=now)


@given(_reports, st.sampled_from(_names))
def test_withholding_a_fact_never_makes_it_better(history: list[Any], name: str) -> None:
    known, at = device(), NOW
    for values, signed, delta, after in history:
        at += after
        known = reported(known, values, at=at, signed=signed, delta=delta).device
    values, signed, delta, _ = history[-1]

    without = {each: value for each, value in values.items() if each != name}
    silent = None if signed is None else {each: value for each, value in signed.items() if each != name}
    before = _worth(known, name, at + 900)
    said_again = reported(known, without, at=at + 900, signed=silent, delta=delta).device

    assert _worth(said_again, name, at + 900) <= before or said_again.consistent_reports > known.consistent_reports


@given(_reports)
def test_what_is_told_as_unchanged_is_what_sidecars_hold(history: list[Any]) -> None:
    """A sidecar that applies `changed` and `seen` as they come never holds a fact better than the inventory does."""
    known, at = device(), NOW
    held: dict[str, Any] = {}
    for values, signed, delta, after in history:
        at += after
        taken = reported(known, values, at=at, signed=signed, delta=delta)
        known = taken.device
        record = publish(known, names=CATALOGUE, now=at)
        if taken.changed:
            held = dict(record.facts)
        for name in taken.confirmed:
            held[name] = replace(held[name], received_at=known.report_received_at)

        assert {name: (fact.status, fact.value, fact.method) for name, fact in held.items()} == {
            name: (fact.status, fact.value, fact.method) for name, fact in record.facts.items()
        }
        assert all(held[name].received_at <= record.facts[name].received_at for name in held)


def test_what_a_source_said_is_kept_apart() -> None:
    known = trusted()

    assert {each.source for each in said(known, "disk.encrypted", now=NOW)} == {"agent", "helper"}
    assert isinstance(known.sources, MappingProxyType)
    assert claims(DISK, at=NOW)["facts"]["disk.encrypted"]["value"] is True
