"""Each adversary of a device's posture, and what stops it. What nothing stops is said in docs/device-inventory.md.

A score is that of the real model, for a person who signed in perfectly and sits in the office: whatever the device
lacks, it lacks by itself. Below 60 nothing of level 2 opens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from device_inventory.device import DeviceRecordError
from device_inventory.facts import CATALOGUE, DAY, confidence
from device_inventory.importers.rows import Gathered, ImportedDevice
from device_inventory.imports import take_import
from device_inventory.inventory import Device, SourceFacts, publish
from device_inventory.operations import activate, admit_key, report_lost, revoke
from device_inventory.reports import REPORTS_APART
from tests.unit.inventory_support import COLLECTED, NOW, device, document, key, reported, trusted
from tests.unit.trust_support import MODEL, OFFICE, context, person
from zt_engine.core.trust import combine, device_points, subject_points

C2 = 60
SELF_REPORT_TOP = 55


def with_vulnerabilities(known: Device, *, at: int) -> Device:
    """The facts the server matches itself, all good and as fresh as the report."""
    gathered = Gathered(at)
    gathered.observed("vuln.kev_open", [])
    gathered.observed("vuln.kev_overdue", [])
    facts = {name: replace(fact, method="self_report") for name, fact in gathered.facts().items()}
    source = SourceFacts(source="agent-software", received_at=at, facts=facts)
    return replace(known, sources={**known.sources, source.source: source})


def trust(known: Device, *, at: int = NOW) -> int:
    """The score of a perfect person at this device."""
    record = publish(known, names=CATALOGUE, now=at)
    subject = subject_points(MODEL, replace(person(), auth_time=at - 60), binding="mtls", tick_end=at)
    return combine(MODEL, device_points(MODEL, record, tick_end=at), subject, context(OFFICE)).score


def imported(values: Mapping[str, Any], *, at: int = NOW) -> ImportedDevice:
    gathered = Gathered(at)
    for name, value in values.items():
        gathered.observed(name, value)
    return ImportedDevice(source="intune", line=2, received_at=at, facts=gathered.facts(), device_id="d-1")


def fact(known: Device, name: str, *, at: int = NOW) -> Any:
    return publish(known, names=[name], now=at).facts.get(name)


def test_the_honest_device_of_this_table_opens_level_2() -> None:
    assert trust(trusted()) >= C2


def test_a0_honest_but_stale_is_stopped_by_decay() -> None:
    known = trusted()

    scores = [trust(known, at=NOW + age) for age in (0, DAY, 3 * DAY, 7 * DAY)]

    assert scores == sorted(scores, reverse=True)
    assert scores[0] >= C2 > scores[2]
    assert trust(known, at=NOW + 8 * DAY) <= 15


@pytest.mark.parametrize("protection", ["attested_hw", "hw", "file"])
def test_a1_a_forged_perfect_self_report_is_stopped_by_its_method(protection: str) -> None:
    known = device(key(protection=protection))
    for number in range(10):
        known = reported(known, at=NOW + number * 900).device
    at = NOW + 9 * 900

    forged = with_vulnerabilities(known, at=at)

    assert trust(forged, at=at) <= SELF_REPORT_TOP < C2
    assert (trust(forged, at=at) == SELF_REPORT_TOP) == (protection == "attested_hw")
    assert {each.method for each in publish(forged, names=COLLECTED, now=at).facts.values()} == {"self_report"}


def test_a1_cannot_name_his_own_method() -> None:
    from device_inventory.claims import read_report

    sent = document()
    sent["facts"]["disk.encrypted"]["method"] = "mdm_server"

    with pytest.raises(DeviceRecordError, match="REPORT_MALFORMED"):
        read_report(sent)


def test_a1_who_sends_the_helper_away_keeps_his_attested_key_and_not_its_weight() -> None:
    known = trusted()
    for number in range(1, 10):
        known = reported(known, at=NOW + number * DAY).device
    at = NOW + 9 * DAY

    assert trust(with_vulnerabilities(known, at=at), at=at) <= SELF_REPORT_TOP


def test_a1_and_a_helper_of_a_minute_ago_are_stopped_by_having_proven_nothing() -> None:
    first = reported(device(), at=NOW, signed=COLLECTED, attested={"boot.measured": True, "boot.secure_boot": True})
    early = reported(first.device, at=NOW + REPORTS_APART - 1, signed=COLLECTED)
    later = reported(early.device, at=NOW + REPORTS_APART, signed=COLLECTED)

    assert trust(with_vulnerabilities(first.device, at=NOW)) < C2
    assert trust(with_vulnerabilities(early.device, at=NOW + 599), at=NOW + 599) < C2
    assert trust(later.device, at=NOW + 600) >= C2


def test_a2_a_user_with_sudo_is_stopped_by_the_servers_view_from_outside() -> None:
    known = take_import(trusted(), imported({"disk.encrypted": False}), now=NOW)

    assert fact(known.device, "disk.encrypted").value is False
    assert "SOURCE_CONFLICT" in known.device.findings
    # And what his helper signs is never what secret papers ask for.
    assert fact(trusted(), "disk.encrypted").method not in ("attested", "mdm_server")


def test_a2_a_copied_key_file_is_known_to_be_one() -> None:
    known = trusted(key(protection="file"))

    assert fact(known, "device.key_protection").value == "file"
    assert trust(known) < trust(trusted(key(protection="attested_hw")))


def test_a3_malware_as_the_user_cannot_speak_for_the_helper() -> None:
    honest = {**COLLECTED, "edr.running": False}

    known = reported(trusted(), {**COLLECTED, "edr.running": True}, at=NOW + 900, signed=honest).device

    assert fact(known, "edr.running", at=NOW + 900).value is False
    assert fact(known, "edr.running", at=NOW + 900).method == "signed_agent"


def test_a4_malware_as_root_is_stopped_by_what_a_server_sees_and_forges_no_quote() -> None:
    forged = reported(trusted(), at=NOW + 900, signed={**COLLECTED, "boot.measured": True}).device

    seen = take_import(forged, imported({"edr.running": False}, at=NOW + 900), now=NOW + 900).device

    assert fact(seen, "edr.running", at=NOW + 900).value is False
    assert fact(seen, "boot.measured", at=NOW + 900).method == "signed_agent"


def test_a5_a_thief_is_stopped_by_the_lost_flag_and_by_a_key_that_fades() -> None:
    known = activate(trusted(), now=NOW)

    lost = publish(report_lost(known, now=NOW + 1), names=CATALOGUE, now=NOW + 1)
    key_fact = fact(known, "device.key_protection")

    assert lost.status == "lost"
    assert lost.version > publish(known, names=(), now=NOW).version
    assert confidence("device.key_protection", key_fact, boot_id="b1", now=NOW + 3600) == 0


def test_a6_a_clone_is_stopped_by_its_second_stream_and_takes_the_original_with_it() -> None:
    original = activate(reported(device(), at=NOW, boot_id="b1").device, now=NOW)

    copy = reported(original, at=NOW + 60, boot_id="b2").device
    noticed = reported(copy, at=NOW + 120, boot_id="b1")

    assert noticed.refusal is not None
    assert noticed.refusal.code == "DEVICE_CLONED"
    assert publish(noticed.device, names=(), now=NOW + 120).status == "quarantined"


def test_a7_a_lent_identity_is_stopped_by_the_key_of_the_connection() -> None:
    """A record is found by the certificate of the very connection, and a certificate is one device's."""
    good = publish(trusted(), names=CATALOGUE, now=NOW)
    bad = replace(device(key(2)), device_id="d-2")

    assert [each.x5t for each in good.keys] == [key(1).x5t]
    assert key(1).x5t not in {each.x5t for each in publish(bad, names=(), now=NOW).keys}
    with pytest.raises(DeviceRecordError, match="KEY_IN_USE"):
        admit_key(key(1).spki, trusted(), device_id="d-2")


@pytest.mark.parametrize("name", sorted(COLLECTED))
def test_a8_withholding_a_fact_never_scores_better_than_telling_it(name: str) -> None:
    bad = CATALOGUE[name]
    worst: Any = {"boolean": bad.order == "false", "count": 400}[bad.type]
    told = {**COLLECTED, name: worst}
    silent = {each: value for each, value in COLLECTED.items() if each != name}
    known = take_import(trusted(values=told), imported({name: COLLECTED[name]}), now=NOW).device

    honest = reported(known, told, at=NOW + 900, signed=told).device
    withheld = reported(known, silent, at=NOW + 900, signed=silent).device
    not_collected = reported(known, {**silent, name: None}, at=NOW + 900, signed={**silent, name: None}).device
    nothing_at_all = known

    assert trust(withheld, at=NOW + 900) <= trust(honest, at=NOW + 900)
    assert trust(not_collected, at=NOW + 900) <= trust(honest, at=NOW + 900)
    assert trust(nothing_at_all, at=NOW + 900) <= trust(honest, at=NOW + 900)


def test_a9_a_clock_that_lies_is_stopped_by_the_servers_own() -> None:
    ahead = reported(device(), {"disk.encrypted": True}, at=NOW, collected=NOW + 30 * DAY)

    assert fact(ahead.device, "disk.encrypted").received_at == NOW
    assert "CLOCK_SKEW" in ahead.device.findings


def test_a10_a_good_report_of_before_is_stopped_by_its_number_and_by_its_age() -> None:
    good = reported(device(), {"disk.encrypted": True}, at=NOW).device
    bad = reported(good, {"disk.encrypted": False}, at=NOW + 900).device

    replayed = reported(bad, {"disk.encrypted": True}, at=NOW + 960, collected=NOW, seq=1)
    told_again = reported(bad, {"disk.encrypted": True}, at=NOW + 960, collected=NOW)

    assert replayed.refusal is not None
    assert replayed.refusal.code == "REPORT_SEQ"
    assert fact(told_again.device, "disk.encrypted", at=NOW + 960).value is False


def test_a_revoked_device_has_no_key_whatever_it_reports() -> None:
    known = revoke(trusted(), now=NOW, reason="stolen")

    again = reported(known, at=NOW + 60, signed=COLLECTED)

    assert again.refusal is not None
    assert publish(again.device, names=CATALOGUE, now=NOW + 60).keys == ()
