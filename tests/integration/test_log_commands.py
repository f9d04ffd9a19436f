"""`zt audit verify` and `zt audit replay` as an auditor uses them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from tests.log_support import KEY, open_log
from zt_engine.adapters.log_archive import Archive
from zt_engine.adapters.log_reader import read_log
from zt_engine.adapters.log_recovery import segments
from zt_engine.authoring.replay import ArchiveReader, replay
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.cli.audit import app, show_replay
from zt_engine.core.decision_event import DecisionEvent, encode_event

DOCUMENT = b"{}"
DIGEST = sha256(DOCUMENT).hexdigest()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A log of two runs, its checkpoints, and the public key."""
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "log.pub").write_bytes(public)
    for run in range(2):
        log = open_log(tmp_path)
        for number in range(3):
            event = DecisionEvent(
                ts="2026-09-21T14:13:20.000Z",
                decision_id=f"{run}-{number}",
                request_id="",
                sidecar="s1",
                tenant="",
                effect="allow",
                threshold=60,
                input_digest=DIGEST,
            )
            log.append(encode_event(event))
        log.store_input(DIGEST, DOCUMENT)
        log.flush()
        log.close()
    return tmp_path


def verify(place: Path, *more: str) -> tuple[int, str]:
    arguments = ["--checkpoints", str(place / "checkpoints"), "--key", str(place / "log.pub")]
    result = CliRunner().invoke(app, ["verify", str(place / "log"), *arguments, *more])
    return result.exit_code, result.output


def test_an_untouched_log_verifies(place: Path) -> None:
    status, output = verify(place, "--lang", "en")

    assert status == 0
    assert "Nothing that is anchored was changed." in output


def test_what_is_found_is_said_with_file_and_line(place: Path) -> None:
    path = segments(place / "log")[0]
    path.write_bytes(path.read_bytes().replace(b"0-1", b"0-9"))

    status, output = verify(place, "--lang", "en")

    assert status == 1
    assert f"fault: {path.name}:4: LOG_LINE_EDITED: The line before this one was edited.\n" in output
    assert "Faults: 1." in output


def test_it_speaks_japanese(place: Path) -> None:
    segments(place / "log")[0].unlink()

    status, output = verify(place, "--lang", "ja")

    assert status == 1
    assert "LOG_CHAIN_MISSING" in output
    assert "取り除かれています" in output


def test_a_log_without_any_checkpoint_is_not_called_good(place: Path) -> None:
    result = CliRunner().invoke(app, ["verify", str(place / "log"), "--lang", "en"])

    assert result.exit_code == 2
    assert "nothing is proven" in result.output


def test_what_cannot_be_read_is_neither_good_nor_tampering(place: Path) -> None:
    folder = CliRunner().invoke(app, ["verify", str(place / "none")])
    key = CliRunner().invoke(app, ["verify", str(place / "log"), "--key", str(place / "none")])

    assert (folder.exit_code, key.exit_code) == (2, 2)
    assert "LOG_FOLDER_UNREADABLE" in folder.output
    assert "LOG_KEY_INVALID" in key.output


def test_what_a_log_holds_cannot_command_the_terminal(place: Path) -> None:
    path = segments(place / "log")[1]
    content = path.read_bytes().replace(b'"predecessor":{"chain":"2026', b'"predecessor":{"chain":"\\u001b[2J[red]')
    path.write_bytes(content)

    status, output = verify(place, "--lang", "en")

    assert status == 1
    assert "\x1b[2J" not in output
    assert "[red]" in output


SAME = {"effect": "allow", "reasons": [], "obligations": [], "threshold": 60}


def replayed(place: Path, outcome: Mapping[str, object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Show the replay of a log by somebody who always comes to this outcome."""

    def redecide(archive: ArchiveReader, event: Mapping[str, object], document: bytes, /) -> Mapping[str, object]:
        return outcome

    report = replay(read_log([place / "log"]), redecide, Archive(place / "log" / "archive"))
    status = show_replay(report, "en")
    return status, capsys.readouterr().out


def test_a_log_that_is_decided_the_same_replays(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, output = replayed(place, SAME, capsys)

    assert status == 0
    assert "6 of 6 decisions were made again, 6 came out the same." in output


def test_it_is_said_which_decisions_cannot_be_made_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = replay(read_log([place / "log"]), lambda *_: SAME, Archive(place / "log" / "archive"))

    show_replay(msgspec.structs.replace(report, decisions=report.decisions + 2), "en")

    assert "6 of 8 decisions were made again" in (said := capsys.readouterr().out)
    assert "The other 2 were refused before policy was asked, or decided by a plain rule." in said


def test_a_difference_is_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, output = replayed(place, SAME | {"threshold": 70}, capsys)

    assert status == 1
    assert "70" in output
    assert "LOG_REPLAY_DIFFERS: Deciding again" in output
    assert "0 came out the same" in output


def test_an_input_that_cannot_be_decided_again_is_a_fault_of_its_line(place: Path) -> None:
    result = CliRunner().invoke(app, ["replay", str(place / "log"), "--lang", "en"])

    assert result.exit_code == 1
    assert ".jsonl:2: LOG_REPLAY_FAILED: A decision could not be made again." in result.output


def test_a_log_with_nothing_to_decide_is_not_called_replayed(tmp_path: Path) -> None:
    open_log(tmp_path).close()

    result = CliRunner().invoke(app, ["replay", str(tmp_path / "log"), "--lang", "en"])

    assert result.exit_code == 2
    assert "no decision that could be made again" in result.output


def test_a_log_that_retention_cut_is_not_accused_before_checkpoints_are_named(place: Path) -> None:
    segments(place / "log")[0].unlink()

    result = CliRunner().invoke(app, ["verify", str(place / "log"), "--lang", "en"])

    assert result.exit_code == 2
    assert "LOG_" not in result.output
    assert "Give --checkpoints and --key" in result.output


def test_a_configuration_names_folder_checkpoints_and_key(tmp_path: Path) -> None:
    install(tmp_path / "zt", Choices(pack="corp"), now=1_800_000_000)
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "zt/keys/log-signing.pub.pem").write_bytes(public)
    log = open_log(tmp_path / "zt")
    log.flush()
    log.close()

    result = CliRunner().invoke(app, ["verify", "--config", str(tmp_path / "zt/zt.toml"), "--lang", "en"])

    assert result.exit_code == 0, result.output
    assert "Nothing that is anchored was changed." in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["verify", "DIR", "--lang", "fr"], "`fr`"), (["verify"], "--config"), (["replay"], "--config")],
)
def test_what_is_asked_for_must_make_sense(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})

    assert result.exit_code == 2
    assert said in result.output
