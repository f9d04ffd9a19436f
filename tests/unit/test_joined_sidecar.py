"""Who has joined a control plane never decides by the folder alone again, and is told how to go on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.hook_support import LoopThread
from zt_engine import Engine
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.bootstrap.joining import KEY, MEMBERSHIP, Member, Membership, has_joined, keep_membership
from zt_engine.bootstrap.sidecar import SidecarProgram
from zt_engine.cli.main import app
from zt_engine.cli.output import print_error
from zt_engine.config import load
from zt_engine.core.errors import ConfigError

PLANE = "http://127.0.0.1:9443"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An installation as `zt init` makes it: its settings name no control plane."""
    folder = tmp_path / "zt"
    install(folder, Choices(pack="corp"), now=time.time())
    return folder / "zt.toml"


def join(config: Path) -> Path:
    """Write down what `zt up` leaves behind; return the folder."""
    settings, key = load(config, {}), StreamKey.generate()
    told = Membership(
        id=settings.sidecar.id, tenant=settings.sidecar.tenant, audience=PLANE,
        stream_keys={key.key_id: key.jwk}, device_cas="",
    )  # fmt: skip
    member = Member(told, StreamKey.generate(), settings.path(settings.control_plane.state))
    member.folder.mkdir(parents=True, mode=0o700)
    (member.folder / KEY).write_bytes(member.key.pem())
    (member.folder / KEY).chmod(0o600)
    keep_membership(member)
    return member.folder


def made(config: Path, **environment: str) -> SidecarProgram:
    """Make a sidecar and let it go again, as far as is possible without starting it."""
    thread = LoopThread()
    try:
        return thread.call(lambda: SidecarProgram(load(config, environment)))
    finally:
        thread.close()


def test_before_anything_has_joined_the_folder_is_followed(config: Path) -> None:
    assert made(config).control is None


def test_who_has_joined_does_not_follow_the_folder_alone(config: Path) -> None:
    folder = join(config)

    with pytest.raises(ConfigError) as refused:
        made(config)

    (problem,) = refused.value.problems
    assert (problem.code, problem.where) == ("SIDECAR_JOINED", str(folder))
    assert PLANE in problem.message


def test_a_membership_that_does_not_read_is_one_all_the_same(config: Path) -> None:
    (join(config) / MEMBERSHIP).write_bytes(b"{")

    with pytest.raises(ConfigError, match="SIDECAR_JOINED"):
        made(config)


def test_a_folder_that_cannot_be_looked_at_counts_as_joined(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: object) -> None:
        raise PermissionError

    monkeypatch.setattr("zt_engine.bootstrap.joining.os.lstat", denied)

    assert has_joined(load(config, {}))


def test_an_engine_in_an_application_s_process_is_refused_alike(config: Path) -> None:
    text = config.read_text(encoding="utf-8")
    application = '[[proxies]]\nname = "application"\nhook = "embedded"\n\n[policy]\n'
    config.write_text(text.replace("[policy]\n", application, 1), encoding="utf-8")
    join(config)

    with pytest.raises(ConfigError, match="SIDECAR_JOINED"):
        Engine.open(config)


def test_with_the_address_in_the_settings_or_from_zt_up_it_follows_the_control_plane(config: Path) -> None:
    join(config)

    assert made(config, ZT_CONTROL_PLANE__URL=PLANE).control is not None


def test_who_removes_the_folder_has_left(config: Path) -> None:
    folder = join(config)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()

    assert made(config).control is None


@pytest.mark.parametrize(("language", "leaving"), [("ja", "離れる"), ("en", "leave the control plane")])
def test_the_command_says_in_both_languages_what_to_set_and_how_to_leave(
    config: Path, language: str, leaving: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = join(config)

    result = CliRunner().invoke(app, ["sidecar", "run", "--config", str(config), "--lang", language], env={})
    assert isinstance(result.exception, ConfigError)
    print_error(result.exception)

    said = capsys.readouterr().err
    for words in ("SIDECAR_JOINED", PLANE, str(folder), "[control_plane]", "zt up", leaving):
        assert words in said
