"""What a control plane is restored from is everything that it needs, and of no use to who has no passphrase."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from tests.control_support import held_key
from tests.running_control import NOW, Running
from tests.stream_server import free_port
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.bootstrap.control_backup import backup, restore
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.bootstrap.serving_stream import read_stream_keys
from zt_engine.cli.main import app as commands
from zt_engine.config import load_control
from zt_engine.core.errors import ConfigError


def test_a_backup_restored_elsewhere_is_the_same_control_plane(tmp_path: Path) -> None:
    file = tmp_path / "zt.backup"
    with Running(tmp_path / "old") as old:
        old.put(device_id="kept")
        made = backup(old.settings, file, now=NOW)
        stream, cas = old.program.parts.stream_keys[0].key_id, old.program.parts.authority.authorities()
        old_key = old.key
    new = tmp_path / "new"
    install(new, Choices(pack="corp", language="en", control_listen=f"127.0.0.1:{free_port()}"), now=NOW)
    (new / "keys/device-ca.passphrase").write_bytes((tmp_path / "old/keys/device-ca.passphrase").read_bytes())

    restored = restore(load_control(new / "zt.toml", {}), file, now=NOW)

    assert file.stat().st_mode & 0o077 == 0
    assert restored == made
    with Running(new) as plane:
        assert plane.program.parts.stream_keys[0].key_id == stream
        assert plane.program.parts.authority.authorities() == cas
        headers = {"Authorization": f"Bearer {old_key}"}
        shown = httpx.get(f"{plane.url}/v1/devices/kept", headers=headers, trust_env=False)
    assert (shown.status_code, shown.json()["events"][0]["action"]) == (200, "device.enrolled")


def test_a_backup_taken_while_the_streams_key_rotates_restores_every_key_that_sidecars_may_know(tmp_path: Path) -> None:
    file, old, new = tmp_path / "zt.backup", tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        install(folder, Choices(pack="corp", language="en"), now=NOW)
        text = (folder / "zt.toml").read_text()
        named = 'other_stream_keys = ["keys/before.pem", "keys/next/stream.pem"]\ndatabase ='
        (folder / "zt.toml").write_text(text.replace("database =", named, 1))
    for name in ("keys/before.pem", "keys/next/stream.pem"):
        (old / name).parent.mkdir(exist_ok=True)
        (old / name).write_bytes(StreamKey.generate().pem())
        (old / name).chmod(0o600)
    (new / "keys/device-ca.passphrase").write_bytes((old / "keys/device-ca.passphrase").read_bytes())
    keys = [key.key_id for key in read_stream_keys(load_control(old / "zt.toml", {}))]

    backup(load_control(old / "zt.toml", {}), file, now=NOW)
    restore(load_control(new / "zt.toml", {}), file, now=NOW)

    assert b"BEGIN PRIVATE KEY" not in file.read_bytes()
    assert [key.key_id for key in read_stream_keys(load_control(new / "zt.toml", {}))] == keys
    assert len(set(keys)) == 3


@pytest.mark.parametrize(("language", "said"), [("en", "opens again"), ("ja", "再び利用できる")])
def test_whoever_restores_is_told_that_what_was_revoked_since_opens_again(
    tmp_path: Path, language: str, said: str
) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "zt.backup"
    for folder in (old, new):
        install(folder, Choices(pack="corp", language="en"), now=NOW)
    (new / "keys/device-ca.passphrase").write_bytes((old / "keys/device-ca.passphrase").read_bytes())
    words = [str(file), "--lang", language, "--config"]
    made = CliRunner().invoke(commands, ["control", "backup", *words, str(old / "zt.toml")])
    restored = CliRunner().invoke(commands, ["control", "restore", *words, str(new / "zt.toml")])

    assert (made.exit_code, restored.exit_code) == (0, 0), made.output + restored.output
    assert said in restored.stderr


def test_a_backup_without_its_passphrase_is_of_no_use_and_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "zt.backup"
    with Running(tmp_path / "old") as old:
        backup(old.settings, file, now=NOW)
    new = tmp_path / "new"
    install(new, Choices(pack="corp", language="en"), now=NOW)
    before = {path: path.read_bytes() for path in new.rglob("*") if path.is_file()}

    with pytest.raises(ConfigError) as refused:
        restore(load_control(new / "zt.toml", {}), file, now=NOW)

    assert refused.value.code == "CA_PASSPHRASE_WRONG"
    assert {path: path.read_bytes() for path in new.rglob("*") if path.is_file()} == before
    raw = file.read_bytes()
    assert b"BEGIN PRIVATE KEY" not in raw
    assert (tmp_path / "old/keys/stream.pem").read_bytes().splitlines()[1] not in raw


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.999])
def test_a_backup_that_was_cut_off_or_changed_is_refused(tmp_path: Path, cut: float) -> None:
    file = tmp_path / "zt.backup"
    folder = tmp_path / "zt"
    install(folder, Choices(pack="corp", language="en"), now=NOW)
    settings = load_control(folder / "zt.toml", {})
    backup(settings, file, now=NOW)
    raw = bytearray(file.read_bytes())
    if cut == 0.999:
        raw[raw.index(b"owner")] ^= 1
    file.write_bytes(bytes(raw) if cut == 0.999 else bytes(raw[: int(len(raw) * cut)]))

    with pytest.raises(ConfigError) as refused:
        restore(settings, file, now=NOW)
    assert refused.value.code == "BACKUP_FILE"


def test_a_database_that_is_in_use_is_not_restored_into(tmp_path: Path) -> None:
    file = tmp_path / "zt.backup"
    with Running(tmp_path / "zt") as plane:
        plane.put(device_id="here", keys=(held_key("here"),))
        backup(plane.settings, file, now=NOW)

        with pytest.raises(ConfigError) as refused:
            restore(plane.settings, file, now=NOW)

        assert refused.value.code == "STORE_NOT_EMPTY"
        assert (plane.folder / "control/admins.json").exists()
