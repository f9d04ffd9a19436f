"""Device records are read strictly, and a life cycle that is a table."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.device import (
    DEVICE_STATUSES,
    LIFECYCLE,
    DeviceRecordError,
    next_status,
    unknown_facts,
)
from device_inventory.device_json import MAX_BYTES, read_device
from device_inventory.fact_sheet import fact_sheet, policy_facts
from zt_engine.adapters.device_json import decode_device
from zt_engine.core.errors import ConfigError
from zt_engine.core.policy_input import fragment

NOW = 1_790_000_000
X5T = "A" * 43
JKT = "B" * 42 + "A"


def document(**changes: Any) -> dict[str, Any]:
    return {
        "tenant": "mofa",
        "device_id": "d-1",
        "version": 3,
        "status": "active",
        "ownership": "corp",
        "assigned": ["tanaka"],
        "keys": [{"x5t": X5T, "not_after": NOW + 86_400}, {"jkt": JKT, "not_after": "2026-11-23T00:00:00.9Z"}],
        "boot_id": "b1",
        "report_received_at": NOW,
        "facts": {
            "disk.encrypted": {"status": "observed", "value": True, "method": "signed_agent", "received_at": NOW},
            "vuln.kev_open": {"status": "observed", "value": [], "method": "mdm_server", "received_at": NOW - 5},
            "boot.secure_boot": {"status": "not_supported", "value": None, "method": "attested", "received_at": NOW},
        },
    } | changes


def fact(**changes: Any) -> dict[str, Any]:
    return {"status": "observed", "value": True, "method": "signed_agent", "received_at": NOW} | changes


def encoded(**changes: Any) -> bytes:
    return json.dumps(document(**changes)).encode()


def test_a_record_is_read_with_every_value_of_its_own_type() -> None:
    record = read_device(encoded())

    assert record.status == "active"
    assert [(key.x5t, key.jkt, key.not_after) for key in record.keys] == [
        (X5T, None, NOW + 86_400),
        (None, JKT, 1_795_392_000),
    ]
    assert record.facts["vuln.kev_open"].value == ()
    assert record.facts["boot.secure_boot"].value is None
    assert record.assigned == ("tanaka",)


def test_nothing_in_a_record_can_be_changed() -> None:
    record = read_device(encoded())

    assert isinstance(record.facts, MappingProxyType)
    with pytest.raises(AttributeError):
        record.status = "revoked"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        record.facts["disk.encrypted"].value = False  # type: ignore[misc]


def test_equal_envelopes_are_held_once() -> None:
    facts = {name: fact() for name in ("disk.encrypted", "firewall.enabled", "edr.running")}

    record = read_device(encoded(facts=facts))

    assert len({id(envelope) for envelope in record.facts.values()}) == 1


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"version": "3"}, "DEVICE_RECORD_TYPE", "version"),
        ({"version": True}, "DEVICE_RECORD_TYPE", "version"),
        ({"version": 1.5}, "DEVICE_RECORD_TYPE", "version"),
        ({"version": -1}, "DEVICE_RECORD_VALUE", "version"),
        ({"status": "actve"}, "DEVICE_RECORD_VALUE", "status"),
        ({"status": "unknown"}, "DEVICE_RECORD_VALUE", "status"),
        ({"status": None}, "DEVICE_RECORD_TYPE", "status"),
        ({"ownership": "unknown"}, "DEVICE_RECORD_VALUE", "ownership"),
        ({"tenant": ""}, "DEVICE_RECORD_VALUE", "tenant"),
        ({"device_id": "a\nb"}, "DEVICE_RECORD_VALUE", "device_id"),
        ({"device_id": "\ud800"}, "DEVICE_RECORD_VALUE", "device_id"),
        ({"device_id": "x" * 257}, "DEVICE_RECORD_VALUE", "device_id"),
        ({"assigned": "tanaka"}, "DEVICE_RECORD_TYPE", "assigned"),
        ({"assigned": [1]}, "DEVICE_RECORD_TYPE", "assigned[0]"),
        ({"assigned": ["a", "a"]}, "DEVICE_RECORD_DUPLICATE", "assigned"),
        ({"assigned": ["a"] * 300}, "DEVICE_RECORD_VALUE", "assigned"),
        ({"keys": {}}, "DEVICE_RECORD_TYPE", "keys"),
        ({"keys": [{"not_after": 1}]}, "DEVICE_RECORD_VALUE", "keys[0]"),
        ({"keys": [{"x5t": X5T, "jkt": JKT, "not_after": 1}]}, "DEVICE_RECORD_VALUE", "keys[0]"),
        ({"keys": [{"x5t": "short", "not_after": 1}]}, "DEVICE_RECORD_VALUE", "keys[0].x5t"),
        ({"keys": [{"x5t": "A" * 42 + "B", "not_after": 1}]}, "DEVICE_RECORD_VALUE", "keys[0].x5t"),
        ({"keys": [{"x5t": X5T}]}, "DEVICE_RECORD_MISSING", "keys[0].not_after"),
        ({"keys": [{"x5t": X5T, "not_after": 1, "kid": "x"}]}, "DEVICE_RECORD_UNKNOWN", "keys[0].kid"),
        ({"keys": [{"x5t": X5T, "not_after": 1}] * 2}, "DEVICE_RECORD_DUPLICATE", "keys"),
        ({"report_received_at": "yesterday"}, "DEVICE_RECORD_TIME", "report_received_at"),
        ({"report_received_at": "2026-02-30T00:00:00Z"}, "DEVICE_RECORD_TIME", "report_received_at"),
        ({"report_received_at": "2026-02-20T00:00:00"}, "DEVICE_RECORD_TIME", "report_received_at"),
        ({"report_received_at": 1e9}, "DEVICE_RECORD_TYPE", "report_received_at"),
        ({"report_received_at": 1_790_000_000_000}, "DEVICE_RECORD_TIME", "report_received_at"),
        ({"boot_id": None}, "DEVICE_RECORD_TYPE", "boot_id"),
        ({"facts": []}, "DEVICE_RECORD_TYPE", "facts"),
        ({"facts": {"disk.encrypted": True}}, "DEVICE_RECORD_TYPE", "facts.disk.encrypted"),
        ({"facts": {"disk.encrypted": fact(status="seen")}}, "DEVICE_RECORD_VALUE", "facts.disk.encrypted.status"),
        ({"facts": {"disk.encrypted": fact(method="rumour")}}, "DEVICE_RECORD_VALUE", "facts.disk.encrypted.method"),
        ({"facts": {"disk.encrypted": fact(value=None)}}, "DEVICE_RECORD_VALUE", "facts.disk.encrypted.value"),
        ({"facts": {"disk.encrypted": fact(status="error")}}, "DEVICE_RECORD_VALUE", "facts.disk.encrypted.value"),
        ({"facts": {"disk.encrypted": fact(value="yes")}}, "DEVICE_RECORD_TYPE", "facts.disk.encrypted.value"),
        ({"facts": {"disk.encrypted": fact(value=1)}}, "DEVICE_RECORD_TYPE", "facts.disk.encrypted.value"),
        ({"facts": {"kernel.taint": fact(value=True)}}, "DEVICE_RECORD_TYPE", "facts.kernel.taint.value"),
        ({"facts": {"vuln.kev_open": fact(value=["a", 1])}}, "DEVICE_RECORD_TYPE", "facts.vuln.kev_open.value[1]"),
        ({"facts": {"vuln.state": fact(value="fine")}}, "DEVICE_RECORD_VALUE", "facts.vuln.state.value"),
        ({"facts": {"vuln.max_cvss_open": fact(value="9")}}, "DEVICE_RECORD_TYPE", "facts.vuln.max_cvss_open.value"),
        ({"facts": {"Disk": fact()}}, "DEVICE_RECORD_FACT", "facts.Disk"),
        ({"facts": {f"f.x{i}": fact() for i in range(300)}}, "DEVICE_RECORD_VALUE", "facts"),
        ({"facts": {"later.fact": fact(value={"a": 1})}}, "DEVICE_RECORD_TYPE", "facts.later.fact.value"),
        ({"extra": 1}, "DEVICE_RECORD_UNKNOWN", "extra"),
    ],
)
def test_a_value_of_another_type_or_range_is_refused_by_field(changes: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(DeviceRecordError) as refused:
        read_device(encoded(**changes))

    assert (refused.value.code, refused.value.field) == (code, field)


@pytest.mark.parametrize("member", sorted(document()))
def test_every_member_is_required(member: str) -> None:
    members = document()
    del members[member]

    with pytest.raises(DeviceRecordError, match="DEVICE_RECORD_MISSING"):
        read_device(json.dumps(members).encode())


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "DEVICE_RECORD_SYNTAX"),
        (b"[]", "DEVICE_RECORD_TYPE"),
        (b"null", "DEVICE_RECORD_TYPE"),
        (b'{"tenant": ', "DEVICE_RECORD_SYNTAX"),
        (b"\xff\xfe{}", "DEVICE_RECORD_SYNTAX"),
        (b"\xef\xbb\xbf{}", "DEVICE_RECORD_SYNTAX"),
        (b'{"version": NaN}', "DEVICE_RECORD_SYNTAX"),
        (b'{"version": ' + b"9" * 5000 + b"}", "DEVICE_RECORD_SYNTAX"),
        (b"[" * 60_000, "DEVICE_RECORD_SYNTAX"),
        (b" " * (MAX_BYTES + 1), "DEVICE_RECORD_TOO_LARGE"),
        (b'{"tenant": "a", "tenant": "b"}', "DEVICE_RECORD_DUPLICATE"),
        (encoded().replace(b'"value": true', b'"value": true, "value": false'), "DEVICE_RECORD_DUPLICATE"),
    ],
)
def test_what_is_not_one_plain_json_object_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(DeviceRecordError) as refused:
        read_device(raw)

    assert refused.value.code == code


def test_a_fact_of_a_later_version_is_kept_and_never_confident() -> None:
    record = read_device(encoded(facts={"disk.encripted": fact(), "later.score": fact(value=1.5)}, status="revoked"))

    assert record.status == "revoked"
    assert unknown_facts(record) == (("disk.encripted", "disk.encrypted"), ("later.score", ""))
    assert policy_facts(record, tick_end=NOW, names=["disk.encripted"])["disk.encripted"]["confidence"] == 0


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_the_reader_raise_anything_else(raw: bytes) -> None:
    with pytest.raises(DeviceRecordError):
        read_device(raw)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(document())), _json)
def test_no_value_in_any_member_makes_the_reader_raise_anything_else(member: str, value: object) -> None:
    raw = json.dumps(document() | {member: value}).encode()

    try:
        record = read_device(raw)
    except DeviceRecordError as error:
        assert error.code.startswith("DEVICE_RECORD_")
    else:
        assert record.status in DEVICE_STATUSES


def test_the_engine_names_file_and_field() -> None:
    with pytest.raises(ConfigError) as refused:
        decode_device(encoded(status="actve"), where="devices/d-1.json")

    assert refused.value.code == "DEVICE_RECORD_VALUE"
    assert refused.value.where == "devices/d-1.json: status"


@pytest.mark.parametrize("status", DEVICE_STATUSES)
def test_nothing_leads_back_from_the_end_of_a_life(status: str) -> None:
    reached, waiting = set(), [status]
    while waiting:
        here = waiting.pop()
        steps = [after for (before, _), after in LIFECYCLE.items() if before == here and after not in reached]
        reached.update(steps)
        waiting.extend(steps)

    if status in ("revoked", "retired"):
        assert reached <= {"retired"}
    else:
        assert "revoked" in reached


def test_a_device_that_was_lost_is_looked_at_before_it_works_again() -> None:
    assert next_status("lost", "recover") == "quarantined"
    assert next_status("quarantined", "release") == "active"


@pytest.mark.parametrize(
    ("status", "event"), [("revoked", "activate"), ("retired", "enroll"), ("lost", "activate"), ("active", "enroll")]
)
def test_what_the_table_does_not_have_is_refused(status: Any, event: Any) -> None:
    with pytest.raises(DeviceRecordError, match="DEVICE_EVENT_REFUSED"):
        next_status(status, event)


_envelope = st.builds(
    fact,
    value=st.booleans(),
    received_at=st.integers(NOW - 900_000, NOW + 1000),
    method=st.sampled_from(["attested", "declared"]),
    boot_id=st.sampled_from(["", "b1", "b2"]),
) | st.just(fact(status="error", value=None))
NAMES: list[str] = ["disk.encrypted", "firewall.enabled", "edr.running", "boot.secure_boot", "later.fact", "100%.x"]


@given(st.dictionaries(st.sampled_from(NAMES[:5]), _envelope), st.integers(NOW - 2000, NOW + 1_000_000))
def test_a_fact_sheet_says_at_any_time_what_the_facts_say(facts: dict[str, Any], now: int) -> None:
    record = read_device(encoded(facts=facts))

    sheet = fact_sheet(record, names=NAMES)

    assert sheet.at(now) == fragment(policy_facts(record, tick_end=now, names=NAMES))


def test_a_sheet_shows_text_with_percent_signs_and_lists_as_they_are() -> None:
    facts = {"os.version": fact(value='100% "new"'), "vuln.kev_open": fact(value=["CVE-1", "CVE-2"])}
    record = read_device(encoded(facts=facts))

    shown = msgspec.json.decode(fact_sheet(record, names=facts).at(NOW))

    assert shown["os.version"]["value"] == '100% "new"'
    assert shown["vuln.kev_open"]["value"] == ["CVE-1", "CVE-2"]


def test_a_fact_the_record_lacks_is_shown_as_not_collected() -> None:
    record = read_device(encoded(facts={}))

    assert policy_facts(record, tick_end=NOW, names=["disk.encrypted"]) == {
        "disk.encrypted": {"status": "not_collected", "value": None, "method": "declared", "confidence": 0}
    }
