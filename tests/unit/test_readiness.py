"""What keeps a device from a label, asked of the compiled jp-gov policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from device_inventory.collectors.linux import collect
from device_inventory.device import DeviceKey, DeviceRecord
from device_inventory.facts import CATALOGUE, FactEnvelope, FactValue
from tests.device_trees import ubuntu_luks
from zt_engine.bootstrap.deciding_ground import ground_of_pack
from zt_engine.bootstrap.readiness import PolicyReadiness
from zt_engine.control_plane.remedies import Unmet
from zt_engine.core.errors import UnavailableError

NOW = 1_790_000_003
HEALTHY: Mapping[str, FactValue] = {
    "disk.encrypted": True,
    "os.supported": True,
    "patch.oldest_pending_days": 0,
    "vuln.kev_open": (),
    "vuln.kev_overdue": (),
    "edr.running": True,
    "av.realtime": True,
    "mdm.enrolled": True,
    "firewall.enabled": True,
    "boot.secure_boot": True,
    "screenlock.enabled": True,
    "user.is_admin": False,
    "integrity.rooted": False,
}
WORSE: Mapping[str, tuple[FactValue, ...]] = {
    "patch.oldest_pending_days": (30, 90),
    "vuln.kev_open": (("CVE-1",),),
    "vuln.kev_overdue": (("CVE-1",),),
    "user.is_admin": (True,),
    "integrity.rooted": (True,),
    "device.key_protection": ("hw", "os_keystore", "file"),
    **{name: (False,) for name, value in HEALTHY.items() if value is True},
}
UP_TO_C2 = ("C0", "C1", "C2")


@pytest.fixture(scope="module")
def readiness() -> Iterator[PolicyReadiness]:
    ground = ground_of_pack("jp-gov")
    asked = PolicyReadiness(ground.parts, ground.engine)
    yield asked
    asked.close()


def a_record(*, age: int = 10, method: str = "signed_agent", facts: Mapping[str, Any] = HEALTHY, **members: Any) -> Any:
    """A laptop whose last report is `age` seconds old, and whose TPM shows its key unless it only speaks for itself."""
    said = {
        name: FactEnvelope(status="observed", value=value, method=method, received_at=NOW - age)  # type: ignore[arg-type]
        for name, value in facts.items()
    }
    said["device.key_protection"] = FactEnvelope(
        status="observed",
        value="attested_hw",
        method="self_report" if method == "self_report" else "attested",
        received_at=NOW - age,
    )
    return DeviceRecord(
        **{
            "tenant": "default",
            "device_id": "laptop-1",
            "version": 7,
            "status": "active",
            "ownership": "corp",
            "assigned": ("tanaka",),
            "keys": (DeviceKey(x5t="A" * 43, not_after=NOW + 3600),),
            "boot_id": "boot-1",
            "report_received_at": NOW - age,
            "facts": MappingProxyType(said),
            **members,
        }
    )


def with_fact(record: DeviceRecord, name: str, **members: Any) -> DeviceRecord:
    """The same record with something else said of one fact."""
    changed = replace(record.facts[name], **members)
    return replace(record, facts=MappingProxyType({**record.facts, name: changed}))


def found(readiness: PolicyReadiness, record: DeviceRecord, *labels: str) -> list[tuple[str, str, str]]:
    """What is missing for some labels, as (code, label, fact)."""
    return [
        (one.code, one.label, one.fact) for one in readiness.unmet(record, now=NOW) if not labels or one.label in labels
    ]


def test_a_healthy_device_lacks_nothing_up_to_c2(readiness: PolicyReadiness) -> None:
    record = a_record()
    assert found(readiness, record, *UP_TO_C2) == []
    assert readiness.labels(record, now=NOW) == "C2"


def test_a_secret_label_names_the_facts_that_the_devices_own_agent_cannot_prove(readiness: PolicyReadiness) -> None:
    assert {(code, fact) for code, _, fact in found(readiness, a_record(), "C3-S")} == {
        ("ENCRYPTION_UNATTESTED", "disk.encrypted"),
        ("SECURE_BOOT_UNPROVEN", "boot.secure_boot"),
    }


def test_a_device_that_is_managed_lacks_nothing_up_to_secret(readiness: PolicyReadiness) -> None:
    record = a_record(method="mdm_server")
    assert found(readiness, record, *UP_TO_C2, "C3-S") == []
    assert readiness.labels(record, now=NOW) == "C3-S"


def test_a_disk_in_the_clear_keeps_the_device_from_c2_and_from_nothing_below(readiness: PolicyReadiness) -> None:
    record = with_fact(a_record(), "disk.encrypted", value=False)
    assert found(readiness, record, *UP_TO_C2) == [("FIX_DISK", "C2", "disk.encrypted")]
    assert readiness.labels(record, now=NOW) == "C1"


def test_a_fact_that_nobody_observed_is_named_like_one_that_is_bad(readiness: PolicyReadiness) -> None:
    record = with_fact(a_record(), "disk.encrypted", status="error", value=None)
    assert found(readiness, record, *UP_TO_C2) == [("FIX_DISK", "C2", "disk.encrypted")]


def test_of_facts_that_stand_for_each_other_one_is_asked_for(readiness: PolicyReadiness) -> None:
    one_off = with_fact(a_record(), "edr.running", value=False)
    assert found(readiness, one_off, *UP_TO_C2) == []
    both = with_fact(one_off, "av.realtime", status="not_collected", value=None)
    assert [code for code, _, _ in found(readiness, both, *UP_TO_C2)] == ["FIX_PROTECTION"]


def test_a_stale_report_asks_for_a_report_and_for_nothing_it_said(readiness: PolicyReadiness) -> None:
    assert found(readiness, a_record(age=100_000), *UP_TO_C2) == [("REPORT_STALE", "C2", "")]


def test_a_stale_report_that_was_bad_asks_for_both(readiness: PolicyReadiness) -> None:
    record = with_fact(a_record(age=100_000), "disk.encrypted", value=False)
    assert found(readiness, record, *UP_TO_C2) == [
        ("REPORT_STALE", "C2", ""),
        ("FIX_DISK", "C2", "disk.encrypted"),
    ]


def test_a_device_that_only_speaks_for_itself_is_told_that_somebody_has_to_vouch_for_it(
    readiness: PolicyReadiness,
) -> None:
    record = a_record(method="self_report")
    assert found(readiness, record, *UP_TO_C2) == [("FACTS_UNVOUCHED", "C2", "")]
    assert readiness.labels(record, now=NOW) == "C1"


def test_points_that_are_missing_name_the_fewest_facts_that_bring_them(readiness: PolicyReadiness) -> None:
    record = with_fact(a_record(), "patch.oldest_pending_days", value=90)
    for name in ("mdm.enrolled", "firewall.enabled", "screenlock.enabled", "boot.secure_boot"):
        record = with_fact(record, name, value=False)
    record = with_fact(record, "device.key_protection", value="file", method="self_report")
    assert [(code, fact) for code, _, fact in found(readiness, record, *UP_TO_C2)] == [
        ("FIX_PATCH", "patch.oldest_pending_days")
    ]


def test_ones_own_device_is_told_that_secret_labels_are_not_for_it_and_of_no_fact(readiness: PolicyReadiness) -> None:
    record = a_record(ownership="byod")
    assert found(readiness, record) == [("BYOD_CEILING", "C3-S", "")]
    assert readiness.labels(record, now=NOW) == "C2"


@pytest.mark.parametrize("method", ["signed_agent", "mdm_server", "attested"])
def test_ones_own_device_is_never_good_for_secret_papers_whoever_vouches_for_it(
    readiness: PolicyReadiness, method: str
) -> None:
    assert readiness.labels(a_record(ownership="byod", method=method, ceiling=1000), now=NOW) == "C2"
    assert readiness.labels(a_record(method="attested", ceiling=1000), now=NOW) != "C2"  # the same, issued


def test_what_an_agent_without_root_sees_opens_c1(readiness: PolicyReadiness, tmp_path: Path) -> None:
    seen = collect(ubuntu_luks(tmp_path).machine(now=NOW), scope="user")
    facts = {name: fact.value for name, fact in seen.items() if fact.status == "observed" and name in CATALOGUE}

    record = with_fact(a_record(method="self_report", facts=facts), "device.key_protection", value="file")

    assert "firewall.default_inbound" not in facts  # that takes root
    assert readiness.labels(record, now=NOW) == "C1"


def test_what_a_device_was_registered_for_ends_what_it_is_good_for(readiness: PolicyReadiness) -> None:
    record = a_record(ceiling=100)
    assert found(readiness, record) == []  # what lies beyond is not missing
    assert [label for _, label, _ in found(readiness, a_record(ceiling=100, facts={}))].count("C2") == 0
    assert readiness.labels(record, now=NOW) == "C1"


def test_a_lost_device_is_good_for_published_papers_only(readiness: PolicyReadiness) -> None:
    record = a_record(status="lost")
    assert ("DEVICE_LOST", "C1", "") in found(readiness, record)
    assert readiness.labels(record, now=NOW) == "C0"


def test_a_fact_of_another_boot_says_nothing_of_this_one(readiness: PolicyReadiness) -> None:
    record = with_fact(a_record(method="mdm_server"), "boot.secure_boot", boot_id="boot-0")
    assert [code for code, label, fact in found(readiness, record, "C3-S") if fact == "boot.secure_boot"]


def test_what_nobody_can_mend_at_the_device_is_left_out(readiness: PolicyReadiness) -> None:
    codes = {code for code, _, _ in found(readiness, a_record(facts={}))}
    assert codes.isdisjoint({"COMPARTMENT_MISSING", "EMPLOYMENT_NOT_ADMITTED", "CHANNEL_CLOSED_REQUIRED"})
    assert "CX" not in {label for _, label, _ in found(readiness, a_record(facts={}))}


def test_devices_that_say_the_same_are_asked_about_once(readiness: PolicyReadiness) -> None:
    record = with_fact(a_record(), "firewall.enabled", value=False)
    first = readiness.unmet(record, now=NOW)
    asked = readiness.asked
    same = replace(record, device_id="laptop-2", version=9, assigned=("sato",))
    assert readiness.unmet(same, now=NOW + 20) == first
    assert readiness.asked == asked


def test_the_questions_about_one_device_are_counted(readiness: PolicyReadiness) -> None:
    readiness.unmet(a_record(), now=NOW)
    before = readiness.asked
    readiness.unmet(a_record(facts={}, status="enrolled", age=777), now=NOW)
    labels = 6
    assert readiness.asked - before <= labels * (2 * len(CATALOGUE) + 8)


class _Broken:
    """An engine that answers nothing, or breaks."""

    revision = ""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def evaluate(self, _entrypoint: str, _document: bytes) -> bytes:
        raise self._error

    def close(self) -> None:
        return


@pytest.mark.parametrize("error", [UnavailableError("ENGINE_TIMEOUT", "too slow"), RuntimeError("broken")])
def test_without_an_answer_of_the_policy_it_says_that_it_does_not_know(error: Exception) -> None:
    ground = ground_of_pack("jp-gov")
    ground.engine.close()
    readiness = PolicyReadiness(ground.parts, _Broken(error))  # type: ignore[arg-type]
    assert list(readiness.unmet(a_record(), now=NOW)) == [Unmet(code="READINESS_UNKNOWN")]
    assert readiness.labels(a_record(), now=NOW) == ""


def test_a_record_of_odd_values_is_answered(readiness: PolicyReadiness) -> None:
    record = a_record(facts={"disk.encrypted": "yes", "vuln.kev_open": 3, "unheard.of": True, "os.supported": None})
    assert found(readiness, record)


RANKS = {"C0": 0, "C1": 100, "C2": 200, "C3-S": 300, "C3-TS": 400}


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[DeviceRecord, DeviceRecord]:
    """A device, and the same one with one fact worse."""
    method = draw(st.sampled_from(["signed_agent", "mdm_server", "self_report"]))
    record = a_record(method=method, age=draw(st.sampled_from([0, 10, 3000, 20_000])))
    for name in draw(st.sets(st.sampled_from(sorted(WORSE)), max_size=6)):
        record = with_fact(record, name, value=draw(st.sampled_from(WORSE[name])))
    name = draw(st.sampled_from(sorted(WORSE)))
    before = record.facts[name].value
    held = WORSE[name].index(before) if before in WORSE[name] else -1
    worse = WORSE[name][held + 1 :]
    value = draw(st.sampled_from(worse)) if worse else None
    changed = with_fact(record, name, value=value) if worse else with_fact(record, name, status="error", value=None)
    return record, changed


@settings(max_examples=40, deadline=None)
@given(_pairs())
def test_making_a_fact_worse_never_shortens_the_list_of_a_label(
    readiness: PolicyReadiness, pair: tuple[DeviceRecord, DeviceRecord]
) -> None:
    lists = [readiness.unmet(record, now=NOW) for record in pair]
    for label, rank in RANKS.items():
        before, after = (sum(RANKS[one.label] <= rank for one in missing) for missing in lists)
        assert before <= after, label
    highest = [RANKS[readiness.labels(record, now=NOW)] for record in pair]
    assert highest[1] <= highest[0]
