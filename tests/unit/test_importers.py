"""Importers: a wrong row is one fault and the rest loads; what a vendor does not know is neither good nor bad."""

from __future__ import annotations

import codecs
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.device import DeviceRecordError
from device_inventory.importers import csv_rows as csv_module
from device_inventory.importers.csv_rows import MAX_LINE, bounded, csv_rows
from device_inventory.importers.fleet import fleet_json
from device_inventory.importers.intune import intune_csv, intune_json
from device_inventory.importers.jamf import jamf_json
from device_inventory.importers.json_rows import json_rows
from device_inventory.importers.mapped import TableMapping, mapped_csv, mapped_json, read_mapping
from device_inventory.importers.rows import ImportedDevice, ImportFault
from device_inventory.serial import serial_hash

NOW = 1_790_000_000
SEEN = "2026-09-21T12:00:00Z"  # a while before NOW
SEEN_AT = 1_789_992_000

INTUNE = {
    "id": "0f1b-22",
    "deviceName": "MOFA-0042",
    "serialNumber": "PF3ABCDE",
    "lastSyncDateTime": SEEN,
    "operatingSystem": "Windows",
    "osVersion": "10.0.26100.4652",
    "complianceState": "compliant",
    "isEncrypted": True,
    "jailBroken": "Unknown",
    "model": "ThinkPad X1",
    "userPrincipalName": "tanaka@mofa.example",
    "deviceHealthAttestationState": {"secureBoot": "Enabled", "healthAttestationSupportedStatus": "healthy"},
    "partnerReportedThreatState": "secured",
}
JAMF = {
    "id": "7",
    "udid": "AA-BB",
    "general": {
        "name": "mofa-mac-7",
        "lastContactTime": "2026-09-21T12:30:00.000Z",
        "reportDate": "2026-09-21T12:00:00.123Z",
        "remoteManagement": {"managed": True},
    },
    "hardware": {"serialNumber": "C02XYZ", "model": "MacBook Pro"},
    "operatingSystem": {"version": "15.6", "build": "24G84", "fileVault2Status": "ALL_ENCRYPTED"},
    "security": {"sipStatus": "ENABLED", "firewallEnabled": True, "secureBootLevel": "FULL_SECURITY"},
    "userAndLocation": {"username": "sato"},
}
FLEET = {
    "id": 3,
    "uuid": "4C4C-1",
    "computer_name": "lin-3",
    "hardware_serial": "SN-0003",
    "hardware_model": "XPS 13",
    "platform": "ubuntu",
    "os_version": "Ubuntu 24.04.1 LTS",
    "detail_updated_at": SEEN,
    "seen_time": "2026-09-21T13:00:00Z",
    "disk_encryption_enabled": None,
    "mdm": {"enrollment_status": "On (manual)", "name": "Fleet"},
    "issues": {"failing_policies_count": 3, "total_issues_count": 3},
    "policies": [{"name": "Healthy?", "response": "pass"}],
    "software": [
        {
            "name": "openssl",
            "vulnerabilities": [
                {"cve": "CVE-2026-0001", "cvss_score": 9.8, "cisa_known_exploit": True},
                {"cve": "CVE-2026-0002", "cvss_score": 5.0, "cisa_known_exploit": False},
            ],
        },
        {"name": "bash", "vulnerabilities": None},
    ],
}


def pieces(raw: bytes, size: int = 64) -> Iterator[bytes]:
    for begin in range(0, len(raw), size):
        yield raw[begin : begin + size]


def listed(rows: Iterable[Any], member: str = "value") -> Iterator[bytes]:
    return pieces(json.dumps({"@odata.context": "x", member: list(rows)}, ensure_ascii=False).encode())


def one(items: Iterable[ImportedDevice | ImportFault]) -> ImportedDevice:
    found = list(items)
    assert len(found) == 1
    assert isinstance(found[0], ImportedDevice), found
    return found[0]


def values(found: ImportedDevice) -> dict[str, Any]:
    return {name: fact.value if fact.status == "observed" else fact.status for name, fact in found.facts.items()}


def codes(items: Iterable[Any]) -> list[str]:
    return [item.code if isinstance(item, ImportFault) else "loaded" for item in items]


def test_an_intune_device_is_read_with_the_servers_own_time() -> None:
    found = one(intune_json(listed([INTUNE]), now=NOW))

    assert found.received_at == SEEN_AT
    assert {fact.received_at for fact in found.facts.values()} == {SEEN_AT}
    assert {fact.method for fact in found.facts.values()} == {"mdm_server"}
    assert found.serial_hash == serial_hash("pf3abcde")
    assert (found.mdm_id, found.owner, found.name, found.model) == (
        "0f1b-22",
        "tanaka@mofa.example",
        "MOFA-0042",
        "ThinkPad X1",
    )
    assert values(found) == {
        "mdm.enrolled": True,
        "mdm.vendor": "intune",
        "mdm.compliant": True,
        "disk.encrypted": True,
        "integrity.rooted": "not_collected",
        "os.family": "windows",
        "os.version": "10.0.26100.4652",
        "boot.secure_boot": True,
    }


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("compliant", True),
        ("noncompliant", False),
        ("inGracePeriod", False),
        ("conflict", False),
        ("error", "not_collected"),
        ("unknown", "not_collected"),
        ("configManager", "not_collected"),
        (None, "not_collected"),
    ],
)
def test_what_intune_does_not_know_is_not_collected(state: Any, told: Any) -> None:
    found = one(intune_json(listed([INTUNE | {"complianceState": state}]), now=NOW))

    assert values(found)["mdm.compliant"] == told


def test_a_jamf_computer_is_as_old_as_its_inventory_and_not_as_its_last_call() -> None:
    found = one(jamf_json(listed([JAMF], "results"), now=NOW))

    assert found.received_at == SEEN_AT
    assert values(found) == {
        "mdm.enrolled": True,
        "mdm.vendor": "jamf",
        "os.family": "macos",
        "os.version": "15.6",
        "os.build": "24G84",
        "disk.encrypted": True,
        "mac.enforcing": True,
        "firewall.enabled": True,
        "boot.secure_boot": True,
    }


@pytest.mark.parametrize(
    ("member", "word", "fact", "told"),
    [
        ("security.sipStatus", "NOT_COLLECTED", "mac.enforcing", "not_collected"),
        ("security.sipStatus", "NOT_AVAILABLE", "mac.enforcing", "not_collected"),
        ("security.sipStatus", "DISABLED", "mac.enforcing", False),
        ("security.secureBootLevel", "NOT_SUPPORTED", "boot.secure_boot", "not_supported"),
        ("security.secureBootLevel", "UNKNOWN", "boot.secure_boot", "not_collected"),
        ("security.secureBootLevel", "MEDIUM", "boot.secure_boot", False),
        ("security.secureBootLevel", "NO", "boot.secure_boot", False),
        ("security.firewallEnabled", None, "firewall.enabled", "not_collected"),
        ("operatingSystem.fileVault2Status", "BOOT_ENCRYPTED", "disk.encrypted", False),
        ("operatingSystem.fileVault2Status", "NOT_APPLICABLE", "disk.encrypted", "not_collected"),
    ],
)
def test_jamf_knows_off_from_not_collected(member: str, word: Any, fact: str, told: Any) -> None:
    section, name = member.split(".")
    row = JAMF | {section: JAMF[section] | {name: word}}  # type: ignore[operator]

    assert values(one(jamf_json(listed([row], "results"), now=NOW)))[fact] == told


def test_a_fleet_host_is_read_without_its_verdicts() -> None:
    found = one(fleet_json(listed([FLEET], "hosts"), now=NOW))

    assert found.received_at == SEEN_AT
    assert values(found) == {
        "os.family": "linux",
        "os.id": "ubuntu",
        "disk.encrypted": "not_collected",
        "mdm.enrolled": True,
        "vuln.kev_open": ("CVE-2026-0001",),
        "vuln.max_cvss_open": 9.8,
    }


def test_without_a_list_of_software_nothing_is_known_of_its_flaws() -> None:
    found = one(fleet_json(listed([{**FLEET, "software": None}], "hosts"), now=NOW))

    assert "vuln.kev_open" not in found.facts


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("Good", True),
        ("Poor", False),
        ("Snoozed", "not_collected"),
        ("Not Monitored", "not_collected"),
        ("Error", "not_collected"),
    ],
)
def test_a_security_centre_that_looks_away_says_nothing(word: str, told: Any) -> None:
    centre = {"windows_security_center": [{"firewall": word, "antivirus": word}]}
    row = FLEET | {"platform": "windows", "additional": centre}

    facts = values(one(fleet_json(listed([row], "hosts"), now=NOW)))

    assert (facts["firewall.enabled"], facts["av.realtime"]) == (told, told)


@pytest.mark.parametrize("vendor_flag", ["healthy", "isManaged", "riskScore", "partnerReportedThreatState"])
def test_a_vendors_verdict_is_no_fact(vendor_flag: str) -> None:
    plain = one(intune_json(listed([INTUNE]), now=NOW))

    assert one(intune_json(listed([INTUNE | {vendor_flag: True}]), now=NOW)).facts == plain.facts


def test_a_server_whose_clock_is_ahead_makes_nothing_newer_than_now() -> None:
    found = one(intune_json(listed([INTUNE | {"lastSyncDateTime": "2030-01-01T00:00:00Z"}]), now=NOW))

    assert found.received_at == NOW
    assert found.ahead


CSV = (
    "Device ID,Device name,Serial number,Last check-in,OS,OS version,Compliance,Encrypted,JailBroken,Model,"
    "Primary user UPN\r\n"
)


def csv_line(**changes: str) -> str:
    cells = {
        "id": "1",
        "name": "PC-1",
        "serial": "SN1",
        "seen": "2026-09-21 12:00:00.0000000",
        "os": "Windows",
        "version": "10.0",
        "compliance": "Compliant",
        "encrypted": "True",
        "jail": "Unknown",
        "model": "X1",
        "upn": "tanaka@mofa.example",
    } | changes
    return ",".join(cells.values()) + "\r\n"


def test_the_portals_export_is_read_with_its_times_in_utc() -> None:
    found = one(intune_csv(pieces((CSV + csv_line()).encode("utf-8-sig")), now=NOW))

    assert found.received_at == SEEN_AT
    assert found.line == 2
    assert values(found)["disk.encrypted"] is True


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"seen": "yesterday"}, "IMPORT_TIME"),
        ({"seen": "0001-01-01 00:00:00"}, "IMPORT_TIME"),
        ({"seen": "2026-02-30 00:00:00"}, "IMPORT_TIME"),
        ({"seen": ""}, "IMPORT_TIME"),
        ({"serial": ""}, "IMPORT_NO_IDENTITY"),
        ({"serial": "To be filled by O.E.M."}, "IMPORT_NO_IDENTITY"),
        ({"encrypted": "ja"}, "IMPORT_VALUE"),
        ({"os": "PlayStation"}, "IMPORT_VALUE"),
        ({"version": "x" * 300}, "IMPORT_VALUE"),
        ({"model": "a\x07b"}, "IMPORT_VALUE"),
        ({"upn": "a,b"}, "IMPORT_ROW"),
        ({"name": '"a"b'}, "IMPORT_SYNTAX"),
    ],
)
def test_a_wrong_row_is_reported_and_the_rest_loads(changes: dict[str, str], code: str) -> None:
    text = CSV + csv_line(serial="SN0") + csv_line(**changes) + csv_line(serial="SN2")

    items = list(intune_csv(pieces(text.encode()), now=NOW))

    assert codes(items) == ["loaded", code, "loaded"]
    assert items[1].line == 3
    assert items[2].line == 4


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"lastSyncDateTime": 5}, "IMPORT_TIME"),
        ({"lastSyncDateTime": None}, "IMPORT_TIME"),
        ({"lastSyncDateTime": "0001-01-01T00:00:00Z"}, "IMPORT_TIME"),
        ({"serialNumber": None}, "IMPORT_NO_IDENTITY"),
        ({"serialNumber": ["SN"]}, "IMPORT_VALUE"),
        ({"isEncrypted": 2}, "IMPORT_VALUE"),
        ({"complianceState": "great"}, "IMPORT_VALUE"),
    ],
)
def test_a_wrong_entry_is_reported_and_the_rest_loads(changes: dict[str, Any], code: str) -> None:
    rows = [INTUNE, INTUNE | changes, INTUNE]

    items = list(intune_json(listed(rows), now=NOW))

    assert codes(items) == ["loaded", code, "loaded"]
    assert items[1].line == 2


def test_a_line_in_another_encoding_is_one_fault() -> None:
    raw = CSV.encode() + csv_line().encode() + csv_line(name="端末").encode("cp932") + csv_line().encode()

    assert codes(intune_csv(pieces(raw, 7), now=NOW)) == ["loaded", "IMPORT_ENCODING", "loaded"]


def test_utf_16_is_told_by_its_mark() -> None:
    raw = codecs.BOM_UTF16_LE + (CSV + csv_line(name="端末")).encode("utf-16-le")

    assert one(intune_csv(pieces(raw, 5), now=NOW)).name == "端末"


def test_broken_utf_16_ends_the_import() -> None:
    raw = codecs.BOM_UTF16_LE + (CSV + csv_line()).encode("utf-16-le")

    assert codes(intune_csv([raw, b"\x00\xdc" * 80], now=NOW)) == ["loaded", "IMPORT_ENCODING"]
    assert codes(intune_csv(pieces(raw + b"\x00", 64), now=NOW)) == ["loaded", "IMPORT_ENCODING"]


def test_an_entry_in_another_encoding_is_one_fault() -> None:
    good = json.dumps(INTUNE).encode()
    bad = json.dumps(INTUNE | {"deviceName": "端末"}, ensure_ascii=False).encode("euc-jp")

    assert codes(intune_json(pieces(b"[" + b",".join([good, bad, good]) + b"]"), now=NOW)) == [
        "loaded",
        "IMPORT_ENCODING",
        "loaded",
    ]


@pytest.mark.parametrize(
    ("raw", "faults"),
    [
        (b"", ["IMPORT_SHAPE"]),
        (b"null", ["IMPORT_SHAPE"]),
        (b"{}", ["IMPORT_SHAPE"]),
        (b'{"other": [{}]}', ["IMPORT_SHAPE"]),
        (b'{"value": {"value": [{}]}}', ["IMPORT_SHAPE"]),
        (b'{"value": []}', []),
        (b"[]", []),
        (b"[1, 2]", ["IMPORT_ROW", "IMPORT_ROW"]),
        (b'["a,b", [1, 2], null]', ["IMPORT_ROW"] * 3),
        (b'[{"a": 1}', ["IMPORT_TRUNCATED"]),
        (b'[{"a": ', ["IMPORT_TRUNCATED"]),
        (b'[{"a": "', ["IMPORT_TRUNCATED"]),
        (b"]", ["IMPORT_SYNTAX"]),
        (b"[}", ["IMPORT_SYNTAX"]),
        (b"[{]}]", ["IMPORT_SYNTAX"] * 2),
        (b'[{"a": 1, "a": 2}]', ["IMPORT_SYNTAX"]),
        (b'[{"a": NaN}]', ["IMPORT_SYNTAX"]),
        (b'[{"a": 1e}]', ["IMPORT_SYNTAX"]),
        (b'[{"a": ' + b"9" * 5000 + b"}]", ["IMPORT_SYNTAX"]),
        (b"[" * 100, ["IMPORT_TRUNCATED"]),
        (b'{"a":' * 100, ["IMPORT_SYNTAX"]),
        (b"[\\", ["IMPORT_SYNTAX"]),
        (b"[" + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"]", ["IMPORT_SYNTAX"]),
    ],
)
def test_odd_json_is_a_fault_and_never_an_exception(raw: bytes, faults: list[str]) -> None:
    assert [item.code for item in json_rows(pieces(raw), member="value") if isinstance(item, ImportFault)] == faults


_rows = st.lists(
    st.dictionaries(
        st.text(max_size=6),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    ),
    max_size=6,
)


@given(_rows, st.integers(1, 9), st.booleans(), st.sampled_from([None, 2]))
def test_a_list_is_read_however_it_is_cut_and_written(rows: list[Any], size: int, bare: bool, indent: Any) -> None:
    document: Any = (
        rows if bare else {"value": "value", "x": {"value": [{}]}, "y": ["value"], "value ": 1, "list": rows}
    )
    raw = json.dumps(document, ensure_ascii=False, indent=indent).encode("utf-8", "surrogatepass")

    read = list(json_rows(pieces(raw, size), member="list"))

    assert read == [(number, row) for number, row in enumerate(rows, 1)]


@given(st.binary(max_size=200), st.integers(1, 9))
def test_no_bytes_make_a_reader_raise(raw: bytes, size: int) -> None:
    list(json_rows(pieces(raw, size), member="value"))
    list(intune_csv(pieces(CSV.encode() + raw, size), now=NOW))
    list(csv_rows(pieces(raw, size), encoding="cp932"))


@given(
    st.lists(
        st.lists(
            st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6),
            min_size=2,
            max_size=2,
        ),
        max_size=5,
    ),
    st.integers(1, 9),
)
def test_a_table_is_read_however_it_is_cut(rows: list[list[str]], size: int) -> None:
    import csv as writer
    import io

    out = io.StringIO()
    writer.writer(out, quoting=writer.QUOTE_ALL, lineterminator="\n").writerows([["a", "b"], *rows])

    read = list(csv_rows(pieces(out.getvalue().encode(), size)))

    assert [list(row.values()) for _, row in read] == rows  # type: ignore[misc, union-attr]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "IMPORT_HEADER"),
        (b"a,b\r\n1,2\r\n", "IMPORT_HEADER"),
        (CSV.replace("Device name", "Serial number").encode(), "IMPORT_HEADER"),
    ],
)
def test_without_its_header_nothing_is_loaded(raw: bytes, code: str) -> None:
    assert codes(intune_csv(pieces(raw), now=NOW)) == [code]


def test_a_line_without_end_is_skipped_and_the_rest_loads() -> None:
    raw = [CSV.encode(), csv_line().encode(), *[b"x" * 65_536] * 40, b"\r\n", csv_line().encode()]

    items = list(intune_csv(raw, now=NOW))

    assert codes(items) == ["loaded", "IMPORT_ROW_TOO_LARGE", "loaded"]


def test_a_quote_that_is_never_closed_does_not_swallow_the_file() -> None:
    lines = [csv_line(serial=f"SN{number}") for number in range(3000)]
    lines[10] = csv_line(name='"open')

    items = list(intune_csv(pieces((CSV + "".join(lines)).encode(), 4096), now=NOW))

    assert "IMPORT_SYNTAX" in codes(items)
    assert codes(items).count("loaded") > 1000


def test_an_entry_without_end_is_skipped_and_the_rest_loads() -> None:
    good = json.dumps(INTUNE).encode()
    raw = [b"[", good, b',{"deviceName":"', *[b"x" * 65_536] * 20, b'"},', good, b"]"]

    assert codes(intune_json(raw, now=NOW)) == ["loaded", "IMPORT_ROW_TOO_LARGE", "loaded"]


def test_what_lies_beyond_the_cap_is_not_read() -> None:
    faults: list[ImportFault] = []
    endless = iter(lambda: b"x" * 1000, None)

    assert sum(len(piece) for piece in bounded(endless, faults, most=10_000)) == 10_000
    assert [fault.code for fault in faults] == ["IMPORT_TOO_LARGE"]
    assert csv_module.MAX_BYTES == 2**30


def test_a_row_that_the_cap_cuts_in_two_is_not_loaded() -> None:
    faults: list[ImportFault] = []
    rows = [b"a,b\n1,", b"23\n4,5", b"67\n"]

    assert list(csv_module.lines(bounded(rows, faults, most=12), faults)) == [(1, "a,b\n"), (2, "1,23\n")]
    assert [fault.code for fault in faults] == ["IMPORT_TOO_LARGE"]


def _memory(read: Callable[[Iterator[bytes]], Iterable[Any]], head: bytes, row: bytes, tail: bytes, times: int) -> int:
    def chunks() -> Iterator[bytes]:
        yield head
        for _ in range(times):
            yield row * 200
        yield tail

    tracemalloc.start()
    for _ in read(chunks()):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_a_long_file_takes_no_more_memory_than_a_short_one() -> None:
    def by_json(chunks: Iterator[bytes]) -> Iterable[Any]:
        return intune_json(chunks, now=NOW)

    def by_csv(chunks: Iterator[bytes]) -> Iterable[Any]:
        return intune_csv(chunks, now=NOW)

    entry = json.dumps(INTUNE).encode()
    for read, head, row, tail in (
        (by_json, b"[", entry + b",", entry + b"]"),
        (by_csv, CSV.encode(), csv_line().encode(), b""),
    ):
        short, long = (_memory(read, head, row, tail, times) for times in (2, 12))
        assert long < short * 1.5 + MAX_LINE


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
