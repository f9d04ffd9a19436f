"""Tables of any program are imported by a mapping that is data, and read as strictly as the mapping says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device_inventory.device import DeviceRecordError
from device_inventory.importers.mapped import TableMapping, mapped_csv, mapped_json, read_mapping
from device_inventory.importers.rows import ImportedDevice
from tests.unit.importers_support import (
    NOW,
    SEEN_AT,
    codes,
    listed,
    one,
    pieces,
    values,
)

MAPPING = {
    "source": "asset-ledger",
    "encoding": "cp932",
    "list": "rows",
    "keys": {"serial": "製造番号", "owner": "使用者"},
    "seen_at": {"column": "確認日時", "format": "%Y/%m/%d %H:%M", "utc_offset": "+09:00"},
    "facts": {
        "disk.encrypted": {"column": "暗号化", "words": {"済": True, "未": False, "対象外": None}},
        "patch.oldest_pending_days": {"column": "未適用日数"},
        "firewall.default_inbound": {"column": "受信"},
        "vuln.max_cvss_open": {"column": "CVSS"},
        "os.version": {"column": "版"},
    },
}
TABLE = "製造番号,使用者,確認日時,暗号化,未適用日数,受信,CVSS,版\r\n"
ROW = "SN1,田中,2026/09/21 21:00,済,3,drop,9.8,24.04\r\n"


def table(*rows: str, header: str = TABLE) -> Iterator[bytes]:
    return pieces((header + "".join(rows)).encode("cp932"), 11)


def ledger(**changes: Any) -> TableMapping:
    return read_mapping(MAPPING | changes)


def test_a_table_is_read_by_a_mapping_that_is_data() -> None:
    found = one(mapped_csv(table(ROW), ledger(), now=NOW))

    assert found.source == "asset-ledger"
    assert found.owner == "田中"
    assert found.received_at == SEEN_AT
    assert values(found) == {
        "disk.encrypted": True,
        "patch.oldest_pending_days": 3,
        "firewall.default_inbound": "drop",
        "vuln.max_cvss_open": 9.8,
        "os.version": "24.04",
    }


def test_an_empty_cell_is_not_collected() -> None:
    found = one(mapped_csv(table("SN1,田中,2026/09/21 21:00,,,,,\r\n"), ledger(), now=NOW))

    assert set(values(found).values()) == {"not_collected"}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("済", "たぶん", "IMPORT_VALUE"),
        (",3,", ",-3,", "IMPORT_VALUE"),
        (",3,", ",3.5,", "IMPORT_VALUE"),
        ("drop", "shrug", "IMPORT_VALUE"),
        ("9.8", "1e9", "IMPORT_VALUE"),
        ("2026/09/21 21:00", "21.9.2026", "IMPORT_TIME"),
        ("SN1", "", "IMPORT_NO_IDENTITY"),
    ],
)
def test_a_cell_that_nobody_explained_is_a_fault_of_its_row(old: str, new: str, code: str) -> None:
    assert codes(mapped_csv(table(ROW.replace(old, new), ROW), ledger(), now=NOW)) == [code, "loaded"]


def test_a_table_without_a_column_of_the_mapping_is_not_loaded() -> None:
    faults = list(mapped_csv(table(ROW, header=TABLE.replace("暗号化", "暗号")), ledger(), now=NOW))

    assert codes(faults) == ["IMPORT_HEADER"]


def test_local_time_is_not_taken_for_utc() -> None:
    seen = {"column": "確認日時", "format": "%Y/%m/%d %H:%M"}

    assert codes(mapped_csv(table(ROW), ledger(seen_at=seen), now=NOW)) == ["IMPORT_TIME"]
    rfc = ROW.replace("2026/09/21 21:00", "2026-09-21T21:00:00")
    assert codes(mapped_csv(table(rfc), ledger(seen_at={"column": "確認日時"}), now=NOW)) == ["IMPORT_TIME"]


def test_a_json_table_is_read_by_paths() -> None:
    mapping = read_mapping(
        {
            "source": "scanner",
            "keys": {"device_id": "host.id"},
            "seen_at": {"column": "at", "format": "epoch"},
            "facts": {"disk.encrypted": {"column": "disk.luks"}, "patch.last_success_at": {"column": "patched"}},
        }
    )
    rows = [{"host": {"id": "d-1"}, "at": SEEN_AT, "disk": {"luks": True}, "patched": SEEN_AT - 60}, {"host": {}}]

    items = list(mapped_json(listed(rows, "rows"), mapping, now=NOW))

    assert isinstance(items[0], ImportedDevice)
    assert (items[0].device_id, items[0].serial_hash) == ("d-1", "")
    assert values(items[0]) == {"disk.encrypted": True, "patch.last_success_at": SEEN_AT - 60}
    assert codes(items[1:]) == ["IMPORT_TIME"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"source": "intune"}, "source"),
        ({"source": "agent"}, "source"),
        ({"source": "A b"}, "source"),
        ({"encoding": "latin-1"}, "encoding"),
        ({"keys": {"owner": "使用者"}}, "keys"),
        ({"keys": {}}, "keys"),
        ({"keys": {"serial": "a", "colour": "b"}}, "keys.colour"),
        ({"keys": {"serial": 7}}, "keys.serial"),
        ({"seen_at": "確認日時"}, "seen_at"),
        ({"seen_at": {"format": "epoch"}}, "seen_at.column"),
        ({"seen_at": {"column": "a", "utc_offset": "JST"}}, "seen_at.utc_offset"),
        ({"facts": {"disk.encripted": {"column": "a"}}}, "facts.disk.encripted"),
        ({"facts": {"device.key_protection": {"column": "a"}}}, "facts.device.key_protection"),
        ({"facts": {"device.ownership": {"column": "a"}}}, "facts.device.ownership"),
        ({"facts": {"vuln.kev_open": {"column": "a"}}}, "facts.vuln.kev_open"),
        ({"facts": {"disk.encrypted": {"column": "a", "words": {"yes": "true"}}}}, "facts.disk.encrypted.words"),
        ({"facts": {"disk.encrypted": {"column": "a", "method": "attested"}}}, "facts.disk.encrypted.method"),
        ({"method": "attested"}, "method"),
    ],
)
def test_a_mapping_is_read_strictly(change: dict[str, Any], field: str) -> None:
    with pytest.raises(DeviceRecordError) as refused:
        read_mapping(MAPPING | change)

    assert refused.value.code == "MAPPING_INVALID"
    assert refused.value.field == field


def test_the_mapping_of_the_documentation_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs/device-inventory.md").read_text(encoding="utf-8")

    shown = json.loads(page.split("```json\n", 1)[1].split("```", 1)[0])

    found = one(mapped_csv(table(ROW), read_mapping(shown), now=NOW))
    assert values(found) == {"disk.encrypted": True, "patch.oldest_pending_days": 3}
