"""A backup of either database restores into either: everything, or nothing; and nobody goes on in the old numbers."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from device_inventory.asset_ledger import Asset
from tests.store_support import (
    NOW,
    ON_DISK,
    TENANT,
    audited,
    device,
    enrollment,
    invitation,
    key,
    opened,
    subject,
    there,
)
from zt_engine.adapters.store_sql import SqlStore, open_store
from zt_engine.adapters.store_sql.backup import LEAP, write
from zt_engine.core.errors import ConfigError
from zt_engine.ports.inventory import DeviceFilter, EnrollmentFilter, RememberedAnswer, SidecarRecord

OTHER = "other"


def fill(store: SqlStore) -> None:
    for tenant in (TENANT, OTHER):
        with store.writing(tenant) as tx:
            for number in range(3):
                tx.devices.put(
                    device(f"d{number}", tenant=tenant, keys=(key(str(number)),), owner="p", name="端末 \n'\"")
                )
            tx.invitations.put(invitation(tenant=tenant))
            tx.enrollments.put(enrollment(tenant=tenant, device_id="d1"))
            tx.enrollments.put(enrollment("e2", tenant=tenant))
            tx.nonces.add("n", purpose="join", holder="h", expires_at=NOW + 9999)
            tx.nonces.first_use("j", purpose="jti", expires_at=NOW + 60, now=NOW)
            tx.outbox.announce("device.changed", b'"one"')
            tx.outbox.announce("device.changed", b'{\n "two": 2 }')
            tx.outbox.seen("d1", received_at=NOW, facts=("os.build",))
            tx.audit.record(audited(before=b'{"a":1}'))
            tx.answers.put(
                "a", "k", RememberedAnswer(request_digest="r", status=200, body=bytes(range(256))), expires_at=NOW
            )
            tx.sidecars.put(SidecarRecord(id="s", public_key={"kty": "OKP"}, joined_at=NOW))
            tx.situation.put_subject(subject())
            tx.situation.put("overlay", "o", b"{}")
            tx.assets.put(Asset(serial_hash="s", source="ledger", heard_at=NOW, model="型式"))


def everything(store: SqlStore, tenant: str) -> list[object]:
    with store.reading(tenant) as tx:
        return [
            tx.devices.page(DeviceFilter(), after="", limit=99),
            tx.devices.page(DeviceFilter(text="端末"), after="", limit=99),
            [tx.devices.of_key(f"spki-{number}") for number in range(3)],
            [tx.devices.of_certificate(f"x5t-{number}") for number in range(3)],
            tx.devices.of_owner("p"),
            tx.invitations.of_code("code-i1"),
            tx.enrollments.page(EnrollmentFilter(), after="", limit=99),
            tx.enrollments.page(EnrollmentFilter(subject="p1", text="I1"), after="", limit=99),
            tx.enrollments.of_device("d1"),
            tx.audit.page(after=0, limit=99),
            tx.sidecars.all(),
            tx.situation.subjects(after=("", ""), limit=99),
            tx.situation.all("overlay"),
            tx.assets.of_serial("s"),
        ]


@pytest.mark.parametrize("target", ON_DISK)
@pytest.mark.parametrize("source", ON_DISK)
def test_either_database_restores_into_either(source: str, target: str, tmp_path: Path) -> None:
    path, again = tmp_path / "backup.jsonl", tmp_path / "again.jsonl"
    folder = tmp_path / "target"
    folder.mkdir()
    with opened(source, tmp_path) as old, opened(target, folder) as new:
        fill(old)
        fence = old.elect()
        old.sequence(TENANT, fence=fence, limit=1)
        written = old.backup(path)

        assert new.restore(path) == written
        for tenant in (TENANT, OTHER):
            assert everything(new, tenant) == everything(old, tenant)
        # It goes on as a database that was always this one.
        with new.writing(TENANT) as tx:
            tx.devices.put(replace(there(tx.devices.get("d1")), version=2))
            tx.audit.record(audited())
            assert tx.audit.page(after=1, limit=9)[0].seq == 2
            tx.outbox.announce("device.changed", b'"three"')
            assert not tx.nonces.first_use("j", purpose="jti", expires_at=NOW + 60, now=NOW)
            assert tx.answers.get("a", "k") is None
            # What was handed out once may have been used since.
            assert not tx.nonces.use("n", purpose="join", holder="h", now=NOW)
        assert new.gather_seen(TENANT, now=NOW)
        fence = new.elect()
        events = new.sequence(TENANT, fence=fence, limit=99)
        assert [event.data for event in events][:2] == [b'{\n "two": 2 }', b'"three"']
        assert new.backup(again) > 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(file.name for file in tmp_path.glob("*.jsonl*")) == ["again.jsonl", "backup.jsonl"]


@pytest.mark.parametrize("kind", ON_DISK)
def test_whoever_saw_more_than_the_backup_begins_anew(kind: str, tmp_path: Path) -> None:
    """A sidecar that saw changes after the backup was taken is ahead of it: it must never wait there for its number."""
    path = tmp_path / "backup.jsonl"
    folder = tmp_path / "target"
    folder.mkdir()
    with opened(kind, tmp_path) as old, opened(kind, folder) as new:
        fill(old)
        fence = old.elect()
        old.sequence(TENANT, fence=fence, limit=1)
        old.backup(path)
        old.sequence(TENANT, fence=fence, limit=9)
        old.sequence(OTHER, fence=fence, limit=9)  # of this one the backup has no number yet
        later = old.elect()

        new.restore(path)

        assert new.elect() > later
        for tenant in (TENANT, OTHER):
            first, last = new.span(tenant)
            assert (first, last) == (last + 1, last)
            assert old.span(tenant)[1] < LEAP <= last
            assert new.events(tenant, after=0, limit=9) == ()


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    path = tmp_path / "backup.jsonl"
    with opened("memory", tmp_path) as store:
        fill(store)
        store.backup(path)
    return path


def damaged(raw: bytes, how: str) -> bytes:
    lines = raw.splitlines(keepends=True)
    match how:
        case "empty":
            return b""
        case "garbage":
            return b"\x00\xff" * 1000
        case "head only":
            return lines[0]
        case "no end":
            return b"".join(lines[:-1])
        case "half a line":
            return raw[:-5]
        case "a line less":
            return b"".join(lines[:3] + lines[4:])
        case "a line twice":
            return b"".join([*lines[:2], lines[-2], *lines[2:]])
        case "a value changed":
            return raw.replace(b'"active"', b'"revoked"', 1)
        case "another schema":
            return re.sub(rb'"schema":"\d+"', b'"schema":"9999"', raw, count=1)
        case "another table":
            return raw.replace(b'["sidecars"', b'["sqlite_master"', 1)
        case "another column":
            return raw.replace(b'"ownership":', b'"owners":', 1)
        case "something behind":
            return raw + lines[1]
    raise AssertionError(how)


@pytest.mark.parametrize("kind", ON_DISK)
@pytest.mark.parametrize(
    "how",
    [
        "empty", "garbage", "head only", "no end", "half a line", "a line less", "a line twice", "a value changed",
        "another schema", "another table", "another column", "something behind",
    ],
)  # fmt: skip
def test_a_backup_that_is_not_whole_restores_nothing(kind: str, how: str, backup: Path, tmp_path: Path) -> None:
    backup.write_bytes(damaged(backup.read_bytes(), how))
    folder = tmp_path / "target"
    folder.mkdir()
    with opened(kind, folder) as store:
        with pytest.raises(ConfigError) as caught:
            store.restore(backup)

        assert caught.value.code == "STORE_BACKUP"
        with store.reading(TENANT) as tx:
            assert tx.devices.page(DeviceFilter(), after="", limit=9) == ()
        assert store.span(TENANT) == (1, 0)


@pytest.mark.parametrize("kind", ON_DISK)
def test_nothing_is_restored_over_what_is_there(kind: str, backup: Path, tmp_path: Path) -> None:
    folder = tmp_path / "target"
    folder.mkdir()
    with opened(kind, folder) as store:
        with store.writing("third") as tx:
            tx.devices.put(device("kept", tenant="third"))
        with pytest.raises(ConfigError) as caught:
            store.restore(backup)

        assert caught.value.code == "STORE_NOT_EMPTY"
        with store.reading("third") as tx:
            assert tx.devices.get("kept") is not None


def test_a_backup_is_taken_while_others_write_and_is_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "backup.jsonl"
    with opened("sqlite", tmp_path) as store:
        fill(store)
        with store._database.reading() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM devices")
            with store.writing(TENANT) as tx:
                tx.devices.put(device("later"))
            write(connection, path)

    assert b"later" not in path.read_bytes()


def test_a_backup_that_somebody_else_could_have_written_is_not_restored(backup: Path, tmp_path: Path) -> None:
    backup.chmod(0o620)
    store = open_store("sqlite://")
    store.migrate()
    with pytest.raises(ConfigError) as caught:
        store.restore(backup)

    assert caught.value.code == "STORE_BACKUP_FILE"
    store.close()


def test_where_a_backup_cannot_be_written_or_read_is_an_operators_fault(tmp_path: Path) -> None:
    store = open_store("sqlite://")
    store.migrate()
    for attempt in (store.backup, store.restore):
        with pytest.raises(ConfigError) as caught:
            attempt(tmp_path / "nowhere" / "backup.jsonl")
        assert caught.value.code == "STORE_BACKUP_FILE"
    store.close()
