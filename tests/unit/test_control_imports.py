"""Imports: streamed, row by row, and a wrong row keeps no other from being loaded."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import anyio
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message
from structlog.testing import capture_logs

from device_inventory.serial import serial_hash
from tests.control_support import Control, a_device
from zt_engine.control_plane.imports import BATCH, Imports, rows_of
from zt_engine.core.errors import UnavailableError

HEADER = "Device ID,Device name,Serial number,Last check-in,OS,OS version,Compliance,Encrypted"
SEEN = "2026-09-21 14:00:00"


@pytest.fixture
def control() -> Iterator[Control]:
    with Control() as one:
        for number in (1, 2):
            one.put(a_device(f"laptop-{number}", serial_hash=serial_hash(f"SN-{number}")))
        one.announced()
        yield one


def row(number: int, *, encrypted: str = "True", seen: str = SEEN) -> str:
    return f"id-{number},PC{number},SN-{number},{seen},Windows,10.0,Compliant,{encrypted}"


def csv(*rows: str) -> bytes:
    return "\r\n".join((HEADER, *rows, "")).encode("utf-8-sig")


def test_a_wrong_row_is_one_problem_with_its_line_and_the_rest_loads(control: Control) -> None:
    body = csv(row(1), "too,few", row(2, seen="yesterday"), row(2), row(9))

    answer = control.call("POST", "/v1/imports/intune", body, content_type="text/csv", who="approver").json()

    assert (answer["rows"], answer["loaded"], answer["changed"], answer["problem_count"]) == (5, 2, 2, 3)
    assert [(fault["line"], fault["code"]) for fault in answer["problems"]] == [
        (3, "IMPORT_ROW"), (4, "IMPORT_TIME"), (6, "IMPORT_NO_DEVICE"),
    ]  # fmt: skip
    facts = control.call("GET", "/v1/devices/laptop-1").json()["facts"]
    assert facts["disk.encrypted"]["value"] is True
    assert facts["disk.encrypted"]["method"] == "mdm_server"
    assert [kind for kind, _ in control.announced()] == ["device.changed", "device.changed"]


def test_the_same_export_a_second_time_changes_and_tells_nothing(control: Control) -> None:
    body = csv(row(1), row(2))
    control.call("POST", "/v1/imports/intune", body, content_type="text/csv")
    control.announced()

    again = control.call("POST", "/v1/imports/intune", body, content_type="text/csv").json()

    assert (again["loaded"], again["changed"], again["problem_count"]) == (2, 0, 0)
    assert control.announced() == []


def test_an_older_export_does_not_undo_a_newer_one(control: Control) -> None:
    control.call("POST", "/v1/imports/intune", csv(row(1, encrypted="False")), content_type="text/csv")

    answer = control.call(
        "POST", "/v1/imports/intune", csv(row(1, seen="2026-09-20 00:00:00")), content_type="text/csv"
    ).json()

    assert [fault["code"] for fault in answer["problems"]] == ["IMPORT_OLDER"]
    assert control.call("GET", "/v1/devices/laptop-1").json()["facts"]["disk.encrypted"]["value"] is False


def test_an_import_is_audited_as_a_whole_and_for_each_device_that_changed(control: Control) -> None:
    control.call("POST", "/v1/imports/intune", csv(row(1), row(9)), content_type="text/csv", who="security")

    events = control.audit()[-2:]

    assert [(event.actor, event.action, event.object) for event in events] == [
        ("import:intune", "device.imported", "device:laptop-1"),
        ("admin:security", "import.loaded", "import:intune"),
    ]
    assert json.loads(events[1].after) == {"rows": 2, "loaded": 1, "changed": 1, "problems": 1, "complete": True}


def test_an_import_that_breaks_off_is_audited_with_who_it_was_and_what_was_taken_in(control: Control) -> None:
    def broken() -> Iterator[bytes]:
        yield csv(row(1), *["x,y"] * BATCH)
        raise ClientDisconnect

    rows = rows_of("intune", "csv", broken(), mapping=None, now=control.plane.now())
    with pytest.raises(ClientDisconnect):
        Imports(control.plane).load("intune", rows, actor="admin:security")

    event = control.audit()[-1]
    assert (event.actor, event.action, event.object) == ("admin:security", "import.loaded", "import:intune")
    assert json.loads(event.after) == {
        "rows": BATCH, "loaded": 1, "changed": 1, "problems": BATCH - 1, "complete": False,
    }  # fmt: skip


def test_a_batch_that_was_undone_is_not_counted(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise UnavailableError("STORE_FULL", "no space")

    use = Imports(control.plane)
    monkeypatch.setattr(use, "_record", failing)
    rows = rows_of("intune", "csv", iter([csv(row(1))]), mapping=None, now=control.plane.now())
    with pytest.raises(UnavailableError, match="no space"):
        use.load("intune", rows, actor="admin:security")

    assert json.loads(control.audit()[-1].after)["rows"] == 0
    assert json.loads(control.audit()[-1].after)["complete"] is False


def test_an_importer_that_goes_away_is_not_told_that_nothing_was_changed(control: Control) -> None:
    body = csv(row(1), *["x,y"] * BATCH, row(2))
    coming: list[Message] = [
        {"type": "http.request", "body": body, "more_body": True},
        {"type": "http.disconnect"},
    ]
    told: list[Message] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "https",
        "path": "/v1/imports/intune", "raw_path": b"/v1/imports/intune", "query_string": b"", "root_path": "",
        "headers": [
            (b"host", b"control.example"), (b"content-type", b"text/csv"),
            (b"authorization", b"Bearer security"),
        ],
        "client": ("192.0.2.1", 1), "server": ("control.example", 443),
    }  # fmt: skip

    async def receive() -> Message:
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        told.append(message)

    with capture_logs() as logs:
        anyio.run(control.app, scope, receive, send)

    assert told == []
    assert [line["event"] for line in logs] == ["request.broken_off"]
    assert (control.audit()[-1].actor, json.loads(control.audit()[-1].after)["complete"]) == ("admin:security", False)


def test_a_table_is_read_by_its_mapping(control: Control) -> None:
    mapping = {
        "source": "ledger", "keys": {"serial": "製造番号"},
        "seen_at": {"column": "確認日時", "format": "%Y/%m/%d %H:%M", "utc_offset": "+09:00"},
        "facts": {"disk.encrypted": {"column": "暗号化", "words": {"済": True, "未": False}}},
    }  # fmt: skip
    header = base64.urlsafe_b64encode(json.dumps(mapping).encode()).rstrip(b"=").decode()
    table = "製造番号,確認日時,暗号化\nSN-1,2026/09/21 10:00,済\nSN-2,2026/09/21 10:00,さあ\n".encode()

    answer = control.call(
        "POST", "/v1/imports/csv", table, content_type="text/csv; charset=utf-8", zt_import_mapping=header
    ).json()

    assert (answer["loaded"], [fault["code"] for fault in answer["problems"]]) == (1, ["IMPORT_VALUE"])


@pytest.mark.parametrize(
    ("source", "kind", "mapping", "code"),
    [
        ("csv", "text/csv", "", "IMPORT_FORM"),
        ("jamf", "text/csv", "", "IMPORT_FORM"),
        ("csv", "text/csv", "!!!", "IMPORT_FORM"),
        ("csv", "text/csv", "e30", "MAPPING_INVALID"),
        ("intune", "application/xml", "", "REQUEST_MEDIA_TYPE"),
    ],
)
def test_what_cannot_be_read_is_refused_as_a_whole(
    control: Control, source: str, kind: str, mapping: str, code: str
) -> None:
    headers = {"zt_import_mapping": mapping} if mapping else {}

    answer = control.call("POST", f"/v1/imports/{source}", csv(row(1)), content_type=kind, **headers)

    assert answer.json()["code"] == code
    assert 400 <= answer.status_code < 500


def test_problems_without_end_are_counted_and_not_all_told(control: Control) -> None:
    body = csv(*["x,y"] * 1500, row(1))

    answer = control.call("POST", "/v1/imports/intune", body, content_type="text/csv").json()

    assert (len(answer["problems"]), answer["problem_count"], answer["loaded"]) == (1000, 1500, 1)


def test_an_import_is_not_the_help_desks(control: Control) -> None:
    answer = control.call("POST", "/v1/imports/intune", csv(row(1)), content_type="text/csv", who="helpdesk")

    assert answer.status_code == 403
    assert control.device("laptop-1").sources == {}


def test_what_the_ledger_says_of_a_machine_nobody_enrolled_yet_is_kept_for_its_approver(control: Control) -> None:
    table = csv(row(9)).replace(HEADER.encode(), f"{HEADER},Model".encode()).replace(b"True\r\n", b"True,X13 Gen 4\r\n")

    answer = control.call("POST", "/v1/imports/intune", table, content_type="text/csv", who="approver").json()

    assert [fault["code"] for fault in answer["problems"]] == ["IMPORT_NO_DEVICE"]
    with control.store.reading(control.plane.settings.tenant) as tx:
        found = tx.assets.of_serial(serial_hash("sn-9"))
    assert [(line.source, line.model, line.name) for line in found] == [("intune", "X13 Gen 4", "PC9")]
