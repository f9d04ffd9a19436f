"""The key of the stream is followed by another while sidecars are asked: nobody is refused, and nothing is missed."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
import time
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from tests.running_control import NOW, Running
from tests.sidecar_support import InProcess, in_process, wait_for
from tests.stream_server import Plane, Site, free_port
from zt_engine.adapters.stream_http import StreamClient
from zt_engine.adapters.stream_keys import StreamKey, statement
from zt_engine.bootstrap import control_parts
from zt_engine.bootstrap.control_backup import backup, restore
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.bootstrap.joining import read_member
from zt_engine.bootstrap.serving_stream import rekey
from zt_engine.cli.main import app as commands
from zt_engine.config import load, load_control
from zt_engine.core.errors import ConfigError, InputError
from zt_engine.core.stream import SnapshotPart, StatusAnswer
from zt_engine.core.stream_signing import unseal
from zt_engine.ports.inventory import SidecarRecord

FOREIGN = StreamKey.generate()


@pytest.fixture
def site(tmp_path: Path, opa: str) -> Site:
    return Site(tmp_path, opa)


def test_the_stream_s_key_is_followed_by_another_and_no_request_is_refused(site: Site) -> None:
    following = StreamKey.generate()
    with site.followed() as plane:
        rotate(site, plane, following)
        with in_process(site.sandbox) as again:
            control = again.program.control
            wait_for(lambda: control is not None and control.connected, "the stream")
            assert site.asked(again) != "200"


def rotate(site: Site, plane: Plane, following: StreamKey) -> None:
    with in_process(site.sandbox) as sidecar:
        control, before = sidecar.program.control, plane.key
        assert control is not None

        def known(*keys: StreamKey) -> bool:
            assert site.asked(sidecar) == "200"
            return set(control.member.membership.stream_keys) == {key.key_id for key in keys}

        def taken(keys: list[StreamKey]) -> bool:
            try:
                rekey(plane.plane, keys)
            except InputError as error:
                assert error.code == "STREAM_KEY_NEEDED"
                return False
            return True

        with pytest.raises(InputError, match="STREAM_KEY_UNANNOUNCED"):
            rekey(plane.plane, [following, before])
        rekey(plane.plane, [before, following])
        control.updates.set()
        wait_for(lambda: known(before, following), "the key that is to come")

        with pytest.raises(InputError, match="STREAM_KEY_UNANNOUNCED"):
            rekey(plane.plane, [following])
        rekey(plane.plane, [following, before])
        seen = plane.origin.hub.watermark
        wait_for(lambda: known(before, following) and plane.origin.hub.watermark != seen, "a watermark of the new key")

        wait_for(lambda: taken([following]), "what the sidecar believes to be known")
        control.updates.set()
        wait_for(lambda: known(following), "the end of the key before")
        with pytest.raises(InputError, match="STREAM_KEY_UNANNOUNCED"):
            rekey(plane.plane, [FOREIGN, following])
        plane.revoke("laptop-1")
        wait_for(lambda: site.asked(sidecar) != "200", "the revocation")
        assert control.connected
        assert control.fault is None


def led_through(site: Site, plane: Plane, following: StreamKey) -> None:
    """Have a sidecar that runs follow a whole change of keys."""
    with in_process(site.sandbox) as sidecar:
        control, before = sidecar.program.control, plane.key
        assert control is not None
        wait_for(lambda: control.sync.position.seq and control.connected, "the stream")
        rekey(plane.plane, [before, following])
        rekey(plane.plane, [following, before])
        wait_for(lambda: len(control.member.membership.stream_keys) == 2, "both keys")

        def gone() -> bool:
            try:
                rekey(plane.plane, [following])
            except InputError as error:
                assert error.code == "STREAM_KEY_NEEDED"
                return False
            return True

        wait_for(gone, "what the sidecar believes to be known")
        control.updates.set()
        wait_for(lambda: set(control.member.membership.stream_keys) == {following.key_id}, "the end of the key before")
        wait_for(lambda: control.connected, "the stream again")


def test_a_sidecar_that_starts_alone_after_the_key_went_still_knows_what_it_knew(site: Site) -> None:
    with site.followed() as plane:
        led_through(site, plane, StreamKey.generate())

        plane.close()  # before any snapshot of the next key was due
        with in_process(site.sandbox) as alone:
            assert knows_the_laptop(alone)


def test_what_is_kept_is_signed_anew_once_a_key_has_left_and_needs_that_key_no_more(site: Site) -> None:
    following = StreamKey.generate()
    replica = site.sandbox.folder / "state/control-plane/replica"
    with site.followed() as plane:
        before = plane.key
        led_through(site, plane, following)
        assert before.key_id in (replica / "former-keys.json").read_text()
        with in_process(site.sandbox) as sidecar:
            control = sidecar.program.control
            assert control is not None
            wait_for(lambda: control.connected, "the stream")
            # As when its turn has come: `test_kept_replica` holds when that is.
            sidecar.thread.run(control.kept.renew())
            wait_for(lambda: before.key_id not in (replica / "former-keys.json").read_text(), "the new snapshot")

        plane.close()
        for line in (replica / "snapshot.jws").read_bytes().splitlines():
            unseal(line, SnapshotPart, {following.key_id: following.public()}, tenant="default")
        with in_process(site.sandbox) as alone:
            assert knows_the_laptop(alone)


def knows_the_laptop(sidecar: InProcess) -> bool:
    control = sidecar.program.control
    assert control is not None
    return control.sync.position.seq > 0 and "laptop-1" in control.sync._replica.state.records.devices


def test_a_sidecar_that_heard_of_the_next_key_only_when_it_signed_follows_all_the_same(site: Site) -> None:
    following = StreamKey.generate()
    with site.followed() as plane, in_process(site.sandbox) as sidecar:
        control, before = sidecar.program.control, plane.key
        assert control is not None

        rekey(plane.plane, [before, following])
        rekey(plane.plane, [following, before])

        wait_for(lambda: set(control.member.membership.stream_keys) == {before.key_id, following.key_id}, "both keys")
        wait_for(lambda: control.connected and control.fault is None, "the stream")
        plane.revoke("laptop-1")
        wait_for(lambda: site.asked(sidecar) != "200", "the revocation")


def test_a_key_stays_for_as_long_as_a_sidecar_that_is_heard_knows_no_other(site: Site) -> None:
    following = StreamKey.generate()
    with site.followed() as plane:
        before = plane.key
        said = {"nonce": "n" * 16, "applied_seq": 0}

        def heard(*known: StreamKey) -> None:
            member = read_member(load(site.sandbox.config, {}))
            told = member.membership
            proof = statement(member.key, sidecar=told.id, audience=told.audience, now=time.time())
            client = StreamClient([plane.address], statement=lambda: proof)
            plane.thread.run(client.status(said, known=[key.key_id for key in known]))
            plane.thread.run(client.close())

        rekey(plane.plane, [before, following])
        heard(before)
        rekey(plane.plane, [following, before])
        with pytest.raises(InputError, match=r"STREAM_KEY_NEEDED.*edge-1"):
            rekey(plane.plane, [following])
        assert set(plane.origin.keys.believed) == {before.key_id, following.key_id}
        heard(before, following)
        rekey(plane.plane, [following])
        assert set(plane.origin.keys.believed) == {following.key_id}


def test_the_settings_name_the_keys_and_a_signal_takes_them_up_in_their_order(tmp_path: Path) -> None:
    with Running(tmp_path / "zt") as running:
        before, following = running.program.parts.stream_keys[0], StreamKey.generate()
        path = tmp_path / "zt/keys/next.pem"
        path.write_bytes(following.pem())
        os.chmod(path, 0o600)
        text = running.config.read_text(encoding="utf-8")

        def taken(signs: str, *others: str) -> bool:
            named = f'stream_key_file = "keys/{signs}.pem"\nother_stream_keys = {[f"keys/{one}.pem" for one in others]}'
            kept = re.sub(r"^(stream_key_file|other_stream_keys) = .*\n", "", text, flags=re.MULTILINE)
            changed = re.sub(r"^(\[control\].*)$", lambda found: f"{found[1]}\n{named}", kept, flags=re.MULTILINE)
            running.config.write_text(changed, encoding="utf-8")
            done: bool = running.thread.run(running.program.reload(running.config))
            return done

        def signs(key: StreamKey) -> bool:
            raw = running.program.origin.sign(StatusAnswer(tenant="default", nonce="n", now=1.0))
            try:
                return unseal(raw, StatusAnswer, {key.key_id: key.public()}, tenant="default").nonce == "n"
            except InputError:
                return False

        assert not taken("next", "stream")  # nobody was told of it
        assert signs(before)
        with capture_logs() as logged:
            assert taken("stream", "next")
            assert taken("stream", "next")
        (told,) = [one for one in logged if one["event"] == "stream_keys.changed"]
        assert (told["signing"], told["believed"]) == (before.key_id, sorted([before.key_id, following.key_id]))
        assert signs(before)
        assert not taken("next")  # what is under way would be refused
        assert taken("next", "stream")
        assert signs(following)
        assert taken("next")
        assert set(running.program.origin.keys.believed) == {following.key_id}
    with Running(tmp_path / "zt") as again:
        assert again.program.parts.stream_keys[0].key_id == following.key_id


def renamed(config: Path, signs: str, *others: str) -> None:
    """Have the settings name other keys of the stream."""
    text = re.sub(r"^(stream_key_file|other_stream_keys) = .*\n", "", config.read_text("utf-8"), flags=re.MULTILINE)
    named = f'stream_key_file = "keys/{signs}.pem"\nother_stream_keys = {[f"keys/{one}.pem" for one in others]}'
    config.write_text(
        re.sub(r"^(\[control\].*)$", lambda found: f"{found[1]}\n{named}", text, flags=re.MULTILINE), "utf-8"
    )


def with_a_next_key(folder: Path, *, joined: bool = True) -> Path:
    """An installation that has run, perhaps with a sidecar, and has another key in `keys/next.pem`; its settings."""
    with Running(folder) as running:
        if joined:
            with running.program.parts.store.writing("default") as tx:
                tx.sidecars.put(SidecarRecord(id="edge-1", public_key=FOREIGN.jwk, joined_at=1))
    path = folder / "keys/next.pem"
    path.write_bytes(StreamKey.generate().pem())
    os.chmod(path, 0o600)
    return running.config


def test_a_control_plane_does_not_start_with_a_key_that_sidecars_were_never_told_of(tmp_path: Path) -> None:
    config = with_a_next_key(tmp_path / "zt")
    for keys in (["next"], ["next", "stream"]):
        renamed(config, *keys)
        with pytest.raises(ConfigError) as refused:
            Running(tmp_path / "zt")
        problem = refused.value.problems[0]
        assert problem.code == "STREAM_KEY_UNANNOUNCED"
        assert "zt control forget-stream-keys" in problem.hint

    renamed(config, "stream")
    with Running(tmp_path / "zt"):
        pass


def test_the_steps_of_a_rotation_may_be_starts_as_well_as_signals(tmp_path: Path) -> None:
    config = with_a_next_key(tmp_path / "zt")

    for keys in (["stream", "next"], ["next", "stream"], ["next"]):
        renamed(config, *keys)
        with Running(tmp_path / "zt") as running:
            assert len(running.program.origin.keys.believed) == len(keys)
    renamed(config, "stream")
    with pytest.raises(ConfigError, match="STREAM_KEY_UNANNOUNCED"):
        Running(tmp_path / "zt")


def test_what_a_signal_announced_is_known_to_the_next_start(tmp_path: Path) -> None:
    config = with_a_next_key(tmp_path / "zt")
    with Running(tmp_path / "zt") as running:
        renamed(config, "stream", "next")
        assert running.thread.run(running.program.reload(config))

    renamed(config, "next", "stream")
    with Running(tmp_path / "zt") as running:
        assert len(running.program.origin.keys.believed) == 2


def test_without_a_sidecar_that_has_joined_any_key_may_sign(tmp_path: Path) -> None:
    renamed(with_a_next_key(tmp_path / "zt", joined=False), "next")

    with Running(tmp_path / "zt") as running:
        assert len(running.program.origin.keys.believed) == 1


def test_a_key_that_was_lost_is_given_up_by_command(tmp_path: Path) -> None:
    config = with_a_next_key(tmp_path / "zt")
    renamed(config, "next")

    done = CliRunner().invoke(commands, ["control", "forget-stream-keys", "--config", str(config), "--lang", "en"])

    assert done.exit_code == 0, done.output
    assert "zt sidecar join TOKEN" in done.output
    with Running(tmp_path / "zt"):
        pass


def test_a_backup_with_keys_that_no_signal_took_up_restores_to_a_control_plane_that_starts(tmp_path: Path) -> None:
    config = with_a_next_key(tmp_path / "zt")
    renamed(config, "next")
    backup(load_control(config), tmp_path / "saved.tar", now=1.0)
    install(tmp_path / "new", Choices(pack="corp", language="en", control_listen=f"127.0.0.1:{free_port()}"), now=NOW)
    fresh = tmp_path / "new/zt.toml"
    settings = load_control(fresh)
    shutil.copy(
        load_control(config).path(settings.control.passphrase_file), settings.path(settings.control.passphrase_file)
    )
    restore(settings, tmp_path / "saved.tar", now=2.0)

    with Running(tmp_path / "new") as running:
        assert len(running.program.origin.keys.believed) == 1


def test_of_two_signals_in_a_row_the_settings_that_were_written_last_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_go_on, own_signers = threading.Event(), threading.Event(), control_parts.own_signers

    def slow(settings: Any) -> Any:
        if not began.is_set():
            began.set()
            may_go_on.wait(10)
        return own_signers(settings)

    monkeypatch.setattr("zt_engine.bootstrap.control.own_signers", slow)
    with Running(tmp_path / "zt") as running:
        program, before, following = running.program, running.program.parts.stream_keys[0], StreamKey.generate()
        path = tmp_path / "zt/keys/next.pem"
        path.write_bytes(following.pem())
        os.chmod(path, 0o600)

        first = asyncio.run_coroutine_threadsafe(program.reload(running.config), running.thread.loop)
        assert began.wait(10)
        text = running.config.read_text(encoding="utf-8")
        other = r'\1\nother_stream_keys = ["keys/next.pem"]'
        named = re.sub(r"^(\[control\].*)$", other, text, flags=re.MULTILINE)
        running.config.write_text(named, encoding="utf-8")
        second = asyncio.run_coroutine_threadsafe(program.reload(running.config), running.thread.loop)
        wait([second], timeout=0.5)  # one that does not wait for the other ends in this time
        may_go_on.set()

        assert first.result(10)
        assert second.result(10)
        assert set(program.origin.keys.believed) == {before.key_id, following.key_id}
